-- The events of a batch that is an array for each column.
--
-- OFFSET 0, or each place that names `data` would read its JSON again.
SELECT event_id, "timestamp"::timestamptz AS "timestamp", funnel_stage, event_type,
       nullif(data, 'null')::jsonb AS data, position
FROM unnest(%(event_ids)s::text[], %(timestamps)s::text[], %(funnel_stages)s::text[], %(event_types)s::text[],
            %(data)s::text[])
     WITH ORDINALITY AS e (event_id, "timestamp", funnel_stage, event_type, data, position)
OFFSET 0
