-- The first and the last time in a relation, to the minute where the rollup has it.
SELECT min("timestamp") AS first, max("timestamp") AS last
FROM ({relation}) AS part
