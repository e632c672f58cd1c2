-- The condition that a dead letter is meant: for whatever lists, counts or drops them.
(%(source)s::text IS NULL OR source = %(source)s::text)
  AND (%(reason)s::text IS NULL OR reason = %(reason)s::text)
  AND (%(funnel_stage)s::text IS NULL OR funnel_stage = %(funnel_stage)s::text)
  AND (%(event_id)s::text IS NULL OR event_id = %(event_id)s::text)
  AND received_at >= %(from)s::timestamptz AND received_at < %(to)s::timestamptz
