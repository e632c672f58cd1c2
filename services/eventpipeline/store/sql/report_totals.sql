-- All events and transactions of each source, for the status page.
SELECT source, sum(events)::bigint AS events, sum(transactions)::bigint AS transactions
FROM (
    SELECT source, events, transactions FROM rollup_events WHERE step = 'day'
    UNION ALL
    SELECT batch.source, each.events, each.transactions
    FROM rollup_events_batch AS batch
    CROSS JOIN LATERAL unnest(batch.events, batch.transactions) AS each (events, transactions)
) AS part
GROUP BY source
