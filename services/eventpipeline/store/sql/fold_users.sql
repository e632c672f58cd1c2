-- Takes the users that appends of one source saw, the oldest rows first: by minute, for each register the least of
-- the hashes that belong to it, which is all that a sketch is made of; and how many rows went.
WITH taken AS (
    DELETE FROM rollup_users_batch
    WHERE id IN (SELECT id FROM rollup_users_batch WHERE source = %(source)s ORDER BY id LIMIT %(limit)s)
    RETURNING minute, hash
), least AS (
    SELECT each.minute, (each.hash & %(register_mask)s)::integer AS register,
           min((each.hash >> %(register_bits)s) & %(rest_mask)s) AS rest
    FROM taken
    CROSS JOIN LATERAL unnest(taken.minute, taken.hash) AS each (minute, hash)
    GROUP BY 1, 2
)
SELECT (SELECT count(*) FROM taken) AS taken, minute, array_agg(register) AS registers, array_agg(rest) AS rests
FROM least
GROUP BY minute
