-- Where the rollup of campaigns of one source differs from what its events were counted to be. Of a bucket that was given
-- up there is nothing to compare.
WITH stored_row AS (
    SELECT step, start, currency, campaign_id, transactions, amounts, revenue
    FROM {schema}.rollup_campaigns
    WHERE source = %(source)s AND step <> 'week'
), counted_row AS (
    SELECT step, start, currency, campaign_id, transactions, amounts, revenue
    FROM pg_temp.rollup_campaigns
    WHERE source = %(source)s
), part AS (
    SELECT r.step, r.start, r.currency, each.*, true AS is_stored
    FROM stored_row AS r
    CROSS JOIN LATERAL unnest(r.campaign_id, r.transactions, r.amounts, r.revenue)
        AS each (campaign_id, transactions, amounts, revenue)
    UNION ALL
    SELECT step, date_bin(length, each.minute, '2000-01-01T00:00:00Z'), each.currency, each.campaign_id,
           1, (each.amount IS NOT NULL)::integer, coalesce(each.amount, 0), true
    FROM {schema}.rollup_campaigns_batch AS batch
    CROSS JOIN LATERAL unnest(batch.minute, batch.campaign_id, batch.currency, batch.amount)
        AS each (minute, campaign_id, currency, amount)
    CROSS JOIN rollup_steps
    WHERE step <> 'week' AND batch.source = %(source)s
    UNION ALL
    SELECT r.step, r.start, r.currency, each.*, false
    FROM counted_row AS r
    CROSS JOIN LATERAL unnest(r.campaign_id, r.transactions, r.amounts, r.revenue)
        AS each (campaign_id, transactions, amounts, revenue)
), given_up AS (
    SELECT step, start, currency FROM stored_row WHERE campaign_id IS NULL
    UNION
    SELECT step, start, currency FROM counted_row WHERE campaign_id IS NULL
), summed AS (
    SELECT step, start, currency, campaign_id,
           coalesce(sum(transactions) FILTER (WHERE is_stored), 0) AS stored_transactions,
           coalesce(sum(amounts) FILTER (WHERE is_stored), 0) AS stored_amounts,
           coalesce(sum(revenue) FILTER (WHERE is_stored), 0) AS stored_revenue,
           coalesce(sum(transactions) FILTER (WHERE NOT is_stored), 0) AS counted_transactions,
           coalesce(sum(amounts) FILTER (WHERE NOT is_stored), 0) AS counted_amounts,
           coalesce(sum(revenue) FILTER (WHERE NOT is_stored), 0) AS counted_revenue
    FROM part
    WHERE NOT EXISTS (SELECT FROM dropped_days WHERE day = (start AT TIME ZONE 'UTC')::date)
    GROUP BY 1, 2, 3, 4
)
SELECT step, start, concat_ws(' ', campaign_id, currency),
       concat_ws(', ', stored_transactions || ' transactions', stored_amounts || ' amounts', stored_revenue || ' revenue'),
       concat_ws(', ', counted_transactions || ' transactions', counted_amounts || ' amounts',
                 counted_revenue || ' revenue')
FROM summed
WHERE (stored_transactions, stored_amounts, stored_revenue) <> (counted_transactions, counted_amounts, counted_revenue)
  AND NOT EXISTS (SELECT FROM given_up
                  WHERE (given_up.step, given_up.start) = (summed.step, summed.start)
                    AND given_up.currency IS NOT DISTINCT FROM summed.currency)
ORDER BY 1, 2, 3
LIMIT %(limit)s
