-- One dead letter with the bytes that were refused.
SELECT id, received_at, source, funnel_stage, event_type, event_id, reason, detail, correlation_id, payload_bytes,
       payload, payload_sha256
FROM dead_letters
WHERE id = %(id)s::uuid
