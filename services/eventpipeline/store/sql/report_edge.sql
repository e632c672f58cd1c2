-- The events of one source that a window cuts off from whole buckets at one of its ends, as a relation.
SELECT "timestamp", funnel_stage, data
FROM events_of_source_between(%(source)s, {first}::timestamptz, {last}::timestamptz)
