-- The values of one dimension as they come, each for one event: most differ, so counting them here gains nothing.
UNION ALL
SELECT {source}, {dimension}, array_agg(minute), array_agg(value), NULL, NULL
FROM (SELECT date_bin('1 minute', "timestamp", '2000-01-01T00:00:00Z') AS minute, {value} AS value FROM {events}) AS event
WHERE value IS NOT NULL
HAVING count(*) > 0
