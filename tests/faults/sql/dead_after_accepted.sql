-- Dead letters of events that are valid.
SELECT count(*) FROM dead_letters WHERE event_id IN (SELECT event_id FROM oracle.sent)
