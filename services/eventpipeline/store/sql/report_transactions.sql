-- The transactions of a window as a relation, without their campaigns.
SELECT "timestamp", source, NULL::text AS campaign_id, currency, transactions, amounts, revenue
FROM ({counts}) AS part
WHERE transactions > 0
