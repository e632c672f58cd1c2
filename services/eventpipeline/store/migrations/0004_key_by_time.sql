-- The key of an event begins with its time. Events come in about the order of their time, so an append writes to the
-- end of the key's index, whose few pages are in memory and full; where the random id stood first, each event dirtied
-- a page of its own, which was logged whole again after each checkpoint, and pages were left half empty. It is the
-- same identity. An index of the time alone is superfluous by this.
--
-- Appends wait while the indexes are made, which reads each event once; reports go on until the end, when the new keys
-- take the place of the old ones.

LOCK TABLE events IN SHARE ROW EXCLUSIVE MODE;

DO $$
DECLARE
    partitions CONSTANT name[] := ARRAY(
        SELECT relname FROM pg_inherits JOIN pg_class ON pg_class.oid = inhrelid
        WHERE inhparent = 'events'::regclass ORDER BY relname
    );
    partition name;
BEGIN
    FOREACH partition IN ARRAY partitions LOOP
        EXECUTE format('CREATE UNIQUE INDEX %I ON %I ("timestamp", event_id, source)', partition || '_key', partition);
    END LOOP;
    ALTER TABLE events DROP CONSTRAINT events_pkey;
    FOREACH partition IN ARRAY partitions LOOP
        EXECUTE format('ALTER TABLE %I ADD CONSTRAINT %I PRIMARY KEY USING INDEX %I',
                       partition, partition || '_pkey', partition || '_key');
    END LOOP;
    -- Takes the keys of the partitions as its own, and makes none anew.
    ALTER TABLE events ADD PRIMARY KEY ("timestamp", event_id, source);
END
$$;

DROP INDEX events_timestamp;
