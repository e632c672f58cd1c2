-- The users of the events that a window cuts off from whole buckets at its ends, as hashes.
UNION ALL
SELECT source, hashtextextended(user_id, 0)
FROM events
WHERE ("timestamp" >= %(head_from)s::timestamptz AND "timestamp" < %(head_to)s::timestamptz
       OR "timestamp" >= %(tail_from)s::timestamptz AND "timestamp" < %(tail_to)s::timestamptz)
  AND source = ANY (%(sources)s::text[])
  AND user_id <> ''
