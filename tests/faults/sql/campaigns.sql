-- The rollup of campaigns against the rows, of each step: transactions that are missing in it, transactions too many,
-- lines whose sums are wrong. A bucket that was given up, having too many campaigns, has nothing to compare.
WITH steps (step, length) AS (
    VALUES ('minute', interval '1 minute'), ('ten_minutes', interval '10 minutes'), ('hour', interval '1 hour'),
           ('six_hours', interval '6 hours'), ('day', interval '1 day')
), rows AS (
    SELECT step, date_bin(length, "timestamp", '2000-01-01T00:00:00Z') AS start, source,
           coalesce(currency, '') AS currency, coalesce(data #>> '{engagement,campaignId}', '') AS campaign_id,
           count(*) AS transactions, count(data #>> '{engagement,purchaseAmount}') AS amounts,
           coalesce(sum((data #>> '{engagement,purchaseAmount}')::numeric), 0) AS revenue
    FROM events CROSS JOIN steps
    WHERE event_type IN ('checkout.complete', 'purchase')
    GROUP BY 1, 2, 3, 4, 5
), part AS (
    SELECT step, start, source, currency, each.campaign_id, each.transactions, each.amounts, each.revenue
    FROM rollup_campaigns AS r
    CROSS JOIN LATERAL unnest(r.campaign_id, r.transactions, r.amounts, r.revenue)
        AS each (campaign_id, transactions, amounts, revenue)
    UNION ALL
    SELECT step, date_bin(length, each.minute, '2000-01-01T00:00:00Z'), batch.source, each.currency, each.campaign_id,
           1, (each.amount IS NOT NULL)::integer, coalesce(each.amount, 0)
    FROM rollup_campaigns_batch AS batch
    CROSS JOIN LATERAL unnest(batch.minute, batch.campaign_id, batch.currency, batch.amount)
        AS each (minute, campaign_id, currency, amount)
    CROSS JOIN steps
), rollup AS (
    SELECT step, start, source, coalesce(currency, '') AS currency, coalesce(campaign_id, '') AS campaign_id,
           sum(transactions) AS transactions, sum(amounts) AS amounts, sum(revenue) AS revenue
    FROM part
    GROUP BY 1, 2, 3, 4, 5
), given_up AS (
    SELECT step, start, source, coalesce(currency, '') AS currency FROM rollup_campaigns WHERE campaign_id IS NULL
)
SELECT sum(greatest(coalesce(rows.transactions, 0) - coalesce(rollup.transactions, 0), 0)),
       sum(greatest(coalesce(rollup.transactions, 0) - coalesce(rows.transactions, 0), 0)),
       count(*) FILTER (WHERE rows.transactions = rollup.transactions
                        AND (rows.amounts, rows.revenue) IS DISTINCT FROM (rollup.amounts, rollup.revenue))
FROM rows FULL JOIN rollup USING (step, start, source, currency, campaign_id)
WHERE (step, start, source, currency) NOT IN (SELECT step, start, source, currency FROM given_up)
