-- Empties a rollup of what the events of one source can fill again: all but the days that retention has dropped.
DELETE FROM {rollup}
WHERE source = %(source)s
  AND NOT EXISTS (SELECT FROM dropped_days WHERE day = (start AT TIME ZONE 'UTC')::date)
