-- The events of one source from `first` to before `last`, with what all figures of its demographics need of them: each
-- figure that looked for them itself took as long as the rest of a report, where a minute has a thousand events. A
-- reporter of an earlier release goes on with the functions that it knows.
-- min_compatible: 5

CREATE FUNCTION edge_of_source(name text, first timestamptz, last timestamptz)
RETURNS TABLE ("timestamp" timestamptz, funnel_stage text, user_id text, data jsonb)
LANGUAGE plpgsql STABLE ROWS 100 AS $$
BEGIN
    RETURN QUERY EXECUTE
        'SELECT "timestamp", funnel_stage, user_id, data
         FROM events WHERE source = $1 AND "timestamp" >= $2 AND "timestamp" < $3' USING name, first, last;
END
$$;
