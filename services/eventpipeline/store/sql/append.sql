-- Stores one batch of events of one source, and counts exactly those that were new.
--
-- Nothing is done where the schema is older than this release or newer than it understands, since a rollup might be
-- missed; the answer says so. Events of a day that retention has dropped are left out, and the answer has their
-- positions, from 0. Rows go in in the order of their identity and rollups in the order of their keys: two collectors
-- that store the same events would deadlock otherwise. Without a word on copies ({{on_copy}}) one of them ends the
-- statement.
WITH schema AS (
    SELECT max(version) AS version, max(min_compatible) AS min_compatible FROM schema_versions
), batch AS (
    SELECT event_id, "timestamp", funnel_stage, event_type, data,
           %(correlation_ids)s ->> (width_bucket(position, %(starts)s::bigint[]) - 1) AS correlation_id
    FROM ROWS FROM (
        jsonb_to_recordset(%(events)s)
        AS ("eventId" text, "timestamp" timestamptz, "funnelStage" text, "eventType" text, data jsonb)
    ) WITH ORDINALITY AS e (event_id, "timestamp", funnel_stage, event_type, data, position)
    WHERE (SELECT version >= {version} AND min_compatible <= {version} FROM schema)
), new AS (
    INSERT INTO events (source, event_id, "timestamp", funnel_stage, event_type,
                        user_id, campaign_id, transaction, amount, currency, correlation_id, data)
    SELECT {source}, event_id, "timestamp", funnel_stage, event_type,
           {user_id}, {campaign_id}, {is_transaction}, {amount}, {currency}, correlation_id, data
    FROM batch
    WHERE NOT EXISTS (SELECT FROM dropped_days WHERE day = ("timestamp" AT TIME ZONE 'UTC')::date)
    ORDER BY event_id, "timestamp"
    {on_copy}
    RETURNING "timestamp", funnel_stage, event_type, transaction, amount, currency, data
), counted AS (
    INSERT INTO rollup_minute AS r (minute, source, funnel_stage, event_type, currency,
                                    events, transactions, amounts, revenue)
    SELECT date_bin('1 minute', "timestamp", '2000-01-01T00:00:00Z'), {source}, funnel_stage, event_type, currency,
           count(*), count(*) FILTER (WHERE transaction), count(amount), coalesce(sum(amount), 0)
    FROM new
    GROUP BY 1, 3, 4, 5
    ORDER BY 1, 3, 4, 5
    ON CONFLICT (minute, source, funnel_stage, event_type, currency) DO UPDATE
    SET events = r.events + excluded.events,
        transactions = r.transactions + excluded.transactions,
        amounts = r.amounts + excluded.amounts,
        revenue = r.revenue + excluded.revenue
), spread AS (
    INSERT INTO rollup_demographics_batch (hour, source, dimension, value, events, total)
    SELECT hour, {source}, dimension, array_agg(value), array_agg(events), array_agg(total)
    FROM ({spread}) AS spread
    GROUP BY hour, dimension
    {listed}
)
SELECT (SELECT version FROM schema), (SELECT min_compatible FROM schema),
       (SELECT count(*) FROM new),
       CASE WHEN EXISTS (SELECT FROM dropped_days) THEN ARRAY(
           SELECT position - 1
           FROM ROWS FROM (
               jsonb_to_recordset(%(events)s) AS ("timestamp" timestamptz)
           ) WITH ORDINALITY AS e ("timestamp", position)
           JOIN dropped_days ON day = ("timestamp" AT TIME ZONE 'UTC')::date
           ORDER BY position
       ) END
