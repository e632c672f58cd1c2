-- The events of one source that a window cuts off from whole buckets at one of its ends, as a relation.
SELECT "timestamp", funnel_stage, user_id, data
FROM events
WHERE "timestamp" >= {first}::timestamptz AND "timestamp" < {last}::timestamptz
  AND source = %(source)s
