-- Drops the events of the default partition that are older than the retention, and remembers their days.
WITH gone AS (
    DELETE FROM events_default WHERE "timestamp" < %(last)s::date RETURNING "timestamp"
)
INSERT INTO dropped_days (day) SELECT DISTINCT ("timestamp" AT TIME ZONE 'UTC')::date FROM gone
ON CONFLICT DO NOTHING
