-- The transactions of a window by campaign as a relation, where the rollup does not have them: the events themselves.
SELECT "timestamp", source, campaign_id, currency,
       1 AS transactions, (amount IS NOT NULL)::integer AS amounts, coalesce(amount, 0) AS revenue
FROM events
WHERE transaction
  AND "timestamp" >= %(from)s::timestamptz AND "timestamp" < %(to)s::timestamptz
  AND (%(source)s::text IS NULL OR source = %(source)s::text)
  AND (%(campaign_id)s::text IS NULL OR campaign_id = %(campaign_id)s::text)
