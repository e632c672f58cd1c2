-- The sketches of users against the rows, of each step: registers that differ. A register is one of 4,096,
-- chosen by the lowest 12 bits of a user's hash; it has the most leading zeros of the other 52 bits, plus one.
WITH steps (step, length) AS (
    VALUES ('minute', interval '1 minute'), ('ten_minutes', interval '10 minutes'), ('hour', interval '1 hour'),
           ('six_hours', interval '6 hours'), ('day', interval '1 day')
), seen AS (
    SELECT date_trunc('minute', "timestamp") AS minute, source, hashtextextended(user_id, 0) AS hash, true AS is_row
    FROM events
    UNION ALL
    SELECT each.minute, batch.source, each.hash, false
    FROM rollup_users_batch AS batch
    CROSS JOIN LATERAL unnest(batch.minute, batch.hash) AS each (minute, hash)
), ranked AS (
    SELECT step, date_bin(length, minute, '2000-01-01T00:00:00Z') AS start, source, is_row,
           (hash & 4095)::integer AS register,
           1 + max(length(bits) - length(ltrim(bits, '0'))) AS rank
    FROM (SELECT *, ((hash >> 12) & 4503599627370495)::bit(52)::text AS bits FROM seen) AS hashed
    CROSS JOIN steps
    GROUP BY 1, 2, 3, 4, 5
), rollup AS (
    SELECT step, start, source, register, max(rank) AS rank
    FROM (
        SELECT step, start, source, register, get_byte(registers, register) AS rank
        FROM rollup_users CROSS JOIN generate_series(0, 4095) AS register
        UNION ALL
        SELECT step, start, source, register, rank FROM ranked WHERE NOT is_row
    ) AS part
    WHERE rank > 0
    GROUP BY 1, 2, 3, 4
), rows AS (
    SELECT step, start, source, register, rank FROM ranked WHERE is_row
)
SELECT count(*)
FROM rows FULL JOIN rollup USING (step, start, source, register)
WHERE rows.rank IS DISTINCT FROM rollup.rank
