-- The events that a window cuts off from whole buckets at one of its ends, one by one.
UNION ALL
SELECT "timestamp", source, funnel_stage, event_type, currency,
       1, transaction::integer, (amount IS NOT NULL)::integer, coalesce(amount, 0)
FROM events_between({first}::timestamptz, {last}::timestamptz)
WHERE (%(source)s::text IS NULL OR source = %(source)s::text)
  AND (%(funnel_stage)s::text IS NULL OR funnel_stage = %(funnel_stage)s::text)
  AND (%(event_type)s::text IS NULL OR event_type = %(event_type)s::text)
