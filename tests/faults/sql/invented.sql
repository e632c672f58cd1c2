-- Rows of events that were not sent, or only in requests that were refused for good.
SELECT count(*)
FROM events AS e
WHERE NOT EXISTS (
    SELECT FROM oracle.sent AS s
    JOIN oracle.fate AS f ON f.batch = s.batch
    WHERE e.event_id = s.event_id AND e."timestamp" = s."timestamp" AND e.source = s.source
)
