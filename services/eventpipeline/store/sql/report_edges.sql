-- The events of one source that are in the hours which a window cuts at its ends, as a relation.
SELECT "timestamp", funnel_stage, data
FROM events
WHERE %(is_cut)s::boolean
  AND ("timestamp" >= %(head_from)s::timestamptz AND "timestamp" < %(head_to)s::timestamptz
       OR "timestamp" >= %(tail_from)s::timestamptz AND "timestamp" < %(tail_to)s::timestamptz)
  AND source = %(source)s
