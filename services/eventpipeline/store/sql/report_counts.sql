-- Events and money of a window as a relation that the reports sum up: whole buckets from the rollup, what appends
-- counted and nobody folded yet, and what the window cuts at its ends from the events themselves.
--
-- OFFSET 0 keeps the look at the rollup a look by its key for each length of bucket, whatever the window.
SELECT r.*
FROM unnest({steps}::text[], {firsts}::timestamptz[], {lasts}::timestamptz[]) AS bucket (step, first, last)
CROSS JOIN LATERAL (
    SELECT start AS "timestamp", {columns}
    FROM rollup_events
    WHERE step = bucket.step AND start >= bucket.first AND start < bucket.last
      AND (%(source)s::text IS NULL OR source = %(source)s::text)
      AND (%(funnel_stage)s::text IS NULL OR funnel_stage = %(funnel_stage)s::text)
      AND (%(event_type)s::text IS NULL OR event_type = %(event_type)s::text)
    {grouping}
    OFFSET 0
) AS r
UNION ALL
SELECT each.minute, batch.source, each.funnel_stage, each.event_type, each.currency,
       each.events, each.transactions, each.amounts, each.revenue
FROM rollup_events_batch AS batch
CROSS JOIN LATERAL unnest(batch.minute, batch.funnel_stage, batch.event_type, batch.currency,
                          batch.events, batch.transactions, batch.amounts, batch.revenue)
    AS each (minute, funnel_stage, event_type, currency, events, transactions, amounts, revenue)
WHERE each.minute >= %(whole_from)s::timestamptz AND each.minute < %(whole_to)s::timestamptz
  AND (%(source)s::text IS NULL OR batch.source = %(source)s::text)
  AND (%(funnel_stage)s::text IS NULL OR each.funnel_stage = %(funnel_stage)s::text)
  AND (%(event_type)s::text IS NULL OR each.event_type = %(event_type)s::text)
{edges}
