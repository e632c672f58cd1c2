-- The revenue report: money and transactions of each source, campaign and currency, the largest sums first.
SELECT source, campaign_id, currency, sum(revenue) AS revenue,
       sum(transactions)::bigint AS transactions, sum(amounts)::bigint AS amounts
FROM ({transactions}) AS part
GROUP BY source, campaign_id, currency
ORDER BY revenue DESC, source, campaign_id COLLATE "C", currency
LIMIT %(limit)s::bigint
