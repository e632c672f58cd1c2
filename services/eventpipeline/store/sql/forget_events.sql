-- Empties the events of users in one partition. What is left is their identity, by which a copy is recognised, their
-- kind, and their money and campaign: nothing that is counted by these changes.
UPDATE {partition}
SET user_id = {nobody}, correlation_id = NULL, data = '{{}}'
WHERE {whose}
