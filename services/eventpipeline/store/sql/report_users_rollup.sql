-- The sketches of whole buckets of one length that together tell how many distinct users each source had.
SELECT source, registers
FROM rollup_users
WHERE source = ANY (%(sources)s::text[])
  AND step = {step} AND start >= {first}::timestamptz AND start < {last}::timestamptz
