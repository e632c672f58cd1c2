-- All campaigns of a row of the rollup.
LEFT JOIN LATERAL unnest(r.campaign_id, r.transactions, r.amounts, r.revenue)
    AS each (campaign_id, transactions, amounts, revenue) ON true
