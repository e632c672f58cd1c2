-- How many events of users there are in one partition.
SELECT count(*) FROM {partition} WHERE {whose}
