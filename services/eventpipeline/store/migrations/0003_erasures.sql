-- What was forgotten, and when. Nothing here tells who: an id, or a hash of one that can be tried against a list of
-- ids, would be what was to be forgotten. `reference` is where the request itself is kept, such as a ticket's number.
CREATE TABLE erasures (
    id              bigint      PRIMARY KEY GENERATED ALWAYS AS IDENTITY,
    started_at      timestamptz NOT NULL DEFAULT now(),
    finished_at     timestamptz,
    source          text        NOT NULL,
    users           integer     NOT NULL,
    requested_by    text,
    reference       text,
    events          bigint      NOT NULL DEFAULT 0,
    messages        bigint      NOT NULL DEFAULT 0,
    dead_letters    bigint      NOT NULL DEFAULT 0,
    -- The tables whose dead rows are to be vacuumed, and when that was done.
    tables          text[]      NOT NULL DEFAULT '{}',
    vacuumed_at     timestamptz
);
