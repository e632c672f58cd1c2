-- Tables that still have the rows of before on their pages, by erasure: of the one asked for, or of all that have
-- ended. A partition that retention has dropped has none any more.
SELECT erasures.id, pg_class.relname, pg_has_role(pg_class.relowner, 'USAGE') AS may
FROM erasures
LEFT JOIN LATERAL unnest(tables) AS touched (name) ON true
LEFT JOIN pg_class ON pg_class.oid = to_regclass(touched.name)
WHERE vacuumed_at IS NULL
  AND CASE WHEN %(id)s::bigint IS NULL THEN coalesce(finished_at, started_at + interval '1 day') < now()
           ELSE erasures.id = %(id)s::bigint END
ORDER BY erasures.id, pg_class.relname
