"""The connection parameters of a DSN, with pgdoctor's own."""

import os
import re
from collections.abc import Mapping
from typing import Any

import psycopg
from psycopg.conninfo import conninfo_to_dict

from pgdoctor.errors import UsageError

APPLICATION_NAME = "pgdoctor"

#: What libpq takes for a database: an unescaped '@' in it is the end of a password with a '/' in it.
_URI_WITH_LATE_AT = re.compile(r"postgres(?:ql)?://[^/?]*/[^?]*@")

_PORTS = re.compile(r"[0-9]*(,[0-9]*)*")

_UNPARSABLE = (
    "the DSN is not valid (not shown, because it may contain a password): use a URI such as "
    "postgresql://user@host:5432/dbname or key=value pairs such as 'host=… dbname=… user=…'"
)


def split_dsn(dsn: str) -> dict[str, Any]:
    """The connection parameters of a DSN. Raises UsageError without showing the DSN."""
    try:
        parameters = conninfo_to_dict(dsn)
    except psycopg.Error:
        raise UsageError(_UNPARSABLE) from None
    # An unescaped '@', '/' or ':' in a password makes libpq take part of it for a host, a port or a database, which
    # would then be shown.
    misread = "@" in str(parameters.get("host", "")) or _URI_WITH_LATE_AT.match(dsn)
    if misread or not _PORTS.fullmatch(str(parameters.get("port", ""))):
        raise UsageError(f"{_UNPARSABLE}; in a URI write '@' in a password as %40, ':' as %3A and '/' as %2F")
    return parameters


def parse_dsn(dsn: str) -> dict[str, Any]:
    """The connection parameters of a DSN, with ours over them. Raises UsageError without showing the DSN."""
    return split_dsn(dsn) | {
        "application_name": APPLICATION_NAME,
        # The server sends bytes as they are stored. With any other value it would check them, and refuse a whole
        # result for one session's statement in another encoding. `Text` decodes them.
        "client_encoding": "SQL_ASCII",
        "keepalives_idle": 10,
        "keepalives_interval": 5,
        "keepalives_count": 3,
        # Keepalives are not sent while data is not acknowledged: a login that is lost with its line would end after a
        # quarter of an hour.
        "tcp_user_timeout": 25_000,
    }


def host_count(parameters: Mapping[str, object]) -> int:
    """How many hosts are named to be tried in turn, by parameters or libpq's environment."""
    named = (parameters.get(key) or os.environ.get(f"PG{key.upper()}", "") for key in ("host", "hostaddr"))
    return max(str(hosts).count(",") + 1 for hosts in named)
