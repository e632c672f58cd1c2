-- Those weeks of one source again, as their days add up to.
INSERT INTO rollup_dimensions
SELECT * FROM weeks_of_dimensions(%(source)s, %(kept)s, %(high_cardinality)s::text[], %(kept_of_high)s)
WHERE start IN (SELECT week FROM dropped_weeks)
