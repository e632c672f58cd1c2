-- Dead letters, newest first, a page at a time: those before the last one that was seen.
SELECT id, received_at, source, funnel_stage, event_type, event_id, reason, detail, correlation_id, payload_bytes
FROM dead_letters
WHERE {selected}
  AND (received_at, id) < (%(after_time)s::timestamptz, %(after_id)s::uuid)
ORDER BY received_at DESC, id DESC
LIMIT %(limit)s
