-- Run once, by the image of Postgres, as the owner of the database: the role as which the services log in. It reads and
-- writes rows; it cannot change or drop tables.
\getenv password SERVICE_PASSWORD
CREATE ROLE eventpipeline_service LOGIN PASSWORD :'password';
REVOKE CREATE, TEMPORARY ON DATABASE eventpipeline FROM PUBLIC;
ALTER DEFAULT PRIVILEGES GRANT SELECT, INSERT, UPDATE, DELETE ON TABLES TO eventpipeline_service;
ALTER DEFAULT PRIVILEGES GRANT SELECT, USAGE ON SEQUENCES TO eventpipeline_service;
