-- The events report: how many of each source, funnel stage and event type; and where a series is asked for, of each
-- bucket of time that has any, with nothing but `start`.
SELECT source, funnel_stage, event_type, {start} AS start, sum(events)::bigint AS count
FROM (
    SELECT source, funnel_stage, event_type, events,
           date_bin(%(interval)s::interval, "timestamp", '2000-01-01T00:00:00Z') AS start
    FROM ({counts}) AS part
) AS part
GROUP BY GROUPING SETS ((source, funnel_stage, event_type){series})
ORDER BY source, funnel_stage DESC NULLS LAST, event_type, start
