-- Where the rollup of demographics of one source differs from what its events were counted to be. Of a row that does
-- not keep all of its values only the events together are compared: which values it keeps depends on their order.
WITH stored_row AS (
    SELECT dimension, step, start, value, events, total, beyond
    FROM {schema}.rollup_dimensions
    WHERE source = %(source)s
), counted_row AS (
    SELECT dimension, step, start, value, events, total, beyond
    FROM pg_temp.rollup_dimensions
    WHERE source = %(source)s
), part AS (
    SELECT dimension, step, start, each.value, each.events, each.total, true AS is_stored
    FROM stored_row AS r
    CROSS JOIN LATERAL unnest(r.value, r.events, r.total) AS each (value, events, total)
    UNION ALL
    SELECT dimension, step, start, NULL, beyond, 0, true FROM stored_row WHERE beyond > 0
    UNION ALL
    SELECT batch.dimension, step, date_bin(length, each.minute, '2000-01-01T00:00:00Z'), each.value,
           coalesce(each.events, 1), coalesce(each.total, 0), true
    FROM {schema}.rollup_dimensions_batch AS batch
    CROSS JOIN LATERAL unnest(batch.minute, batch.value, batch.events, batch.total)
        AS each (minute, value, events, total)
    CROSS JOIN rollup_steps
    WHERE batch.source = %(source)s
    UNION ALL
    SELECT dimension, step, start, each.value, each.events, each.total, false
    FROM counted_row AS r
    CROSS JOIN LATERAL unnest(r.value, r.events, r.total) AS each (value, events, total)
    UNION ALL
    SELECT dimension, step, start, NULL, beyond, 0, false FROM counted_row WHERE beyond > 0
), known AS (
    SELECT dimension, step, start, events, total, is_stored,
           CASE WHEN NOT bool_or(value IS NULL) OVER (PARTITION BY dimension, step, start) THEN value END AS value
    FROM part
    WHERE NOT EXISTS (SELECT FROM dropped_days WHERE day = (start AT TIME ZONE 'UTC')::date)
      AND (step <> 'week' OR start NOT IN (SELECT week FROM dropped_weeks))
), summed AS (
    SELECT dimension, step, start, value,
           coalesce(sum(events) FILTER (WHERE is_stored), 0) AS stored_events,
           coalesce(sum(events) FILTER (WHERE NOT is_stored), 0) AS counted_events,
           coalesce(sum(total) FILTER (WHERE is_stored), 0) AS stored_total,
           coalesce(sum(total) FILTER (WHERE NOT is_stored), 0) AS counted_total
    FROM known
    GROUP BY 1, 2, 3, 4
)
SELECT step, start, concat_ws(' ', dimension, nullif(value, '')),
       stored_events || ' events, sum ' || stored_total, counted_events || ' events, sum ' || counted_total
FROM summed
WHERE (stored_events, stored_total) <> (counted_events, counted_total)
  AND (%(source)s, step, start) NOT IN (SELECT source, step, start FROM forgotten)
ORDER BY 1, 2, 3
LIMIT %(limit)s
