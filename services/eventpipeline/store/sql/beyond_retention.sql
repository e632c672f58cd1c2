-- Those events of a batch that belong to a day which retention has dropped.
SELECT event::text
FROM jsonb_array_elements(%(events)s) AS event
JOIN dropped_days ON day = ((event ->> 'timestamp')::timestamptz AT TIME ZONE 'UTC')::date
