-- Folds what appends of one source counted by value into the rollup, the oldest first, and says how many rows went.
--
-- Of a dimension with more values than are kept, the events of the first that is not kept are taken off each one:
-- what remains is kept, and the rest is `beyond`. Sums of such rows keep the same bound on what a count can lack:
-- `beyond` over one more than the number kept (Misra and Gries; Agarwal et al., Mergeable Summaries, 2012).
WITH taken AS (
    DELETE FROM rollup_dimensions_batch
    WHERE id IN (SELECT id FROM rollup_dimensions_batch WHERE source = %(source)s ORDER BY id LIMIT %(limit)s)
    RETURNING dimension, minute, value, events, total
), by_minute AS MATERIALIZED (
    -- On its own, so that it is hashed: sorting every value before it is added up would cost three times as much.
    SELECT taken.dimension, each.minute, each.value,
           sum(coalesce(each.events, 1)) AS events, sum(coalesce(each.total, 0)) AS total
    FROM taken
    CROSS JOIN LATERAL unnest(taken.minute, taken.value, taken.events, taken.total) AS each (minute, value, events, total)
    GROUP BY 1, 2, 3
), added AS MATERIALIZED (
    SELECT dimension, step, date_trunc(step, minute, 'UTC') AS start, value, sum(events) AS events, sum(total) AS total
    FROM by_minute
    CROSS JOIN (VALUES ('minute'), ('hour'), ('day')) AS steps (step)
    GROUP BY 1, 2, 3, 4
), there AS (
    SELECT r.dimension, r.step, r.start, r.value, r.events, r.total
    FROM (SELECT DISTINCT dimension, step, start FROM added) AS touched
    JOIN rollup_dimensions AS r
      ON r.source = %(source)s AND (r.dimension, r.step, r.start) = (touched.dimension, touched.step, touched.start)
), summed AS (
    SELECT dimension, step, start, value, sum(events) AS events, sum(total) AS total
    FROM (
        SELECT dimension, step, start, value, events, total FROM added
        UNION ALL
        SELECT there.dimension, there.step, there.start, each.value, each.events, each.total
        FROM there
        CROSS JOIN LATERAL unnest(there.value, there.events, there.total) AS each (value, events, total)
    ) AS part
    GROUP BY 1, 2, 3, 4
), ranked AS (
    SELECT dimension, step, start, value, events, total,
           row_number() OVER (PARTITION BY dimension, step, start ORDER BY events DESC) AS rank,
           CASE WHEN dimension = ANY (%(high_cardinality)s::text[]) THEN %(kept_of_high)s ELSE %(kept)s END AS kept
    FROM summed
), cut AS (
    SELECT dimension, step, start, value, events, total,
           coalesce(max(events) FILTER (WHERE rank = kept + 1) OVER (PARTITION BY dimension, step, start), 0) AS less
    FROM ranked
), folded AS (
    INSERT INTO rollup_dimensions AS r (source, dimension, step, start, value, events, total, beyond)
    SELECT %(source)s, dimension, step, start,
           coalesce(array_agg(value) FILTER (WHERE events > less), '{}'),
           coalesce(array_agg(events - less) FILTER (WHERE events > less), '{}'),
           coalesce(array_agg(total) FILTER (WHERE events > less), '{}'),
           sum(least(events, less))
    FROM cut
    GROUP BY dimension, step, start
    ON CONFLICT (source, step, start, dimension) DO UPDATE
    SET value = excluded.value,
        events = excluded.events,
        total = excluded.total,
        beyond = r.beyond + excluded.beyond
)
SELECT count(*) FROM taken
