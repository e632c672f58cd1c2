-- The series of the revenue report: money and transactions in each bucket of time that has any, by currency.
SELECT date_trunc(%(interval)s, "timestamp", 'UTC') AS start, currency,
       sum(revenue) AS revenue, sum(transactions)::bigint AS transactions
FROM ({transactions}) AS part
GROUP BY 1, 2
ORDER BY 1, 2 NULLS FIRST
