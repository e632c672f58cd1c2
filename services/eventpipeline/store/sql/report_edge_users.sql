-- Of the events at the ends of a window: how many there are, and what a sketch of their users is made of.
UNION ALL
SELECT NULL, NULL, (SELECT count(*) FROM edge), 0, 0, array_agg(register), array_agg(rest)
FROM (
    SELECT (hash & %(register_mask)s)::integer AS register, min((hash >> %(register_bits)s) & %(rest_mask)s) AS rest
    FROM (SELECT hashtextextended(user_id, 0) AS hash FROM edge WHERE user_id <> '') AS seen
    GROUP BY 1
) AS least
