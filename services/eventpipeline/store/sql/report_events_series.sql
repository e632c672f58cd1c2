-- The series of the events report, behind its items: how many in each bucket of time that has any.
SELECT NULL, NULL, NULL, date_bin(%(interval)s::interval, "timestamp", '2000-01-01T00:00:00Z') AS start,
       sum(events)::bigint
FROM ({counts}) AS part
GROUP BY start
ORDER BY start
