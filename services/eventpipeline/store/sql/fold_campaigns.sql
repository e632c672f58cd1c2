-- Folds the transactions of appends of one source into the rollup, the oldest first, and says how many rows went.
--
-- A bucket with more campaigns than are kept is given up for good: its arrays are NULL from then on. Where these alone
-- are too many for a minute, they are for all that it is part of, and need not be added up.
WITH taken AS (
    DELETE FROM rollup_campaigns_batch
    WHERE id IN (SELECT id FROM rollup_campaigns_batch WHERE source = %(source)s ORDER BY id LIMIT %(limit)s)
    RETURNING minute, campaign_id, currency, amount
), line AS MATERIALIZED (
    SELECT each.minute, each.campaign_id, each.currency,
           count(*) AS transactions, count(each.amount) AS amounts, coalesce(sum(each.amount), 0) AS revenue
    FROM taken
    CROSS JOIN LATERAL unnest(taken.minute, taken.campaign_id, taken.currency, taken.amount)
        AS each (minute, campaign_id, currency, amount)
    GROUP BY 1, 2, 3
), there AS MATERIALIZED (
    -- The buckets that these belong to, with what is there of them.
    SELECT touched.step, touched.start, touched.currency, r.campaign_id, r.transactions, r.amounts, r.revenue,
           touched.is_over, r.step IS NOT NULL AND r.campaign_id IS NULL AS is_given_up
    FROM (
        SELECT step, date_bin(length, minute, '2000-01-01T00:00:00Z') AS start, currency, bool_or(is_over) AS is_over
        FROM (
            SELECT minute, currency, count(*) > %(kept_campaigns)s AS is_over FROM line GROUP BY 1, 2
        ) AS minutes
        CROSS JOIN rollup_steps
        GROUP BY 1, 2, 3
    ) AS touched
    LEFT JOIN rollup_campaigns AS r
      ON r.source = %(source)s AND r.step = touched.step AND r.start = touched.start
     AND r.currency IS NOT DISTINCT FROM touched.currency
), added AS (
    -- Where ids are unique per event nearly all buckets are given up, and this is nothing.
    SELECT there.step, there.start, there.currency, line.campaign_id, line.transactions, line.amounts, line.revenue
    FROM line
    CROSS JOIN rollup_steps AS steps
    JOIN there
      ON there.step = steps.step AND there.start = date_bin(steps.length, line.minute, '2000-01-01T00:00:00Z')
     AND there.currency IS NOT DISTINCT FROM line.currency AND NOT there.is_given_up AND NOT there.is_over
), summed AS (
    SELECT step, start, currency, campaign_id,
           sum(transactions) AS transactions, sum(amounts) AS amounts, sum(revenue) AS revenue
    FROM (
        SELECT step, start, currency, campaign_id, transactions, amounts, revenue FROM added
        UNION ALL
        SELECT there.step, there.start, there.currency, each.*
        FROM there
        CROSS JOIN LATERAL unnest(there.campaign_id, there.transactions, there.amounts, there.revenue) AS each
        WHERE NOT there.is_over
    ) AS part
    GROUP BY 1, 2, 3, 4
), bucket AS (
    SELECT step, start, currency, count(*) <= %(kept_campaigns)s AS is_kept,
           array_agg(campaign_id) AS campaign_id, array_agg(transactions) AS transactions,
           array_agg(amounts) AS amounts, array_agg(revenue) AS revenue
    FROM summed
    GROUP BY 1, 2, 3
    UNION ALL
    SELECT step, start, currency, FALSE, NULL, NULL, NULL, NULL
    FROM there
    WHERE is_over AND NOT is_given_up
), folded AS (
    INSERT INTO rollup_campaigns (source, step, start, currency, campaign_id, transactions, amounts, revenue)
    SELECT %(source)s, step, start, currency,
           CASE WHEN is_kept THEN campaign_id END, CASE WHEN is_kept THEN transactions END,
           CASE WHEN is_kept THEN amounts END, CASE WHEN is_kept THEN revenue END
    FROM bucket
    ORDER BY step, start
    ON CONFLICT (step, start, source, currency) DO UPDATE
    SET campaign_id = excluded.campaign_id,
        transactions = excluded.transactions,
        amounts = excluded.amounts,
        revenue = excluded.revenue
)
SELECT count(*) FROM taken
