-- Rollups of events and of demographics by week too: a report over 24 days reads some 30 buckets and not 45, and those of
-- demographics have hundreds of values each.
--
-- There are no weeks of users, whose sketches are quickly put together, nor of campaigns: most weeks would have more of
-- them than a bucket keeps. So a collector of an earlier release goes on: it folds the steps that the view has.
-- min_compatible: 5

-- Nobody makes rollups anew meanwhile, and no fold goes on with the steps of before: a collector leaves a source to
-- whoever has this lock of it.
LOCK TABLE events IN SHARE ROW EXCLUSIVE MODE;
SELECT pg_advisory_xact_lock(hashtextextended('eventpipeline fold ' || source, 0))
FROM (SELECT source FROM rollup_events WHERE step = 'day'
      UNION SELECT source FROM rollup_events_batch
      UNION SELECT source FROM rollup_dimensions_batch) AS known;

-- By `date_bin` from 2000-01-01, as all buckets are, weeks begin on a Saturday.
CREATE OR REPLACE VIEW rollup_steps (step, length) AS
VALUES ('minute', interval '1 minute'), ('ten_minutes', interval '10 minutes'), ('hour', interval '1 hour'),
       ('six_hours', interval '6 hours'), ('day', interval '1 day'), ('week', interval '7 days');

-- The weeks of which retention has dropped a day: their events cannot be counted again.
CREATE VIEW dropped_weeks (week) AS
SELECT DISTINCT date_bin('7 days', day::timestamp AT TIME ZONE 'UTC', '2000-01-01T00:00:00Z')
FROM dropped_days;

-- The weeks of one source as its days add up to.
CREATE FUNCTION weeks_of_events(name text) RETURNS SETOF rollup_events LANGUAGE sql STABLE AS $$
    SELECT 'week', date_bin('7 days', start, '2000-01-01T00:00:00Z'), source, funnel_stage, event_type, currency,
           sum(events)::bigint, sum(transactions)::bigint, sum(amounts)::bigint, sum(revenue)
    FROM rollup_events
    WHERE source = name AND step = 'day'
    GROUP BY 2, 3, 4, 5, 6
$$;

-- With the bound that folding keeps (see sql/fold_dimensions.sql), for so many values of each dimension, and of those
-- in `high_cardinality`.
CREATE FUNCTION weeks_of_dimensions(name text, kept integer, high_cardinality text[], kept_of_high integer)
RETURNS SETOF rollup_dimensions LANGUAGE sql STABLE AS $$
    WITH part AS (
        SELECT dimension, date_bin('7 days', start, '2000-01-01T00:00:00Z') AS week, value, events, total, beyond,
               CASE WHEN dimension = ANY (high_cardinality) THEN kept_of_high ELSE kept END AS kept
        FROM rollup_dimensions
        WHERE source = name AND step = 'day'
    ), ranked AS (
        SELECT dimension, week, part.kept, each.value, sum(each.events) AS events, sum(each.total) AS total,
               row_number() OVER (PARTITION BY dimension, week ORDER BY sum(each.events) DESC) AS rank
        FROM part
        CROSS JOIN LATERAL unnest(part.value, part.events, part.total) AS each (value, events, total)
        GROUP BY 1, 2, 3, 4
    ), cut AS (
        SELECT dimension, week, value, events, total,
               coalesce(max(events) FILTER (WHERE rank = ranked.kept + 1) OVER (PARTITION BY dimension, week), 0) AS less
        FROM ranked
    ), left_over AS (
        SELECT dimension, week,
               coalesce(array_agg(value) FILTER (WHERE events > less), '{}') AS value,
               coalesce(array_agg((events - less)::bigint) FILTER (WHERE events > less), '{}') AS events,
               coalesce(array_agg(total) FILTER (WHERE events > less), '{}') AS total,
               sum(least(events, less)) AS beyond
        FROM cut
        GROUP BY 1, 2
    )
    SELECT name, dimension, 'week', week, coalesce(left_over.value, '{}'), coalesce(left_over.events, '{}'),
           coalesce(left_over.total, '{}'), before.beyond + coalesce(left_over.beyond, 0)
    FROM (SELECT dimension, week, sum(beyond) AS beyond FROM part GROUP BY 1, 2) AS before
    LEFT JOIN left_over USING (dimension, week)
$$;

INSERT INTO rollup_events
SELECT weeks.*
FROM (SELECT DISTINCT source FROM rollup_events WHERE step = 'day') AS known
CROSS JOIN LATERAL weeks_of_events(known.source) AS weeks
ORDER BY step, start;

-- Which dimensions may have few values in each source is not known here; the first fold of a week cuts it.
INSERT INTO rollup_dimensions
SELECT weeks.*
FROM (SELECT DISTINCT source FROM rollup_dimensions WHERE step = 'day') AS known
CROSS JOIN LATERAL weeks_of_dimensions(known.source, 1000, '{}', 1000) AS weeks
ORDER BY step, start;
