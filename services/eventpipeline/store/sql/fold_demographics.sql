-- Folds what batches of one source counted into the rollup by hour, the oldest first, and says how many rows went.
-- Those that another collector is folding are left to it.
WITH taken AS (
    DELETE FROM rollup_demographics_batch
    WHERE id IN (
        SELECT id FROM rollup_demographics_batch
        WHERE source = %(source)s
        ORDER BY id
        LIMIT %(limit)s
        FOR UPDATE SKIP LOCKED
    )
    RETURNING hour, source, dimension, value, events, total
), summed AS MATERIALIZED (
    -- On its own, so that it is hashed: sorting every value before it is added up would cost three times as much.
    SELECT taken.hour, taken.source, taken.dimension, each.value, sum(each.events) AS events, sum(each.total) AS total
    FROM taken
    CROSS JOIN LATERAL unnest(taken.value, taken.events, taken.total) AS each (value, events, total)
    GROUP BY 1, 2, 3, 4
), folded AS (
    INSERT INTO rollup_demographics_hour AS r (hour, source, dimension, value, events, total)
    SELECT hour, source, dimension, value, events, total
    FROM summed
    ORDER BY source, dimension, hour, value
    ON CONFLICT (source, dimension, hour, value) DO UPDATE
    SET events = r.events + excluded.events,
        total = r.total + excluded.total
)
SELECT count(*) FROM taken
