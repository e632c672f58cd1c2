-- Counts events by minute and by the values of each distribution of their source, and sums its averages, in one pass:
-- a row a dimension and event would cost more than storing the event.
SELECT minute, spread.dimension, spread.value, spread.events, spread.total
FROM (
    SELECT {columns}, GROUPING({columns}) AS folded, {sums}
    FROM (SELECT date_bin('1 minute', "timestamp", '2000-01-01T00:00:00Z') AS minute, {fields} FROM {events}) AS event
    GROUP BY GROUPING SETS ({sets})
) AS counted
CROSS JOIN LATERAL (VALUES {rows}) AS spread (here, dimension, value, events, total)
WHERE spread.here AND spread.value IS NOT NULL
