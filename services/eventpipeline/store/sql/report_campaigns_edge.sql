-- The transactions that a window cuts off from whole buckets at one of its ends, one by one.
UNION ALL
SELECT "timestamp", source, campaign_id, currency, 1, (amount IS NOT NULL)::integer, coalesce(amount, 0)
FROM events_between({first}::timestamptz, {last}::timestamptz)
WHERE transaction
  AND (%(source)s::text IS NULL OR source = %(source)s::text)
  AND (%(campaign_id)s::text IS NULL OR campaign_id = %(campaign_id)s::text)
