-- The demographics report of one source: events by the values of each distribution, and the sums of each average;
-- from the rollup, what appends counted and nobody folded yet, and the events at the ends. Of the values beyond the
-- first ones there is one row with value NULL; distributions by range are complete. `error` is by how much a count of
-- the dimension can be too low; a value with no more events than that is not shown, since others may have more.
WITH rollup AS MATERIALIZED (
    SELECT r.*
    FROM unnest(%(steps)s::text[], %(firsts)s::timestamptz[], %(lasts)s::timestamptz[]) AS bucket (step, first, last)
    CROSS JOIN LATERAL (
        SELECT dimension, value, events, total, beyond
        FROM rollup_dimensions
        WHERE source = %(source)s AND step = bucket.step AND start >= bucket.first AND start < bucket.last
          AND dimension = ANY (%(dimensions)s::text[])
        OFFSET 0
    ) AS r
), part AS (
    -- Here, and not in FROM, where what comes out would be stored first: it is most of what this costs.
    SELECT dimension, unnest(value) AS value, unnest(events) AS events, unnest(total) AS total FROM rollup
    UNION ALL
    SELECT batch.dimension, each.value, coalesce(each.events, 1), coalesce(each.total, 0)
    FROM rollup_dimensions_batch AS batch
    CROSS JOIN LATERAL unnest(batch.minute, batch.value, batch.events, batch.total)
        AS each (minute, value, events, total)
    WHERE batch.source = %(source)s AND batch.dimension = ANY (%(dimensions)s::text[])
      AND each.minute >= %(whole_from)s::timestamptz AND each.minute < %(whole_to)s::timestamptz
    {edges}
), missing AS (
    SELECT dimension, sum(beyond) AS events,
           floor(sum(beyond) / (1 + CASE WHEN dimension = ANY (%(high_cardinality)s::text[])
                                         THEN %(kept_of_high)s ELSE %(kept)s END)) AS error
    FROM rollup
    GROUP BY dimension
    HAVING sum(beyond) > 0
), summed AS (
    SELECT dimension, value, sum(events)::bigint AS events, sum(total) AS total
    FROM part
    GROUP BY dimension, value
), shown AS (
    SELECT summed.dimension, summed.events, summed.total, coalesce(missing.error, 0) AS error,
           CASE WHEN summed.dimension = ANY (%(complete)s::text[])
                  OR row_number() OVER (PARTITION BY summed.dimension
                                        ORDER BY summed.events DESC, summed.value COLLATE "C") <= %(top)s
                     AND summed.events > coalesce(missing.error, 0)
                THEN summed.value END AS value
    FROM summed
    LEFT JOIN missing USING (dimension)
    UNION ALL
    SELECT dimension, events, 0, error, NULL FROM missing
)
SELECT dimension, value, sum(events)::bigint AS events, sum(total) AS total, max(error)::bigint AS error
FROM shown
GROUP BY dimension, value
ORDER BY dimension, value IS NULL, sum(events) DESC, value COLLATE "C"
