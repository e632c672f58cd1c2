-- The series of the events report: how many in each bucket of time that has any.
SELECT date_trunc(%(interval)s, "timestamp", 'UTC') AS start, sum(events)::bigint AS count
FROM ({counts}) AS part
GROUP BY 1
ORDER BY 1
