-- The demographics report of one source: events by the values of each distribution, and the sums of each average.
-- Whole hours come from the rollup, the hours that the window cuts from the events themselves. Of the values beyond
-- the first ones there is one row with value NULL; distributions by range are complete.
WITH part AS (
    SELECT dimension, value, events, total
    FROM rollup_demographics
    WHERE source = %(source)s AND dimension = ANY (%(dimensions)s::text[])
      AND hour >= %(whole_from)s::timestamptz AND hour < %(whole_to)s::timestamptz
    UNION ALL
    SELECT dimension, value, events, total
    FROM ({spread}) AS spread
), summed AS (
    SELECT dimension, value, sum(events)::bigint AS events, sum(total) AS total
    FROM part
    GROUP BY dimension, value
), shown AS (
    SELECT dimension, events, total,
           CASE WHEN dimension = ANY (%(complete)s::text[])
                  OR row_number() OVER (PARTITION BY dimension ORDER BY events DESC, value COLLATE "C") <= %(top)s
                THEN value END AS value
    FROM summed
)
SELECT dimension, value, sum(events)::bigint AS events, sum(total) AS total
FROM shown
GROUP BY dimension, value
ORDER BY dimension, value IS NULL, sum(events) DESC, value COLLATE "C"
