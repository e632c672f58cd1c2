-- The events of one source that a window cuts off from whole buckets at its ends, as a relation.
SELECT "timestamp", funnel_stage, user_id, data
FROM events
WHERE ("timestamp" >= %(head_from)s::timestamptz AND "timestamp" < %(head_to)s::timestamptz
       OR "timestamp" >= %(tail_from)s::timestamptz AND "timestamp" < %(tail_to)s::timestamptz)
  AND source = %(source)s
