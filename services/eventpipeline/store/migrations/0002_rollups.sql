-- Rollups by minute, hour and day, all of them made of what batches counted; distinct users by sketches.
--
-- A collector of an earlier release would count into tables that are gone, so it pauses; a reporter of an earlier
-- release goes on, by views of the old names.
-- min_compatible: 2

LOCK TABLE events IN SHARE ROW EXCLUSIVE MODE;

-- What one append counted, until it is folded into the rollups: a row an append, and for values a row an append and
-- dimension. An append that updated the rollups themselves would wait for every other one of the same minute.
-- What is listed is not compressed: hashes and names that differ do not get shorter.
CREATE TABLE rollup_events_batch (
    id              bigint      PRIMARY KEY GENERATED ALWAYS AS IDENTITY,
    source          text        NOT NULL,
    minute          timestamptz[] NOT NULL,
    funnel_stage    text[]      NOT NULL,
    event_type      text[]      NOT NULL,
    currency        text[]      NOT NULL,
    events          bigint[]    NOT NULL,
    transactions    bigint[]    NOT NULL,
    amounts         bigint[]    NOT NULL,
    revenue         numeric[]   NOT NULL
) WITH (autovacuum_vacuum_threshold = 500, autovacuum_vacuum_scale_factor = 0);

-- Without `events` and `total` each value is of one event.
CREATE TABLE rollup_dimensions_batch (
    id              bigint      PRIMARY KEY GENERATED ALWAYS AS IDENTITY,
    source          text        NOT NULL,
    dimension       text        NOT NULL,
    minute          timestamptz[] NOT NULL,
    value           text[]      NOT NULL,
    events          bigint[],
    total           numeric[]
) WITH (autovacuum_vacuum_threshold = 500, autovacuum_vacuum_scale_factor = 0);

-- The users of an append's events, as hashes.
CREATE TABLE rollup_users_batch (
    id              bigint      PRIMARY KEY GENERATED ALWAYS AS IDENTITY,
    source          text        NOT NULL,
    minute          timestamptz[] NOT NULL,
    hash            bigint[]    NOT NULL
) WITH (autovacuum_vacuum_threshold = 500, autovacuum_vacuum_scale_factor = 0);

ALTER TABLE rollup_dimensions_batch
    ALTER minute SET STORAGE EXTERNAL, ALTER value SET STORAGE EXTERNAL;
ALTER TABLE rollup_users_batch
    ALTER minute SET STORAGE EXTERNAL, ALTER hash SET STORAGE EXTERNAL;

-- Events and revenue of each minute, hour and day (`step`). `amounts` counts the transactions that have an amount.
CREATE TABLE rollup_events (
    step            text        NOT NULL CHECK (step IN ('minute', 'hour', 'day')),
    start           timestamptz NOT NULL,
    source          text        NOT NULL,
    funnel_stage    text        NOT NULL,
    event_type      text        NOT NULL,
    currency        text,
    events          bigint      NOT NULL,
    transactions    bigint      NOT NULL,
    amounts         bigint      NOT NULL,
    revenue         numeric     NOT NULL,
    UNIQUE NULLS NOT DISTINCT (step, start, source, funnel_stage, event_type, currency)
);

-- Demographics of each minute, hour and day. Of a distribution: its values, the events of each, and in `beyond` the
-- events whose value is not kept. So many values are kept of a dimension that the row stays small even where every
-- event has a value of its own; how wrong a kept count can be then is `beyond` over one more than that number.
-- Of an average: the one value '', the events that carry the number, and its sum.
CREATE TABLE rollup_dimensions (
    source          text        NOT NULL,
    dimension       text        NOT NULL,
    step            text        NOT NULL CHECK (step IN ('minute', 'hour', 'day')),
    start           timestamptz NOT NULL,
    value           text[]      NOT NULL,
    events          bigint[]    NOT NULL,
    total           numeric[]   NOT NULL,
    beyond          numeric     NOT NULL,
    PRIMARY KEY (source, step, start, dimension)
);

