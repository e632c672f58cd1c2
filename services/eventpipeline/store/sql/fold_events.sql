-- Folds what appends of one source counted into the rollup, the oldest first, and says how many rows went.
WITH taken AS (
    DELETE FROM rollup_events_batch
    WHERE id IN (SELECT id FROM rollup_events_batch WHERE source = %(source)s ORDER BY id LIMIT %(limit)s)
    RETURNING minute, funnel_stage, event_type, currency, events, transactions, amounts, revenue
), line AS (
    SELECT each.*
    FROM taken
    CROSS JOIN LATERAL unnest(taken.minute, taken.funnel_stage, taken.event_type, taken.currency,
                              taken.events, taken.transactions, taken.amounts, taken.revenue)
        AS each (minute, funnel_stage, event_type, currency, events, transactions, amounts, revenue)
), folded AS (
    INSERT INTO rollup_events AS r (step, start, source, funnel_stage, event_type, currency,
                                    events, transactions, amounts, revenue)
    SELECT step, date_bin(length, minute, '2000-01-01T00:00:00Z'), %(source)s, funnel_stage, event_type, currency,
           sum(events), sum(transactions), sum(amounts), sum(revenue)
    FROM line
    CROSS JOIN rollup_steps
    GROUP BY 1, 2, 4, 5, 6
    ORDER BY 1, 2  -- a report reads them in this order: the rows of a day in few blocks
    ON CONFLICT (step, start, source, funnel_stage, event_type, currency) DO UPDATE
    SET events = r.events + excluded.events,
        transactions = r.transactions + excluded.transactions,
        amounts = r.amounts + excluded.amounts,
        revenue = r.revenue + excluded.revenue
)
SELECT count(*) FROM taken
