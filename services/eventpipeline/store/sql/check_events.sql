-- Where the rollup of events of one source differs from what its events were counted to be.
WITH stored AS (
    SELECT step, start, funnel_stage, event_type, currency,
           sum(events) AS events, sum(transactions) AS transactions, sum(amounts) AS amounts, sum(revenue) AS revenue
    FROM (
        SELECT step, start, funnel_stage, event_type, currency, events, transactions, amounts, revenue
        FROM {schema}.rollup_events
        WHERE source = %(source)s
        UNION ALL
        SELECT step, date_bin(length, each.minute, '2000-01-01T00:00:00Z'), each.funnel_stage, each.event_type, each.currency,
               each.events, each.transactions, each.amounts, each.revenue
        FROM {schema}.rollup_events_batch AS batch
        CROSS JOIN LATERAL unnest(batch.minute, batch.funnel_stage, batch.event_type, batch.currency,
                                  batch.events, batch.transactions, batch.amounts, batch.revenue)
            AS each (minute, funnel_stage, event_type, currency, events, transactions, amounts, revenue)
        CROSS JOIN rollup_steps
        WHERE batch.source = %(source)s
    ) AS part
    WHERE NOT EXISTS (SELECT FROM dropped_days WHERE day = (start AT TIME ZONE 'UTC')::date)
      AND (step <> 'week' OR start NOT IN (SELECT week FROM dropped_weeks))
    GROUP BY 1, 2, 3, 4, 5
), counted AS (
    SELECT step, start, funnel_stage, event_type, currency, events, transactions, amounts, revenue
    FROM pg_temp.rollup_events
    WHERE source = %(source)s
      AND (step <> 'week' OR start NOT IN (SELECT week FROM dropped_weeks))
)
SELECT coalesce(stored.step, counted.step), coalesce(stored.start, counted.start),
       concat_ws(' ', coalesce(stored.funnel_stage, counted.funnel_stage),
                 coalesce(stored.event_type, counted.event_type), coalesce(stored.currency, counted.currency)),
       concat_ws(', ', coalesce(stored.events, 0) || ' events', stored.transactions || ' transactions',
                 stored.amounts || ' amounts', stored.revenue || ' revenue'),
       concat_ws(', ', coalesce(counted.events, 0) || ' events', counted.transactions || ' transactions',
                 counted.amounts || ' amounts', counted.revenue || ' revenue')
FROM stored
FULL JOIN counted
  ON stored.step = counted.step AND stored.start = counted.start
 AND stored.funnel_stage = counted.funnel_stage AND stored.event_type = counted.event_type
 AND coalesce(stored.currency, '') = coalesce(counted.currency, '')
WHERE (stored.events, stored.transactions, stored.amounts, stored.revenue)
      IS DISTINCT FROM (counted.events, counted.transactions, counted.amounts, counted.revenue)
ORDER BY 1, 2, 3
LIMIT %(limit)s
