-- Makes this transaction the only one that folds what appends of one source counted.
SELECT pg_advisory_xact_lock(hashtextextended('eventpipeline fold ' || %(source)s, 0))
