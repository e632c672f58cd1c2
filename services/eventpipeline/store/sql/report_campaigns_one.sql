-- One campaign of a row of the rollup, found without looking at the money of the others.
CROSS JOIN LATERAL (
    SELECT r.campaign_id[position] AS campaign_id, r.transactions[position] AS transactions,
           r.amounts[position] AS amounts, r.revenue[position] AS revenue
    FROM array_position(r.campaign_id, %(campaign_id)s::text) AS position
    WHERE r.campaign_id IS NULL OR position IS NOT NULL
) AS each
