-- Writes down that an erasure begins.
INSERT INTO erasures (source, users, requested_by, reference)
VALUES (%(source)s, %(users)s, %(requested_by)s, %(reference)s)
RETURNING id
