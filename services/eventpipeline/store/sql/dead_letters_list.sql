-- Dead letters, newest first, a page at a time: those before the last one that was seen.
SELECT id, received_at, source, funnel_stage, event_type, event_id, reason, detail, correlation_id, payload_bytes
FROM dead_letters
WHERE (%(source)s::text IS NULL OR source = %(source)s::text)
  AND (%(reason)s::text IS NULL OR reason = %(reason)s::text)
  AND (%(funnel_stage)s::text IS NULL OR funnel_stage = %(funnel_stage)s::text)
  AND (%(event_id)s::text IS NULL OR event_id = %(event_id)s::text)
  AND received_at >= %(from)s::timestamptz AND received_at < %(to)s::timestamptz
  AND (received_at, id) < (%(after_time)s::timestamptz, %(after_id)s::uuid)
ORDER BY received_at DESC, id DESC
LIMIT %(limit)s
