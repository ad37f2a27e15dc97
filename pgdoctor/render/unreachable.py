"""What to do about a server that cannot be asked."""

#: By the state of the connection.
_WHAT_TO_DO = {
    "": "The agent has just started: wait for the first poll.",
    "refused": "No server listens there: is PostgreSQL running, and are host and port (-h, -p, PGHOST, PGPORT) right?",
    "auth_failed": "The server rejects the role: check its name, its password (PGPASSFILE, PGSERVICE "
    "or PGPASSWORD) and pg_hba.conf.",
    "unknown_database": "Name another database, such as dbname=postgres; the default is the user's name.",
    "too_many_connections": "No connection is free: close idle ones, and reserve one for pgdoctor "
    "(see: pgdoctor setup).",
    "too_many_connections_for_role": "pgdoctor's role has reached its connection limit: close its other sessions, or "
    "raise the limit (ALTER ROLE ... CONNECTION LIMIT 10).",
    "too_many_connections_for_database": "The database has reached its connection limit: use another one, or "
    "raise the limit (ALTER DATABASE ... CONNECTION LIMIT).",
    "starting_up": "The server starts, stops or recovers: check its log, and wait.",
    "not_permitted": "The role may not connect: grant CONNECT on the database, or LOGIN.",
    "unsupported": "Upgrade the server, or remove it from the configuration.",
    "login_hangs": "An open session, or an agent that was connected before (/diagnosis), shows the holder of a lock on "
    "a system catalog. If there is none, check login triggers and the authentication service (LDAP, PAM, Kerberos).",
    "timeout": "The server accepts connections, but does not answer: check the machine (disk, memory, CPU, network).",
    "error": "Check the server's log.",
}


def what_to_do(state: str) -> str:
    """What to do, by the state of the connection; empty: not tried yet."""
    return _WHAT_TO_DO.get(state, _WHAT_TO_DO["error"])
