-- Makes the table of one day a partition, with the indexes of the others.
ALTER TABLE events ATTACH PARTITION {partition} FOR VALUES FROM ({first}) TO ({last})
