-- The names of the day partitions of `events`.
SELECT relname FROM pg_inherits JOIN pg_class ON pg_class.oid = inhrelid
WHERE inhparent = 'events'::regclass AND relname ~ '^events_[0-9]{8}$'
