-- The demographics report of one source: events by the values of each distribution, and the sums of each average;
-- from the rollup, what appends counted and nobody folded yet, and the events at the ends. Of the values beyond the
-- first ones there is one row with value NULL; distributions by range are complete. `error` is by how much a count of
-- the dimension can be too low; a value with no more events than that is not shown, since others may have more. The row
-- without a dimension is of the events at the ends alone, if there are ends: how many there are, and what a sketch of
-- their users is made of (see fold_users).
--
-- Values are added up by the number of their dimension, which is cheaper to hash than its name; only averages have a
-- total, and what is NULL is not added up. Each dimension is searched for its first values, since to sort them all
-- costs more.
WITH asked AS MATERIALIZED (
    SELECT dimension, number::integer, dimension = ANY (%(averages)s::text[]) AS is_average,
           dimension = ANY (%(complete)s::text[]) AS is_complete,
           CASE WHEN dimension = ANY (%(high_cardinality)s::text[]) THEN %(kept_of_high)s ELSE %(kept)s END AS kept
    FROM unnest(%(dimensions)s::text[]) WITH ORDINALITY AS asked (dimension, number)
), rollup AS MATERIALIZED (
    SELECT asked.number, r.value, r.events, CASE WHEN asked.is_average THEN r.total END AS total, r.beyond
    FROM unnest(%(steps)s::text[], %(firsts)s::timestamptz[], %(lasts)s::timestamptz[]) AS bucket (step, first, last)
    CROSS JOIN LATERAL (
        SELECT dimension, value, events, total, beyond
        FROM rollup_dimensions
        WHERE source = %(source)s AND step = bucket.step AND start >= bucket.first AND start < bucket.last
        OFFSET 0
    ) AS r
    JOIN asked USING (dimension)
), {edge}part AS (
    -- Here, and not in FROM, where what comes out would be stored first: it is most of what this costs.
    SELECT number, unnest(value) AS value, unnest(events) AS events, unnest(total) AS total FROM rollup
    UNION ALL
    SELECT asked.number, each.value, coalesce(each.events, 1), each.total
    FROM rollup_dimensions_batch AS batch
    JOIN asked USING (dimension)
    CROSS JOIN LATERAL unnest(batch.minute, batch.value, batch.events, batch.total)
        AS each (minute, value, events, total)
    WHERE batch.source = %(source)s
      AND each.minute >= %(whole_from)s::timestamptz AND each.minute < %(whole_to)s::timestamptz
    {edges}
), summed AS MATERIALIZED (
    SELECT number, value, sum(events)::bigint AS events, sum(total) AS total
    FROM part
    GROUP BY number, value
), counted AS MATERIALIZED (
    SELECT asked.*, coalesce(missing.beyond, 0) AS beyond, coalesce(floor(missing.beyond / (1 + kept)), 0) AS error,
           coalesce(there.events, 0) + coalesce(missing.beyond, 0) AS events
    FROM asked
    LEFT JOIN (SELECT number, sum(beyond) AS beyond FROM rollup GROUP BY number) AS missing USING (number)
    LEFT JOIN (SELECT number, sum(events) AS events FROM summed GROUP BY number) AS there USING (number)
), shown AS MATERIALIZED (
    SELECT counted.number, first.value, first.events, first.total
    FROM counted
    CROSS JOIN LATERAL (
        SELECT value, events, total
        FROM summed
        WHERE summed.number = counted.number AND (counted.is_complete OR summed.events > counted.error)
        ORDER BY events DESC, value COLLATE "C"
        LIMIT CASE WHEN NOT counted.is_complete THEN %(top)s END
    ) AS first
)
SELECT dimension, value, events, total, error, registers, rests
FROM (
    SELECT counted.dimension, line.value, line.events::bigint AS events, coalesce(line.total, 0) AS total,
           counted.error::bigint AS error, NULL::integer[] AS registers, NULL::bigint[] AS rests
    FROM counted
    JOIN (
        SELECT number, value, events, total FROM shown
        UNION ALL
        SELECT number, NULL, counted.events - coalesce(sum(shown.events), 0), 0
        FROM counted LEFT JOIN shown USING (number)
        GROUP BY number, counted.events
        HAVING counted.events > coalesce(sum(shown.events), 0)
    ) AS line USING (number)
    {edge_users}
) AS lines
ORDER BY dimension, value IS NULL, events DESC, value COLLATE "C"
