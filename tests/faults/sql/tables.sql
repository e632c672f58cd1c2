-- Where the oracle keeps what it knows.
DROP SCHEMA IF EXISTS oracle CASCADE;
CREATE SCHEMA oracle;
CREATE UNLOGGED TABLE oracle.sent (
    batch integer, source text, event_id text, "timestamp" timestamptz,
    funnel_stage text, event_type text, user_id text, amount numeric
);
CREATE UNLOGGED TABLE oracle.fate (batch integer PRIMARY KEY, must_be_there boolean NOT NULL);
