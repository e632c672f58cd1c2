-- The transactions of a window by campaign as a relation: whole buckets from the rollup, what appends counted and
-- nobody folded yet, and what the window cuts at its ends from the events themselves. Of a bucket that was given up
-- there is one row without `transactions`.
SELECT r.start AS "timestamp", r.source, {campaign}
FROM unnest(%(steps)s::text[], %(firsts)s::timestamptz[], %(lasts)s::timestamptz[]) AS bucket (step, first, last)
CROSS JOIN LATERAL (
    SELECT start, source, currency, campaign_id, transactions, amounts, revenue{position}
    FROM rollup_campaigns
    WHERE step = bucket.step AND start >= bucket.first AND start < bucket.last
      AND (%(source)s::text IS NULL OR source = %(source)s::text)
    OFFSET 0
) AS r
{where}
UNION ALL
SELECT each.minute, batch.source, each.campaign_id, each.currency,
       1, (each.amount IS NOT NULL)::integer, coalesce(each.amount, 0)
FROM rollup_campaigns_batch AS batch
CROSS JOIN LATERAL unnest(batch.minute, batch.campaign_id, batch.currency, batch.amount)
    AS each (minute, campaign_id, currency, amount)
WHERE each.minute >= %(whole_from)s::timestamptz AND each.minute < %(whole_to)s::timestamptz
  AND (%(source)s::text IS NULL OR batch.source = %(source)s::text)
  AND (%(campaign_id)s::text IS NULL OR each.campaign_id = %(campaign_id)s::text)
{edges}
