-- The revenue report, in this order: the totals, one of each currency, since sums never cross currencies; money and
-- transactions of each source, campaign and currency, the largest sums first; and where a series is asked for, of each
-- bucket of time that has any, by currency. `is_complete` is false where the rollup does not have them all.
WITH summed AS MATERIALIZED (
    SELECT source, campaign_id, currency, {start} AS start, {is_bucket} AS is_bucket,
           sum(revenue) AS revenue, sum(transactions)::bigint AS transactions, sum(amounts)::bigint AS amounts,
           bool_and(transactions IS NOT NULL) AS is_complete
    FROM (
        SELECT source, campaign_id, currency, revenue, transactions, amounts,
               date_bin(%(interval)s::interval, "timestamp", '2000-01-01T00:00:00Z') AS start
        FROM ({transactions}) AS part
    ) AS part
    GROUP BY GROUPING SETS ((source, campaign_id, currency){series})
)
(SELECT NULL AS source, NULL AS campaign_id, currency, NULL::timestamptz AS start, false AS is_item, false AS is_bucket,
        sum(revenue) AS revenue, sum(transactions)::bigint AS transactions, sum(amounts)::bigint AS amounts,
        bool_and(is_complete) AS is_complete
 FROM summed WHERE NOT is_bucket GROUP BY currency ORDER BY currency NULLS FIRST)
UNION ALL
(SELECT source, campaign_id, currency, start, true, false, revenue, transactions, amounts, is_complete
 FROM summed WHERE NOT is_bucket
 ORDER BY revenue DESC, source, campaign_id COLLATE "C", currency LIMIT %(limit)s::bigint)
UNION ALL
(SELECT source, campaign_id, currency, start, false, true, revenue, transactions, amounts, is_complete
 FROM summed WHERE is_bucket ORDER BY start, currency NULLS FIRST)
