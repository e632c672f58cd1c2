-- Makes this transaction the only one that folds what appends of one source counted; false: another one is at it.
SELECT pg_try_advisory_xact_lock(hashtextextended('eventpipeline fold ' || %(source)s, 0))
