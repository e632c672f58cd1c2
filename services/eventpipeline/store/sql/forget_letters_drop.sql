-- Drops dead letters by their ids.
DELETE FROM dead_letters WHERE id = ANY (%(ids)s::uuid[])
