-- The events of one source in a whole window, as a relation, to be counted one by one.
SELECT "timestamp", funnel_stage, user_id, data
FROM events
WHERE "timestamp" >= {first}::timestamptz AND "timestamp" < {last}::timestamptz
  AND source = %(source)s
