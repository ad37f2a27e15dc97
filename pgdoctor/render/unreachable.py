"""What to do about a server that cannot be asked."""

#: By the state of the connection.
_WHAT_TO_DO = {
    "": "The agent has just started: wait for the first poll.",
    "refused": "Nobody listens there: is PostgreSQL running, and are host and port right?",
    "auth_failed": "The role is turned away: look at its password file and at pg_hba.conf.",
    "unknown_database": "There is no such database: look at the DSN.",
    "too_many_connections": "No connection is left: free some, the idle ones first, and keep one for pgdoctor "
    "(pgdoctor setup prints how).",
    "too_many_connections_for_role": "pgdoctor's role has used up its own limit: end what else connects as it, or "
    "raise the limit (ALTER ROLE ... CONNECTION LIMIT 10).",
    "too_many_connections_for_database": "The database has used up its own limit: name another one in the DSN, or "
    "raise the limit (ALTER DATABASE ... CONNECTION LIMIT).",
    "starting_up": "It starts, stops or recovers: look into its log, and wait.",
    "not_permitted": "The role may not connect: grant CONNECT on the database, or LOGIN.",
    "unsupported": "Watch a newer server, or leave this one out.",
    "login_hangs": "An open session, or an agent that was connected before (/diagnosis), shows who holds a lock on a "
    "system catalog. If nobody does, look at the authentication service (LDAP, PAM, Kerberos).",
    "timeout": "It accepts, but does not answer: look at the machine first (disk, memory, CPU, network).",
    "error": "Look into the server's log.",
}


def what_to_do(state: str) -> str:
    """What to do, by the state of the connection; empty: nobody has tried yet."""
    return _WHAT_TO_DO.get(state, _WHAT_TO_DO["error"])
