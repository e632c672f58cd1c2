-- Writes down that an erasure is done.
UPDATE erasures SET finished_at = now() WHERE id = %(id)s
