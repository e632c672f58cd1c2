-- The users of the events that a window cuts off from whole buckets at one of its ends, as hashes.
UNION ALL
SELECT source, hashtextextended(user_id, 0)
FROM events_between({first}::timestamptz, {last}::timestamptz)
WHERE source = ANY (%(sources)s::text[])
  AND user_id <> ''
