-- Makes the table of one day, not yet a partition.
CREATE TABLE {partition} (LIKE events INCLUDING DEFAULTS INCLUDING CONSTRAINTS)
