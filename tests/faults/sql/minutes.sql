-- The rollup by minute against the rows: events that are missing in it, events too many, lines whose sums are wrong.
WITH rows AS (
    SELECT date_trunc('minute', "timestamp") AS minute, source, funnel_stage, event_type, coalesce(currency, '') AS currency,
           count(*) AS events,
           count(*) FILTER (WHERE event_type IN ('checkout.complete', 'purchase')) AS transactions,
           count(*) FILTER (WHERE event_type IN ('checkout.complete', 'purchase')
                            AND data #>> '{engagement,purchaseAmount}' IS NOT NULL) AS amounts,
           coalesce(sum((data #>> '{engagement,purchaseAmount}')::numeric)
                    FILTER (WHERE event_type IN ('checkout.complete', 'purchase')), 0) AS revenue
    FROM events
    GROUP BY 1, 2, 3, 4, 5
), rollup AS (
    SELECT minute, source, funnel_stage, event_type, coalesce(currency, '') AS currency,
           events, transactions, amounts, revenue
    FROM rollup_minute
)
SELECT sum(greatest(coalesce(rows.events, 0) - coalesce(rollup.events, 0), 0)),
       sum(greatest(coalesce(rollup.events, 0) - coalesce(rows.events, 0), 0)),
       count(*) FILTER (WHERE rows.events = rollup.events
                        AND (rows.transactions, rows.amounts, rows.revenue)
                         IS DISTINCT FROM (rollup.transactions, rollup.amounts, rollup.revenue))
FROM rows FULL JOIN rollup USING (minute, source, funnel_stage, event_type, currency)
