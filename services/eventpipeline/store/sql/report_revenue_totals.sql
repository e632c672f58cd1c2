-- The totals of the revenue report, one of each currency: sums never cross currencies.
SELECT currency, sum(revenue) AS revenue,
       sum(transactions)::bigint AS transactions, sum(amounts)::bigint AS amounts
FROM ({transactions}) AS part
GROUP BY currency
ORDER BY currency NULLS FIRST
