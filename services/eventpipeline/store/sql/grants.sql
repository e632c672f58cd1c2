-- What the roles of the services may, where there are such roles: of each table of this owner, what is missing of it.
-- No role may create, change or drop a table.
DO $$
DECLARE
    one record;
BEGIN
    -- Two that grant at once would stumble over each other's rows of the catalogue.
    PERFORM pg_advisory_xact_lock(hashtext('eventpipeline grants'));
    FOR one IN
        SELECT role.rolname AS role, wanted.privilege, relation.oid::regclass AS name
        FROM pg_class AS relation
        CROSS JOIN (VALUES
            ('eventpipeline_service', 'SELECT'), ('eventpipeline_service', 'INSERT'),
            ('eventpipeline_service', 'UPDATE'), ('eventpipeline_service', 'DELETE'),
            ('eventpipeline_reporter', 'SELECT'), ('eventpipeline_reporter', 'DELETE')
        ) AS wanted (role, privilege)
        JOIN pg_roles AS role ON role.rolname = wanted.role
        WHERE relation.relnamespace = current_schema()::regnamespace
          AND relation.relowner = current_user::regrole
          AND relation.relkind IN ('r', 'p', 'v')
          -- A reporter reads, and drops the dead letters that somebody drops by hand.
          AND (wanted.role = 'eventpipeline_service' OR wanted.privilege = 'SELECT' OR relation.relname = 'dead_letters')
          -- Of the schema, and of the days that retention has dropped, services only read.
          AND (wanted.privilege = 'SELECT' OR relation.relname NOT IN ('schema_versions', 'dropped_days'))
          AND NOT has_table_privilege(role.oid, relation.oid, wanted.privilege)
    LOOP
        EXECUTE format('GRANT %s ON %s TO %I', one.privilege, one.name, one.role);
    END LOOP;
    -- Databases of earlier releases let services write these.
    FOR one IN
        SELECT relation.oid::regclass AS name
        FROM pg_class AS relation
        JOIN pg_roles AS role ON role.rolname = 'eventpipeline_service'
        WHERE relation.relnamespace = current_schema()::regnamespace
          AND relation.relowner = current_user::regrole
          AND relation.relname IN ('schema_versions', 'dropped_days')
          AND has_table_privilege(role.oid, relation.oid, 'INSERT, UPDATE, DELETE')
    LOOP
        EXECUTE format('REVOKE INSERT, UPDATE, DELETE ON %s FROM eventpipeline_service', one.name);
    END LOOP;
END
$$
