-- Empties a rollup of the weeks of one source of which retention has dropped a day.
DELETE FROM {rollup}
WHERE source = %(source)s AND step = 'week' AND start IN (SELECT week FROM dropped_weeks)
