-- The events report: how many of each source, funnel stage and event type.
SELECT source, funnel_stage, event_type, NULL::timestamptz AS start, sum(events)::bigint AS count
FROM ({counts}) AS part
GROUP BY source, funnel_stage, event_type
ORDER BY source, funnel_stage DESC, event_type
