-- Distinct users of each source in a window, exactly: hashed, in parallel where it pays; count(DISTINCT) would sort.
-- Who was forgotten is nobody.
SELECT source, count(*) AS users
FROM (
    SELECT DISTINCT source, user_id
    FROM events
    WHERE "timestamp" >= %(from)s::timestamptz AND "timestamp" < %(to)s::timestamptz
      AND source = ANY (%(sources)s::text[])
      AND user_id <> ''
) AS seen
GROUP BY source
