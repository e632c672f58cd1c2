-- The rollup of events against the rows, of each step: events that are missing in it, events too many, lines
-- whose sums are wrong.
WITH steps (step, length) AS (
    VALUES ('minute', interval '1 minute'), ('ten_minutes', interval '10 minutes'), ('hour', interval '1 hour'),
           ('six_hours', interval '6 hours'), ('day', interval '1 day'), ('week', interval '7 days')
), rows AS (
    SELECT step, date_bin(length, "timestamp", '2000-01-01T00:00:00Z') AS start, source, funnel_stage, event_type,
           coalesce(currency, '') AS currency,
           count(*) AS events,
           count(*) FILTER (WHERE event_type IN ('checkout.complete', 'purchase')) AS transactions,
           count(*) FILTER (WHERE event_type IN ('checkout.complete', 'purchase')
                            AND data #>> '{engagement,purchaseAmount}' IS NOT NULL) AS amounts,
           coalesce(sum((data #>> '{engagement,purchaseAmount}')::numeric)
                    FILTER (WHERE event_type IN ('checkout.complete', 'purchase')), 0) AS revenue
    FROM events CROSS JOIN steps
    GROUP BY 1, 2, 3, 4, 5, 6
), part AS (
    SELECT step, start, source, funnel_stage, event_type, currency, events, transactions, amounts, revenue
    FROM rollup_events
    UNION ALL
    SELECT step, date_bin(length, each.minute, '2000-01-01T00:00:00Z'), batch.source,
           each.funnel_stage, each.event_type, each.currency, each.events, each.transactions, each.amounts, each.revenue
    FROM rollup_events_batch AS batch
    CROSS JOIN LATERAL unnest(batch.minute, batch.funnel_stage, batch.event_type, batch.currency,
                              batch.events, batch.transactions, batch.amounts, batch.revenue)
        AS each (minute, funnel_stage, event_type, currency, events, transactions, amounts, revenue)
    CROSS JOIN steps
), rollup AS (
    SELECT step, start, source, funnel_stage, event_type, coalesce(currency, '') AS currency,
           sum(events) AS events, sum(transactions) AS transactions, sum(amounts) AS amounts, sum(revenue) AS revenue
    FROM part
    GROUP BY 1, 2, 3, 4, 5, 6
)
SELECT sum(greatest(coalesce(rows.events, 0) - coalesce(rollup.events, 0), 0)),
       sum(greatest(coalesce(rollup.events, 0) - coalesce(rows.events, 0), 0)),
       count(*) FILTER (WHERE rows.events = rollup.events
                        AND (rows.transactions, rows.amounts, rows.revenue)
                         IS DISTINCT FROM (rollup.transactions, rollup.amounts, rollup.revenue))
FROM rows FULL JOIN rollup USING (step, start, source, funnel_stage, event_type, currency)
