-- Those weeks of one source again, as their days add up to.
INSERT INTO rollup_events
SELECT * FROM weeks_of_events(%(source)s)
WHERE start IN (SELECT week FROM dropped_weeks)
