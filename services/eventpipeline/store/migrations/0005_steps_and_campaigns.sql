-- Rollups by ten minutes and by six hours too, so that any range is at most 75 buckets and not 190; and transactions by
-- campaign.
--
-- A collector of an earlier release would leave them out, so it pauses; a reporter of an earlier release goes on.
-- min_compatible: 5

LOCK TABLE events IN SHARE ROW EXCLUSIVE MODE;

-- The lengths of the buckets of all rollups, each a whole number of the one before.
CREATE VIEW rollup_steps (step, length) AS
VALUES ('minute', interval '1 minute'), ('ten_minutes', interval '10 minutes'), ('hour', interval '1 hour'),
       ('six_hours', interval '6 hours'), ('day', interval '1 day');

-- Only folds write these tables, with the steps of the view.
ALTER TABLE rollup_events DROP CONSTRAINT rollup_events_step_check;
ALTER TABLE rollup_dimensions DROP CONSTRAINT rollup_dimensions_step_check;
ALTER TABLE rollup_users DROP CONSTRAINT rollup_users_step_check;

INSERT INTO rollup_events (step, start, source, funnel_stage, event_type, currency,
                           events, transactions, amounts, revenue)
SELECT longer.step, date_bin(longer.length, r.start, '2000-01-01T00:00:00Z'),
       r.source, r.funnel_stage, r.event_type, r.currency,
       sum(r.events), sum(r.transactions), sum(r.amounts), sum(r.revenue)
FROM rollup_events AS r
JOIN (VALUES ('minute', 'ten_minutes'), ('hour', 'six_hours')) AS made (shorter, longer) ON made.shorter = r.step
JOIN rollup_steps AS longer ON longer.step = made.longer
GROUP BY 1, 2, 3, 4, 5, 6;

-- With the bound that folding keeps (see sql/fold_dimensions.sql).
INSERT INTO rollup_dimensions (source, dimension, step, start, value, events, total, beyond)
WITH part AS (
    SELECT r.source, r.dimension, longer.step, date_bin(longer.length, r.start, '2000-01-01T00:00:00Z') AS start,
           r.value, r.events, r.total, r.beyond
    FROM rollup_dimensions AS r
    JOIN (VALUES ('minute', 'ten_minutes'), ('hour', 'six_hours')) AS made (shorter, longer) ON made.shorter = r.step
    JOIN rollup_steps AS longer ON longer.step = made.longer
), ranked AS (
    SELECT part.source, dimension, step, start, each.value, sum(each.events) AS events, sum(each.total) AS total,
           row_number() OVER (PARTITION BY part.source, dimension, step, start ORDER BY sum(each.events) DESC) AS rank
    FROM part
    CROSS JOIN LATERAL unnest(part.value, part.events, part.total) AS each (value, events, total)
    GROUP BY part.source, dimension, step, start, each.value
), cut AS (
    SELECT source, dimension, step, start, value, events, total,
           coalesce(max(events) FILTER (WHERE rank = 1001) OVER (PARTITION BY source, dimension, step, start), 0) AS less
    FROM ranked
), row AS (
    SELECT source, dimension, step, start,
           coalesce(array_agg(value) FILTER (WHERE events > less), '{}') AS value,
           coalesce(array_agg(events - less) FILTER (WHERE events > less), '{}') AS events,
           coalesce(array_agg(total) FILTER (WHERE events > less), '{}') AS total,
           sum(least(events, less)) AS beyond
    FROM cut
    GROUP BY source, dimension, step, start
)
SELECT source, dimension, step, start, coalesce(row.value, '{}'), coalesce(row.events, '{}'), coalesce(row.total, '{}'),
       before.beyond + coalesce(row.beyond, 0)
FROM (SELECT source, dimension, step, start, sum(beyond) AS beyond FROM part GROUP BY 1, 2, 3, 4) AS before
LEFT JOIN row USING (source, dimension, step, start);

-- The transactions of an append, until they are folded into the rollup: most differ, so they are listed as they come.
CREATE TABLE rollup_campaigns_batch (
    id              bigint      PRIMARY KEY GENERATED ALWAYS AS IDENTITY,
    source          text        NOT NULL,
    minute          timestamptz[] NOT NULL,
    campaign_id     text[]      NOT NULL,
    currency        text[]      NOT NULL,
    amount          numeric[]   NOT NULL
) WITH (autovacuum_vacuum_threshold = 500, autovacuum_vacuum_scale_factor = 0);

ALTER TABLE rollup_campaigns_batch
    ALTER minute SET STORAGE EXTERNAL, ALTER campaign_id SET STORAGE EXTERNAL, ALTER amount SET STORAGE EXTERNAL;

-- Transactions by campaign, of each bucket and currency; `amounts` counts those that have an amount. Campaign ids can be
-- unique per event: where a bucket has more campaigns than a row keeps, all four are NULL for good, and reports read the
-- events, by the index that has only transactions.
CREATE TABLE rollup_campaigns (
    source          text        NOT NULL,
    step            text        NOT NULL,
    start           timestamptz NOT NULL,
    currency        text,
    campaign_id     text[],
    transactions    bigint[],
    amounts         bigint[],
    revenue         numeric[],
    UNIQUE NULLS NOT DISTINCT (step, start, source, currency)
);

ALTER TABLE rollup_campaigns
    ALTER campaign_id SET STORAGE EXTERNAL, ALTER transactions SET STORAGE EXTERNAL,
    ALTER amounts SET STORAGE EXTERNAL, ALTER revenue SET STORAGE EXTERNAL;

-- Sources that have events of before this migration: their campaigns are not counted, and the sketches of their users
-- are by minute, hour and day only, until `eventpipeline rollups rebuild`.
CREATE TABLE rollup_rest (
    source          text        PRIMARY KEY
);

INSERT INTO rollup_rest (source) SELECT DISTINCT source FROM rollup_events WHERE step = 'day'
UNION SELECT source FROM rollup_events_batch;

-- The events from `first` to before `last`, for the ends of a report's window. What is in it is planned when it is
-- called, for the one or two days that are meant; a report that named the table of all days would have to be planned
-- each time, or carry a plan for each day.
CREATE FUNCTION events_between(first timestamptz, last timestamptz)
RETURNS TABLE ("timestamp" timestamptz, source text, funnel_stage text, event_type text, user_id text,
               campaign_id text, transaction boolean, amount numeric, currency text)
LANGUAGE plpgsql STABLE ROWS 100 AS $$
BEGIN
    RETURN QUERY EXECUTE
        'SELECT "timestamp", source, funnel_stage, event_type, user_id, campaign_id, transaction, amount, currency
         FROM events WHERE "timestamp" >= $1 AND "timestamp" < $2' USING first, last;
END
$$;

-- The same of one source, with all that came with them.
CREATE FUNCTION events_of_source_between(name text, first timestamptz, last timestamptz)
RETURNS TABLE ("timestamp" timestamptz, funnel_stage text, data jsonb)
LANGUAGE plpgsql STABLE ROWS 100 AS $$
BEGIN
    RETURN QUERY EXECUTE
        'SELECT "timestamp", funnel_stage, data
         FROM events WHERE source = $1 AND "timestamp" >= $2 AND "timestamp" < $3' USING name, first, last;
END
$$;
