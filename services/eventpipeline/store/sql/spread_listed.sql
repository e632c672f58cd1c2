-- The values of one dimension as they come, each for one event: most differ, so counting them here gains nothing.
UNION ALL
SELECT hour, {source}, {dimension}, array_agg(value),
       array_fill(1::bigint, ARRAY[count(*)::integer]), array_fill(0::numeric, ARRAY[count(*)::integer])
FROM (SELECT date_bin('1 hour', "timestamp", '2000-01-01T00:00:00Z') AS hour, {value} AS value FROM {events}) AS event
WHERE value IS NOT NULL
GROUP BY hour
