-- What appends of one source saw of users and nobody folded yet, as fold_users takes it.
SELECT minute, array_agg(register) AS registers, array_agg(rest) AS rests
FROM (
    SELECT each.minute, (each.hash & %(register_mask)s)::integer AS register,
           min((each.hash >> %(register_bits)s) & %(rest_mask)s) AS rest
    FROM {schema}.rollup_users_batch AS batch
    CROSS JOIN LATERAL unnest(batch.minute, batch.hash) AS each (minute, hash)
    WHERE batch.source = %(source)s
    GROUP BY 1, 2
) AS least
GROUP BY minute
