-- Writes down how far an erasure is; each step adds to it in the transaction of what it did.
UPDATE erasures
SET events = events + %(events)s,
    messages = messages + %(messages)s,
    dead_letters = dead_letters + %(dead_letters)s,
    tables = CASE WHEN %(table)s::text IS NULL OR %(table)s::text = ANY (tables) THEN tables
                  ELSE tables || %(table)s::text END
WHERE id = %(id)s
