-- Folds what appends of one source counted by value into the rollup, the oldest first, and says how many rows went.
--
-- Of a dimension with more values than are kept, the events of the first that is not kept are taken off each one:
-- what remains is kept, and the rest is `beyond` (here a row of value NULL). Sums of such rows keep the same bound on
-- what a count can lack: `beyond` over one more than the number kept (Misra and Gries; Agarwal et al., Mergeable
-- Summaries, 2012). So it is done by minute first, and what is done for every step is little.
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
), ranked_by_minute AS (
    SELECT dimension, minute, value, events, total,
           row_number() OVER (PARTITION BY dimension, minute ORDER BY events DESC) AS rank,
           CASE WHEN dimension = ANY (%(high_cardinality)s::text[]) THEN %(kept_of_high)s ELSE %(kept)s END AS kept
    FROM by_minute
), cut_by_minute AS (
    SELECT dimension, minute, value, events, total,
           coalesce(max(events) FILTER (WHERE rank = kept + 1) OVER (PARTITION BY dimension, minute), 0) AS less
    FROM ranked_by_minute
), line AS MATERIALIZED (
    SELECT dimension, minute, CASE WHEN events > less THEN value END AS value,
           sum(CASE WHEN events > less THEN events - less ELSE events END) AS events, sum(total) AS total
    FROM cut_by_minute
    GROUP BY 1, 2, 3
    UNION ALL
    SELECT dimension, minute, NULL, sum(less) FILTER (WHERE events > less), 0
    FROM cut_by_minute
    WHERE less > 0
    GROUP BY 1, 2
    HAVING count(*) FILTER (WHERE events > less) > 0
), added AS (
    SELECT dimension, step, date_bin(length, minute, '2000-01-01T00:00:00Z') AS start, value, events, total
    FROM line
    CROSS JOIN rollup_steps
), there AS (
    SELECT r.dimension, r.step, r.start, r.value, r.events, r.total, r.beyond
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
        UNION ALL
        SELECT dimension, step, start, NULL, beyond, 0 FROM there WHERE beyond > 0
    ) AS part
    GROUP BY 1, 2, 3, 4
), ranked AS (
    SELECT dimension, step, start, value, events, total,
           row_number() OVER (PARTITION BY dimension, step, start ORDER BY value IS NULL, events DESC) AS rank,
           CASE WHEN dimension = ANY (%(high_cardinality)s::text[]) THEN %(kept_of_high)s ELSE %(kept)s END AS kept
    FROM summed
), cut AS (
    SELECT dimension, step, start, value, events, total,
           coalesce(max(events) FILTER (WHERE rank = kept + 1 AND value IS NOT NULL)
                    OVER (PARTITION BY dimension, step, start), 0) AS less
    FROM ranked
), folded AS (
    INSERT INTO rollup_dimensions (source, dimension, step, start, value, events, total, beyond)
    SELECT %(source)s, dimension, step, start,
           coalesce(array_agg(value) FILTER (WHERE value IS NOT NULL AND events > less), '{}'),
           coalesce(array_agg(events - less) FILTER (WHERE value IS NOT NULL AND events > less), '{}'),
           coalesce(array_agg(total) FILTER (WHERE value IS NOT NULL AND events > less), '{}'),
           sum(CASE WHEN value IS NULL THEN events ELSE least(events, less) END)
    FROM cut
    GROUP BY dimension, step, start
    ORDER BY step, start
    ON CONFLICT (source, step, start, dimension) DO UPDATE
    SET value = excluded.value,
        events = excluded.events,
        total = excluded.total,
        beyond = excluded.beyond
)
SELECT count(*) FROM taken
