-- Drops all dead letters that are meant.
DELETE FROM dead_letters
WHERE {selected}
