-- The events of one source that a window cuts off from whole buckets at one of its ends, as a relation.
SELECT "timestamp", funnel_stage, user_id, data
FROM edge_of_source(%(source)s, {first}::timestamptz, {last}::timestamptz)
