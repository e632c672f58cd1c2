-- The names of the partitions of `events`, the default one last: rows only ever move out of it.
SELECT relname FROM pg_inherits JOIN pg_class ON pg_class.oid = inhrelid
WHERE inhparent = 'events'::regclass
ORDER BY relname = 'events_default', relname
