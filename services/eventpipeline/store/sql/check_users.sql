-- The sketches of one source that differ from those that its events were counted to make.
SELECT step, start, stored.registers, counted.registers
FROM (
    SELECT step, start, registers FROM {schema}.rollup_users
    WHERE source = %(source)s
      AND NOT EXISTS (SELECT FROM dropped_days WHERE day = (start AT TIME ZONE 'UTC')::date)
) AS stored
FULL JOIN (
    SELECT step, start, registers FROM pg_temp.rollup_users WHERE source = %(source)s
) AS counted USING (step, start)
WHERE stored.registers IS DISTINCT FROM counted.registers
  AND (%(source)s, step, start) NOT IN (SELECT source, step, start FROM forgotten)
ORDER BY step, start
LIMIT %(limit)s
