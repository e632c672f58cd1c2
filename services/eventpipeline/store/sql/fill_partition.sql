-- Moves what the default partition holds of one day into that day's table.
WITH moved AS (
    DELETE FROM events_default WHERE "timestamp" >= {first} AND "timestamp" < {last} RETURNING *
)
INSERT INTO {partition} SELECT * FROM moved
