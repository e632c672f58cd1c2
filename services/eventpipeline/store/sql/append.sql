-- Stores one batch of events of one source, and counts exactly those that were new.
--
-- Nothing is done where the schema is older than this release or newer than it understands, since a rollup might be
-- missed; the answer says so. Events of a day that retention has dropped are left out, and the answer has their
-- positions, from 0. Rows go in in the order of their identity: two collectors that store the same events would deadlock
-- otherwise. Without a word on copies ({{on_copy}}) one of them ends the
-- statement.
WITH schema AS (
    SELECT max(version) AS version, max(min_compatible) AS min_compatible FROM schema_versions
), batch AS (
    SELECT event_id, "timestamp", funnel_stage, event_type, data,
           %(correlation_ids)s ->> (width_bucket(position, %(starts)s::bigint[]) - 1) AS correlation_id
    FROM ({events}) AS event
    WHERE (SELECT version >= {version} AND min_compatible <= {version} FROM schema)
), new AS (
    INSERT INTO events (source, event_id, "timestamp", funnel_stage, event_type,
                        user_id, campaign_id, transaction, amount, currency, correlation_id, data)
    SELECT {source}, event_id, "timestamp", funnel_stage, event_type,
           {user_id}, {campaign_id}, {is_transaction}, {amount}, {currency}, correlation_id, data
    FROM batch
    WHERE NOT EXISTS (SELECT FROM dropped_days WHERE day = ("timestamp" AT TIME ZONE 'UTC')::date)
    ORDER BY "timestamp", event_id
    {on_copy}
    RETURNING "timestamp", funnel_stage, event_type, user_id, campaign_id, transaction, amount, currency, data
), {counted}
SELECT (SELECT version FROM schema), (SELECT min_compatible FROM schema),
       (SELECT count(*) FROM new),
       CASE WHEN EXISTS (SELECT FROM dropped_days) THEN ARRAY(
           SELECT position - 1
           FROM ({events}) AS event
           JOIN dropped_days ON day = ("timestamp" AT TIME ZONE 'UTC')::date
           ORDER BY position
       ) END
