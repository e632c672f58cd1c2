-- The roles as which the services log in, and their passwords; `migrate` gives them what they may. Run by the image of
-- Postgres when it makes its volume, as the owner of the database; to be run again after a change of a password.
\getenv password SERVICE_PASSWORD
\getenv reporter REPORTER_PASSWORD
SELECT format('CREATE ROLE %I', name) FROM unnest(ARRAY['eventpipeline_service', 'eventpipeline_reporter']) AS name
WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = name)
\gexec
ALTER ROLE eventpipeline_service LOGIN PASSWORD :'password';
ALTER ROLE eventpipeline_reporter LOGIN PASSWORD :'reporter';
REVOKE CREATE, TEMPORARY ON DATABASE eventpipeline FROM PUBLIC;