-- Distinct users of each minute, hour and day, as the registers of a HyperLogLog sketch, a byte each.
CREATE TABLE rollup_users (
    source          text        NOT NULL,
    step            text        NOT NULL CHECK (step IN ('minute', 'hour', 'day')),
    start           timestamptz NOT NULL,
    registers       bytea       NOT NULL,
    PRIMARY KEY (source, step, start)
);

INSERT INTO rollup_events (step, start, source, funnel_stage, event_type, currency,
                           events, transactions, amounts, revenue)
SELECT step, date_trunc(step, minute, 'UTC'), source, funnel_stage, event_type, currency,
       sum(events), sum(transactions), sum(amounts), sum(revenue)
FROM rollup_minute CROSS JOIN (VALUES ('minute'), ('hour'), ('day')) AS steps (step)
GROUP BY 1, 2, 3, 4, 5, 6;

DROP TABLE rollup_minute;

CREATE VIEW rollup_minute AS
SELECT start AS minute, source, funnel_stage, event_type, currency, events, transactions, amounts, revenue
FROM rollup_events
WHERE step = 'minute'
UNION ALL
SELECT each.minute, batch.source, each.funnel_stage, each.event_type, each.currency,
       each.events, each.transactions, each.amounts, each.revenue
FROM rollup_events_batch AS batch
CROSS JOIN LATERAL unnest(batch.minute, batch.funnel_stage, batch.event_type, batch.currency,
                          batch.events, batch.transactions, batch.amounts, batch.revenue)
    AS each (minute, funnel_stage, event_type, currency, events, transactions, amounts, revenue);

-- The demographics by hour go over with the bound that folding keeps (see sql/fold_dimensions.sql).
INSERT INTO rollup_dimensions (source, dimension, step, start, value, events, total, beyond)
SELECT source, dimension, step, start,
       coalesce(array_agg(value) FILTER (WHERE events > less), '{}'),
       coalesce(array_agg(events - less) FILTER (WHERE events > less), '{}'),
       coalesce(array_agg(total) FILTER (WHERE events > less), '{}'),
       sum(least(events, less))
FROM (
    SELECT source, dimension, step, start, value, events, total,
           coalesce(max(events) FILTER (WHERE rank = 1001) OVER (PARTITION BY source, dimension, step, start), 0) AS less
    FROM (
        SELECT source, dimension, step, date_trunc(step, hour, 'UTC') AS start, value,
               sum(events) AS events, sum(total) AS total,
               row_number() OVER (PARTITION BY source, dimension, step, date_trunc(step, hour, 'UTC')
                                  ORDER BY sum(events) DESC) AS rank
        FROM rollup_demographics
        CROSS JOIN (VALUES ('hour'), ('day')) AS steps (step)
        GROUP BY source, dimension, step, date_trunc(step, hour, 'UTC'), value
    ) AS ranked
) AS cut
GROUP BY source, dimension, step, start;

DROP VIEW rollup_demographics;
DROP TABLE rollup_demographics_hour, rollup_demographics_batch;

CREATE VIEW rollup_demographics AS
SELECT rollup.start AS hour, rollup.source, rollup.dimension, each.value, each.events, each.total
FROM rollup_dimensions AS rollup
CROSS JOIN LATERAL unnest(rollup.value, rollup.events, rollup.total) AS each (value, events, total)
WHERE rollup.step = 'hour'
UNION ALL
SELECT date_trunc('hour', each.minute, 'UTC'), batch.source, batch.dimension, each.value,
       coalesce(each.events, 1), coalesce(each.total, 0)
FROM rollup_dimensions_batch AS batch
CROSS JOIN LATERAL unnest(batch.minute, batch.value, batch.events, batch.total) AS each (minute, value, events, total);

-- Sources whose demographics by minute, and whose users, are not counted in the rollups: reports read the events
-- themselves for them, until `eventpipeline rollups rebuild`.
CREATE TABLE rollup_backlog (
    source          text        PRIMARY KEY
);

INSERT INTO rollup_backlog (source) SELECT DISTINCT source FROM rollup_events;
