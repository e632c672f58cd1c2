-- Whole buckets of one length as a relation that the reports sum up.
SELECT start AS "timestamp", source, funnel_stage, event_type, currency, events, transactions, amounts, revenue
FROM rollup_events
WHERE step = {step} AND start >= {first}::timestamptz AND start < {last}::timestamptz
  AND (%(source)s::text IS NULL OR source = %(source)s::text)
  AND (%(funnel_stage)s::text IS NULL OR funnel_stage = %(funnel_stage)s::text)
  AND (%(event_type)s::text IS NULL OR event_type = %(event_type)s::text)
