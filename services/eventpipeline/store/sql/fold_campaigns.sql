-- Folds the transactions of appends of one source into the rollup, the oldest first, and says how many rows went.
--
-- A bucket with more campaigns than are kept is given up for good: its arrays are NULL from then on. Where these alone
-- are too many for a minute, they are for all that it is part of, and need not be added up.
--
-- The lines of a minute are one row, and what a bucket is known to be stands in each of its rows: nothing made here is
-- joined with anything made here. The planner takes all of it for a handful of rows, and would compare each with each:
-- half a million old events, a few in each of thousands of minutes, took minutes instead of a second.
WITH taken AS (
    DELETE FROM rollup_campaigns_batch
    WHERE id IN (SELECT id FROM rollup_campaigns_batch WHERE source = %(source)s ORDER BY id LIMIT %(limit)s)
    RETURNING minute, campaign_id, currency, amount
), line AS (
    SELECT each.minute, each.campaign_id, each.currency,
           count(*) AS transactions, count(each.amount) AS amounts, coalesce(sum(each.amount), 0) AS revenue
    FROM taken
    CROSS JOIN LATERAL unnest(taken.minute, taken.campaign_id, taken.currency, taken.amount)
        AS each (minute, campaign_id, currency, amount)
    GROUP BY 1, 2, 3
), by_minute AS MATERIALIZED (
    SELECT minute, currency, count(*) > %(kept_campaigns)s AS is_over,
           array_agg(campaign_id) AS campaign_id, array_agg(transactions) AS transactions,
           array_agg(amounts) AS amounts, array_agg(revenue) AS revenue
    FROM line
    GROUP BY 1, 2
), touched AS (
    SELECT steps.step, date_bin(steps.length, minute, '2000-01-01T00:00:00Z') AS start, currency, is_over,
           campaign_id, transactions, amounts, revenue
    FROM by_minute
    CROSS JOIN rollup_steps AS steps
    WHERE steps.step <> 'week'  -- most would have more campaigns than are kept
), added AS MATERIALIZED (
    -- The minutes of each bucket, with what is there of it. That is in the first of them only.
    SELECT touched.*, bool_or(touched.is_over) OVER bucket AS is_bucket_over, row_number() OVER bucket = 1 AS is_first,
           r.step IS NOT NULL AND r.campaign_id IS NULL AS is_given_up,
           r.campaign_id AS there_campaign_id, r.transactions AS there_transactions,
           r.amounts AS there_amounts, r.revenue AS there_revenue
    FROM touched
    LEFT JOIN rollup_campaigns AS r
      ON r.source = %(source)s AND r.step = touched.step AND r.start = touched.start
     AND r.currency IS NOT DISTINCT FROM touched.currency
    WINDOW bucket AS (PARTITION BY touched.step, touched.start, touched.currency)
), summed AS (
    SELECT step, start, currency, campaign_id,
           sum(transactions) AS transactions, sum(amounts) AS amounts, sum(revenue) AS revenue
    FROM (
        SELECT step, start, currency, unnest(campaign_id) AS campaign_id, unnest(transactions) AS transactions,
               unnest(amounts) AS amounts, unnest(revenue) AS revenue
        FROM added
        WHERE NOT is_bucket_over AND NOT is_given_up
        UNION ALL
        SELECT step, start, currency, unnest(there_campaign_id), unnest(there_transactions),
               unnest(there_amounts), unnest(there_revenue)
        FROM added
        WHERE NOT is_bucket_over AND is_first
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
    FROM added
    WHERE is_bucket_over AND is_first AND NOT is_given_up
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
