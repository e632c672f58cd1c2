-- The rows of whole buckets of one length that a demographics report adds up.
SELECT dimension, value, events, total, beyond
FROM rollup_dimensions
WHERE source = %(source)s AND step = {step} AND start >= {first}::timestamptz AND start < {last}::timestamptz
  AND dimension = ANY (%(dimensions)s::text[])
