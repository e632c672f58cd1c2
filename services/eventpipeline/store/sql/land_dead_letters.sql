-- Lands dead letters; one that is there already, by its id, is a redelivery.
WITH landed AS (
    INSERT INTO dead_letters (id, received_at, source, funnel_stage, event_type, event_id, reason, detail,
                              correlation_id, payload, payload_bytes, payload_sha256)
    SELECT id, "receivedAt", source, "funnelStage", "eventType", "eventId", reason, detail,
           "correlationId", decode(payload, 'base64'), "payloadBytes", "payloadSha256"
    FROM jsonb_to_recordset(%(letters)s) AS letter (
        id uuid, "receivedAt" timestamptz, source text, "funnelStage" text, "eventType" text, "eventId" text,
        reason text, detail jsonb, "correlationId" text, payload text, "payloadBytes" bigint, "payloadSha256" text)
    ORDER BY id
    ON CONFLICT DO NOTHING
    RETURNING 1
)
SELECT count(*) FROM landed
