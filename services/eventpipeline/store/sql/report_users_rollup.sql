-- The sketches of whole buckets that together tell how many distinct users each source had.
SELECT r.source, r.registers
FROM unnest(%(steps)s::text[], %(firsts)s::timestamptz[], %(lasts)s::timestamptz[]) AS bucket (step, first, last)
CROSS JOIN LATERAL (
    SELECT source, registers
    FROM rollup_users
    WHERE source = ANY (%(sources)s::text[]) AND step = bucket.step AND start >= bucket.first AND start < bucket.last
    OFFSET 0
) AS r
