-- The buckets in which events were emptied because their person was forgotten. Their demographics and users stay in the
-- rollups until these are made anew, and cannot be counted again.
CREATE TEMPORARY TABLE forgotten ON COMMIT DROP AS
SELECT source, step, date_trunc(step, "timestamp", 'UTC') AS start
FROM events
CROSS JOIN (VALUES ('minute'), ('hour'), ('day')) AS steps (step)
WHERE user_id = '' AND data = '{}'
GROUP BY 1, 2, 3
