-- No row. Writes what the pgdoctors of this role tell each other; any role may change its own settings.
ALTER ROLE {role} SET application_name = {record};
