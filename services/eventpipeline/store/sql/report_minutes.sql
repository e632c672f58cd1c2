-- Events and money of a window as a relation that the reports sum up: whole minutes from the rollup, the minutes that
-- the window cuts at its ends from the events themselves.
SELECT minute AS "timestamp", source, funnel_stage, event_type, currency, events, transactions, amounts, revenue
FROM rollup_minute
WHERE minute >= %(whole_from)s::timestamptz AND minute < %(whole_to)s::timestamptz
  AND (%(source)s::text IS NULL OR source = %(source)s::text)
  AND (%(funnel_stage)s::text IS NULL OR funnel_stage = %(funnel_stage)s::text)
  AND (%(event_type)s::text IS NULL OR event_type = %(event_type)s::text)
UNION ALL
SELECT "timestamp", source, funnel_stage, event_type, currency,
       1, transaction::integer, (amount IS NOT NULL)::integer, coalesce(amount, 0)
FROM events
WHERE %(is_cut)s::boolean
  AND ("timestamp" >= %(head_from)s::timestamptz AND "timestamp" < %(head_to)s::timestamptz
       OR "timestamp" >= %(tail_from)s::timestamptz AND "timestamp" < %(tail_to)s::timestamptz)
  AND (%(source)s::text IS NULL OR source = %(source)s::text)
  AND (%(funnel_stage)s::text IS NULL OR funnel_stage = %(funnel_stage)s::text)
  AND (%(event_type)s::text IS NULL OR event_type = %(event_type)s::text)
