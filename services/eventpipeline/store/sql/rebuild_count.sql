-- Counts events of one source that are stored already, as their append did.
WITH new AS MATERIALIZED (
    SELECT "timestamp", funnel_stage, event_type, user_id, campaign_id, transaction, amount, currency, data
    FROM events
    WHERE source = {source} AND "timestamp" >= %(from)s::timestamptz AND "timestamp" < %(to)s::timestamptz
), {counted}
SELECT count(*) FROM new
