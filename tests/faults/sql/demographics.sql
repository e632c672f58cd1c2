-- The rollup of demographics against the rows: values that are missing in it, values too many, lines with wrong sums.
WITH event AS (
    SELECT date_trunc('hour', "timestamp") AS hour, source, funnel_stage = 'top' AS is_top,
           data -> 'user' AS u, data -> 'engagement' AS e
    FROM events
), value AS (
    SELECT hour, source, d.dimension, d.value, d.number
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
    SELECT hour, source, d.dimension, d.value, d.number
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
), rows AS (
    SELECT hour, source, dimension, value, count(*) AS events, sum(number) AS total FROM value GROUP BY 1, 2, 3, 4
), rollup AS (
    SELECT hour, source, dimension, value, sum(events) AS events, sum(total) AS total
    FROM (
        SELECT hour, source, dimension, value, events, total FROM rollup_demographics_hour
        UNION ALL
        SELECT hour, source, dimension, each.value, each.events, each.total
        FROM rollup_demographics_batch AS batch
        CROSS JOIN LATERAL unnest(batch.value, batch.events, batch.total) AS each (value, events, total)
    ) AS part
    GROUP BY 1, 2, 3, 4
)
SELECT sum(greatest(coalesce(rows.events, 0) - coalesce(rollup.events, 0), 0)),
       sum(greatest(coalesce(rollup.events, 0) - coalesce(rows.events, 0), 0)),
       count(*) FILTER (WHERE rows.events = rollup.events AND rows.total IS DISTINCT FROM rollup.total)
FROM rows FULL JOIN rollup USING (hour, source, dimension, value)
