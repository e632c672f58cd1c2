-- The newest erasures first.
SELECT id, started_at, finished_at, source, users, requested_by, reference, events, messages, dead_letters, vacuumed_at
FROM erasures
ORDER BY id DESC
LIMIT %(limit)s
