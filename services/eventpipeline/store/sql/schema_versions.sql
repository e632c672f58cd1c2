-- Which migrations this database has had; made before the first one.
CREATE TABLE IF NOT EXISTS schema_versions (
    version         integer     PRIMARY KEY,
    name            text        NOT NULL,
    checksum        text        NOT NULL,
    min_compatible  integer     NOT NULL,
    applied_at      timestamptz NOT NULL DEFAULT now()
)
