-- Rows that differ from what was sent.
SELECT count(*)
FROM events AS e
JOIN oracle.sent AS s ON e.event_id = s.event_id AND e."timestamp" = s."timestamp" AND e.source = s.source
WHERE (e.funnel_stage, e.event_type, e.user_id) <> (s.funnel_stage, s.event_type, s.user_id)
   OR e.amount IS DISTINCT FROM s.amount
