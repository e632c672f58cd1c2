-- The sketches that together tell how many distinct users each source had: those of whole buckets; and what a sketch is
-- made of (see fold_users) of the users whom these do not know yet: of what appends counted and nobody folded yet, and of
-- the events at the ends. The former are one value, one behind the other: as rows they would be sent, and waited for,
-- two by two.
SELECT r.source, string_agg(r.registers, '') AS sketches, NULL::integer[] AS registers, NULL::bigint[] AS rests
FROM unnest(%(steps)s::text[], %(firsts)s::timestamptz[], %(lasts)s::timestamptz[]) AS bucket (step, first, last)
CROSS JOIN LATERAL (
    SELECT source, registers
    FROM rollup_users
    WHERE source = ANY (%(sources)s::text[]) AND step = bucket.step AND start >= bucket.first AND start < bucket.last
    OFFSET 0
) AS r
GROUP BY r.source
UNION ALL
SELECT source, NULL, array_agg(register), array_agg(rest)
FROM (
    SELECT source, (hash & %(register_mask)s)::integer AS register,
           min((hash >> %(register_bits)s) & %(rest_mask)s) AS rest
    FROM (
        SELECT batch.source, each.hash
        FROM rollup_users_batch AS batch
        CROSS JOIN LATERAL unnest(batch.minute, batch.hash) AS each (minute, hash)
        WHERE batch.source = ANY (%(sources)s::text[])
          AND each.minute >= %(whole_from)s::timestamptz AND each.minute < %(whole_to)s::timestamptz
        {edges}
    ) AS seen
    GROUP BY 1, 2
) AS least
GROUP BY source
