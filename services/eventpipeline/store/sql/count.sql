-- Counts the events of the relation `new`, whole and in the order of its name: what they add to the rollups.
counted AS (
    INSERT INTO rollup_events_batch (source, minute, funnel_stage, event_type, currency,
                                     events, transactions, amounts, revenue)
    SELECT {source}, array_agg(minute), array_agg(funnel_stage), array_agg(event_type), array_agg(currency),
           array_agg(events), array_agg(transactions), array_agg(amounts), array_agg(revenue)
    FROM (
        SELECT date_bin('1 minute', "timestamp", '2000-01-01T00:00:00Z') AS minute, funnel_stage, event_type, currency,
               count(*) AS events, count(*) FILTER (WHERE transaction) AS transactions,
               count(amount) AS amounts, coalesce(sum(amount), 0) AS revenue
        FROM new
        GROUP BY 1, 2, 3, 4
    ) AS line
    HAVING count(*) > 0
), spread AS (
    INSERT INTO rollup_dimensions_batch (source, dimension, minute, value, events, total)
    SELECT {source}, dimension, array_agg(minute), array_agg(value), array_agg(events), array_agg(total)
    FROM ({spread}) AS spread
    GROUP BY dimension
    {listed}
), seen AS (
    INSERT INTO rollup_users_batch (source, minute, hash)
    SELECT {source}, array_agg(date_bin('1 minute', "timestamp", '2000-01-01T00:00:00Z')),
           array_agg(hashtextextended(user_id, 0))
    FROM new
    WHERE user_id <> ''
    HAVING count(*) > 0
), sold AS (
    INSERT INTO rollup_campaigns_batch (source, minute, campaign_id, currency, amount)
    SELECT {source}, array_agg(date_bin('1 minute', "timestamp", '2000-01-01T00:00:00Z')),
           array_agg(campaign_id), array_agg(currency), array_agg(amount)
    FROM new
    WHERE transaction
    HAVING count(*) > 0
)
