-- How many events of one source there are in each minute, without the days that retention has dropped.
SELECT date_bin('1 minute', "timestamp", '2000-01-01T00:00:00Z') AS minute, count(*) AS events
FROM events
WHERE source = %(source)s
  AND NOT EXISTS (SELECT FROM dropped_days WHERE day = ("timestamp" AT TIME ZONE 'UTC')::date)
GROUP BY 1
ORDER BY 1
