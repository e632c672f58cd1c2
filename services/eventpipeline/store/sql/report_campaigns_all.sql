-- All campaigns of a row of the rollup; one row of NULL where the bucket was given up.
unnest(coalesce(r.campaign_id, '{NULL}'::text[])) AS campaign_id, r.currency, unnest(r.transactions) AS transactions,
unnest(r.amounts) AS amounts, unnest(r.revenue) AS revenue
