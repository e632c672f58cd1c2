-- Events that were answered 202 and are no row.
SELECT count(*)
FROM oracle.sent AS s
JOIN oracle.fate AS f ON f.batch = s.batch AND f.must_be_there
WHERE NOT EXISTS (
    SELECT FROM events AS e
    WHERE e.event_id = s.event_id AND e."timestamp" = s."timestamp" AND e.source = s.source
)
