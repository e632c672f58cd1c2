-- Makes the table of one day, not yet a partition.
--
-- Its vacuum has a day for what is only ever added to: at the usual pace, that of the disk, it would take a tenth of a
-- core from appends whenever they are many.
CREATE TABLE {partition} (LIKE events INCLUDING DEFAULTS INCLUDING CONSTRAINTS)
WITH (autovacuum_vacuum_cost_delay = 10)
