-- The sketches of one source that a fold adds to.
SELECT step, start, registers
FROM rollup_users
WHERE source = %(source)s
  AND (step, start) IN (SELECT * FROM unnest(%(steps)s::text[], %(starts)s::timestamptz[]))
