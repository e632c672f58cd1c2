-- The revenue report, in this order: the totals, one of each currency, since sums never cross currencies; money and
-- transactions of each source, campaign and currency, the largest sums first; and where a series is asked for, of each
-- bucket of time that has any, by currency. `is_complete` is false where the rollup does not have them all.
WITH summed AS MATERIALIZED (
    SELECT source, campaign_id, currency, {start} AS start, GROUPING(source) = 0 AS is_item, {is_bucket} AS is_bucket,
           sum(revenue) AS revenue, sum(transactions)::bigint AS transactions, sum(amounts)::bigint AS amounts,
           bool_and(transactions IS NOT NULL) AS is_complete
    FROM (
        SELECT source, campaign_id, currency, revenue, transactions, amounts,
               date_bin(%(interval)s::interval, "timestamp", '2000-01-01T00:00:00Z') AS start
        FROM ({transactions}) AS part
    ) AS part
    GROUP BY GROUPING SETS ((source, campaign_id, currency), (currency){series})
)
(SELECT * FROM summed WHERE NOT is_item AND NOT is_bucket ORDER BY currency NULLS FIRST)
UNION ALL
(SELECT * FROM summed WHERE is_item
 ORDER BY revenue DESC, source, campaign_id COLLATE "C", currency LIMIT %(limit)s::bigint)
UNION ALL
(SELECT * FROM summed WHERE is_bucket ORDER BY start, currency NULLS FIRST)
