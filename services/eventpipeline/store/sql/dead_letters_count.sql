-- Dead letters by reason and source. What a sender wrote as its source is not a source: those are counted as one.
SELECT reason, CASE WHEN source = ANY (%(sources)s::text[]) THEN source END AS source, count(*) AS count
FROM dead_letters
GROUP BY 1, 2
ORDER BY 1, 2
