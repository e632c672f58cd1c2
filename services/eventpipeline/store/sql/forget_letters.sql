-- Dead letters that may be of users of a source, a page at a time by id: those that hold one of the needles, or a
-- backslash, behind which any character can stand.
SELECT id::text AS id, source, payload
FROM dead_letters
WHERE id > %(after)s::uuid
  AND (source = %(source)s OR source IS NULL OR source <> ALL (%(others)s::text[]))
  AND (position('\x5c'::bytea IN payload) > 0
       OR EXISTS (SELECT FROM unnest(%(needles)s::bytea[]) AS needle WHERE position(needle IN payload) > 0))
ORDER BY dead_letters.id
LIMIT %(limit)s
