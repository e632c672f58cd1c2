-- One campaign of a row of the rollup, without looking at the money of the others.
r.campaign_id[r.position], r.currency, r.transactions[r.position], r.amounts[r.position], r.revenue[r.position]
