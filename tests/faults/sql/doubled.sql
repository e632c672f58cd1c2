-- Rows beside another of the same event.
SELECT coalesce(sum(rows - 1), 0)
FROM (SELECT count(*) AS rows FROM events GROUP BY event_id, "timestamp", source HAVING count(*) > 1) AS twice
