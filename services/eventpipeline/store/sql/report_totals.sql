-- All events and transactions of each source, for the status page.
SELECT source, sum(events)::bigint AS events, sum(transactions)::bigint AS transactions
FROM rollup_minute
GROUP BY source
