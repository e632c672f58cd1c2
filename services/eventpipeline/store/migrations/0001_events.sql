-- The events, the rollups that reports read, and the dead letters.

-- One row an event. Its identity is (source, event_id, timestamp): a sender that retries repeats all three, so a
-- copy is recognised whenever it arrives. Partitions by day let retention drop a day without touching the others.
-- The checks are for events that did not come through a gateway: an infinite time or amount would spoil every sum.
CREATE TABLE events (
    source          text        NOT NULL,
    event_id        text        NOT NULL,
    "timestamp"     timestamptz NOT NULL CHECK ("timestamp" BETWEEN '1969-12-31T00:00:00Z' AND '2100-01-02T00:00:00Z'),
    funnel_stage    text        NOT NULL CHECK (funnel_stage IN ('top', 'bottom')),
    event_type      text        NOT NULL,
    user_id         text        NOT NULL,
    campaign_id     text,
    transaction     boolean     NOT NULL,
    amount          numeric     CHECK (amount >= 0 AND amount < 1e15),
    currency        text,
    stored_at       timestamptz NOT NULL DEFAULT now(),
    correlation_id  text,
    data            jsonb       NOT NULL,
    -- What tells two events apart stands first: a comparison that begins with the source costs a tenth of an append.
    PRIMARY KEY (event_id, "timestamp", source)
) PARTITION BY RANGE ("timestamp");

CREATE TABLE events_default PARTITION OF events DEFAULT;

-- Rows lie in about the order of their time, so a block range index finds the edges of a report's range.
CREATE INDEX events_timestamp ON events USING brin ("timestamp") WITH (pages_per_range = 32);

-- Revenue by campaign: campaign ids can be unique per event, so a rollup by campaign would be no smaller than this.
CREATE INDEX events_transactions ON events (source, campaign_id, "timestamp") INCLUDE (amount, currency)
    WHERE transaction;

-- Events and revenue by minute. `amounts` counts the transactions that have an amount.
CREATE TABLE rollup_minute (
    minute          timestamptz NOT NULL,
    source          text        NOT NULL,
    funnel_stage    text        NOT NULL,
    event_type      text        NOT NULL,
    currency        text,
    events          bigint      NOT NULL,
    transactions    bigint      NOT NULL,
    amounts         bigint      NOT NULL,
    revenue         numeric     NOT NULL,
    UNIQUE NULLS NOT DISTINCT (minute, source, funnel_stage, event_type, currency)
);

-- Demographics by hour: for a distribution, the events of each value; for an average (value ''), the events that
-- carry the number and its sum.
CREATE TABLE rollup_demographics_hour (
    hour            timestamptz NOT NULL,
    source          text        NOT NULL,
    dimension       text        NOT NULL,
    value           text        NOT NULL,
    events          bigint      NOT NULL,
    total           numeric     NOT NULL,
    PRIMARY KEY (source, dimension, hour, value)
);

-- The same, a row a batch, hour and dimension, until it is folded into the rows above. A distribution such as cities
-- has about as many values as a batch has events; to update a row for each would cost half as much again as storing
-- the events.
CREATE TABLE rollup_demographics_batch (
    id              bigint      PRIMARY KEY GENERATED ALWAYS AS IDENTITY,
    hour            timestamptz NOT NULL,
    source          text        NOT NULL,
    dimension       text        NOT NULL,
    value           text[]      NOT NULL,
    events          bigint[]    NOT NULL,
    total           numeric[]   NOT NULL
) WITH (autovacuum_vacuum_threshold = 500, autovacuum_vacuum_scale_factor = 0);

-- Both together, which is what reports read: several rows of one key are to be added up.
CREATE VIEW rollup_demographics AS
SELECT hour, source, dimension, value, events, total FROM rollup_demographics_hour
UNION ALL
SELECT batch.hour, batch.source, batch.dimension, each.value, each.events, each.total
FROM rollup_demographics_batch AS batch
CROSS JOIN LATERAL unnest(batch.value, batch.events, batch.total) AS each (value, events, total);

-- Events that were refused, with the reason and their own bytes.
CREATE TABLE dead_letters (
    id              uuid        PRIMARY KEY,
    received_at     timestamptz NOT NULL,
    source          text,
    funnel_stage    text,
    event_type      text,
    event_id        text,
    reason          text        NOT NULL,
    detail          jsonb       NOT NULL,
    correlation_id  text,
    payload         bytea       NOT NULL,
    payload_bytes   bigint      NOT NULL,
    payload_sha256  text        NOT NULL
);

CREATE INDEX dead_letters_received_at ON dead_letters (received_at, id);
CREATE INDEX dead_letters_event_id ON dead_letters (event_id);

-- Days whose events retention has dropped; an event of such a day is refused, since it might be a copy.
CREATE TABLE dropped_days (
    day             date        PRIMARY KEY,
    dropped_at      timestamptz NOT NULL DEFAULT now()
);
