-- Drops one dead letter.
DELETE FROM dead_letters WHERE id = %(id)s::uuid
