-- Drops one dead letter, and says whether it was there.
DELETE FROM dead_letters WHERE id = %(id)s::uuid RETURNING id
