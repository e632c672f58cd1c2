-- The buckets in which events were emptied because their person was forgotten. Their demographics and users stay in the
-- rollups until these are made anew, and cannot be counted again.
CREATE TEMPORARY TABLE forgotten ON COMMIT DROP AS
SELECT source, step, date_bin(length, "timestamp", '2000-01-01T00:00:00Z') AS start
FROM events
CROSS JOIN rollup_steps
WHERE user_id = '' AND data = '{}'
GROUP BY 1, 2, 3
