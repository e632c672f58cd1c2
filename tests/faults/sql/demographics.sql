-- The rollup of demographics against the rows, of each step: values that are missing in it, values too many,
-- lines with wrong sums. Where a row of the rollup does not keep all of its values, its events together are compared.
WITH event AS (
    SELECT date_trunc('minute', "timestamp") AS minute, source, funnel_stage = 'top' AS is_top,
           data -> 'user' AS u, data -> 'engagement' AS e
    FROM events
), value AS (
    SELECT minute, source, d.dimension, d.value, d.number
    FROM event
    CROSS JOIN LATERAL (VALUES
        ('ages', CASE width_bucket((u ->> 'age')::bigint, ARRAY[18, 25, 35, 45, 55, 65]::bigint[])
                 WHEN 0 THEN '<18' WHEN 1 THEN '18-24' WHEN 2 THEN '25-34' WHEN 3 THEN '35-44' WHEN 4 THEN '45-54'
                 WHEN 5 THEN '55-64' ELSE '65+' END, 0::numeric),
        ('genders', u ->> 'gender', 0),
        ('countries', u #>> '{location,country}', 0),
        ('cities', u #>> '{location,city}', 0),
        ('averageAge', '', (u ->> 'age')::numeric)
    ) AS d (dimension, value, number)
    WHERE source = 'facebook'
    UNION ALL
    SELECT minute, source, d.dimension, d.value, d.number
    FROM event
    CROSS JOIN LATERAL (VALUES
        (true, 'followers',
         CASE width_bucket((u ->> 'followers')::bigint, ARRAY[1000, 10000, 100000, 1000000]::bigint[])
         WHEN 0 THEN '<1000' WHEN 1 THEN '1000-9999' WHEN 2 THEN '10000-99999' WHEN 3 THEN '100000-999999'
         ELSE '1000000+' END, 0::numeric),
        (true, 'averageFollowers', '', (u ->> 'followers')::numeric),
        (is_top, 'countries', e ->> 'country', 0),
        (is_top, 'devices', e ->> 'device', 0),
        (is_top, 'averageWatchTime', '', CASE WHEN is_top THEN (e ->> 'watchTime')::numeric END),
        (is_top, 'averagePercentageWatched', '', CASE WHEN is_top THEN (e ->> 'percentageWatched')::numeric END)
    ) AS d (here, dimension, value, number)
    WHERE source = 'tiktok' AND d.here
), by_minute AS (
    SELECT minute, source, dimension, value, count(*) AS events, sum(number) AS total
    FROM value
    WHERE value IS NOT NULL
    GROUP BY 1, 2, 3, 4
), steps (step, length) AS (
    VALUES ('minute', interval '1 minute'), ('ten_minutes', interval '10 minutes'), ('hour', interval '1 hour'),
           ('six_hours', interval '6 hours'), ('day', interval '1 day'), ('week', interval '7 days')
), part AS (
    SELECT step, start, source, dimension, each.value, each.events, each.total
    FROM rollup_dimensions AS r
    CROSS JOIN LATERAL unnest(r.value, r.events, r.total) AS each (value, events, total)
    UNION ALL
    SELECT step, start, source, dimension, NULL, beyond, 0 FROM rollup_dimensions WHERE beyond > 0
    UNION ALL
    SELECT step, date_bin(length, each.minute, '2000-01-01T00:00:00Z'), batch.source, batch.dimension, each.value,
           coalesce(each.events, 1), coalesce(each.total, 0)
    FROM rollup_dimensions_batch AS batch
    CROSS JOIN LATERAL unnest(batch.minute, batch.value, batch.events, batch.total)
        AS each (minute, value, events, total)
    CROSS JOIN steps
), partly AS (
    SELECT step, start, source, dimension FROM part WHERE value IS NULL
), rows AS (
    SELECT step, start, source, dimension, value, sum(events) AS events, sum(total) AS total
    FROM (
        SELECT step, date_bin(length, minute, '2000-01-01T00:00:00Z') AS start, source, dimension,
               CASE WHEN (step, date_bin(length, minute, '2000-01-01T00:00:00Z'), source, dimension)
                         NOT IN (SELECT * FROM partly) THEN value ELSE '' END AS value,
               events, total
        FROM by_minute CROSS JOIN steps
    ) AS counted
    GROUP BY 1, 2, 3, 4, 5
), rollup AS (
    SELECT step, start, source, dimension, value, sum(events) AS events, sum(total) AS total
    FROM (
        SELECT step, start, source, dimension, events, total,
               CASE WHEN (step, start, source, dimension) NOT IN (SELECT * FROM partly) THEN value ELSE '' END AS value
        FROM part
    ) AS known
    GROUP BY 1, 2, 3, 4, 5
)
SELECT sum(greatest(coalesce(rows.events, 0) - coalesce(rollup.events, 0), 0)),
       sum(greatest(coalesce(rollup.events, 0) - coalesce(rows.events, 0), 0)),
       count(*) FILTER (WHERE rows.events = rollup.events AND rows.total IS DISTINCT FROM rollup.total)
FROM rows FULL JOIN rollup USING (step, start, source, dimension, value)
