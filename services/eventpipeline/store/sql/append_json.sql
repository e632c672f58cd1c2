-- The events of a batch that is one JSON array.
SELECT event_id, "timestamp", funnel_stage, event_type, data, position
FROM ROWS FROM (
    jsonb_to_recordset(%(events)s)
    AS ("eventId" text, "timestamp" timestamptz, "funnelStage" text, "eventType" text, data jsonb)
) WITH ORDINALITY AS e (event_id, "timestamp", funnel_stage, event_type, data, position)
