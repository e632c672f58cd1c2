-- How many dead letters are meant.
SELECT count(*)
FROM dead_letters
WHERE {selected}
