-- The users whom the sketches of a window do not know yet, of each source, as what a sketch is made of (see
-- fold_users): those of what appends counted and nobody folded yet, and those of the events at the ends.
SELECT source, array_agg(register) AS registers, array_agg(rest) AS rests
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
