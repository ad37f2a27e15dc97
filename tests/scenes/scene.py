"""A database of its own for one test, and the clients in it."""

import itertools
import os
from collections.abc import Callable
from contextlib import ExitStack, suppress
from functools import cached_property
from types import TracebackType
from typing import Any, Self

import psycopg
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from tests.scenes.client import PATIENCE, Client, wait_until

_numbers = itertools.count(1)

# Autovacuum is not ours to end; `drop database` does that. It refuses while a walsender still has its slot.
_LEFT = """
    select pg_terminate_backend(pid) from pg_stat_activity
    where backend_type in ('client backend', 'walsender') and (datname = any(%(databases)s) or pid = any(%(pids)s))
    union all
    select pg_terminate_backend(active_pid) from pg_replication_slots where active and database = any(%(databases)s)
"""


class Scene:
    """A fresh database on a server where the given connection string is a superuser's.

    At the end nothing of it is left: no session, prepared transaction, database or role.
    """

    def __init__(self, server: str) -> None:
        self._server = server
        self._control = _connect(server, application_name="scene control")
        self._clients: list[Client] = []
        self._databases: list[str] = []
        self._passwords: dict[str, str] = {}
        self._endings: list[Callable[[], Any]] = []
        try:
            #: The superuser's connection string for this scene's database.
            self.dsn = make_conninfo(server, dbname=self.database())
        except BaseException:
            self._control.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @cached_property
    def admin(self) -> psycopg.Connection:
        """A superuser in this scene's database, autocommit; its statements are ended after ten seconds."""
        return _connect(self.dsn, application_name="scene admin")

    def client(
        self,
        *statements: str,
        user: str | None = None,
        dbname: str | None = None,
        application_name: str | None = None,
        autocommit: bool = False,
        **connect_args: Any,
    ) -> Client:
        """Return a new session that has run the statements, by default as the superuser, in this database.

        `user` may be a name given to `role`; `connect_args` are libpq's.
        """
        chosen = {"user": user, "dbname": dbname, "application_name": application_name}
        chosen["password"] = self._passwords.get(user) if user else None
        connection = psycopg.connect(
            make_conninfo(self.dsn, **{key: word for key, word in chosen.items() if word}, **connect_args),
            autocommit=autocommit,
            prepare_threshold=None,
            connect_timeout=int(PATIENCE),
        )
        client = Client(connection, self._control)
        self._clients.append(client)
        for statement in statements:
            client.run(statement)
        return client

    def role(self, name: str, *grants: str, password: str = "secret of a scene") -> str:
        """Make a role that may log in, and return its connection string for this scene's database.

        A grant is what stands between GRANT and TO: `pg_monitor`, `select on orders`.
        """
        role = sql.Identifier(name)
        self.admin.execute(sql.SQL("create role {} login password {}").format(role, password))
        self._passwords[name] = password
        for grant in grants:
            self.admin.execute(sql.SQL("grant {} to {}").format(sql.SQL(grant), role))
        return make_conninfo(self.dsn, user=name, password=password)

    def database(self) -> str:
        """Make one more database and return its name, for `client(dbname=...)`."""
        name = f"scene_{os.getpid()}_{next(_numbers)}"
        self._say("create database {} template template0", name)
        self._databases.append(name)
        return name

    def wait_until(self, condition: Callable[[], Any], timeout: float = PATIENCE) -> Any:
        """Ask until the condition holds, and return its answer; fails after `timeout` seconds."""
        return wait_until(condition, timeout)

    def at_the_end(self, ending: Callable[[], Any]) -> None:
        """Call that before anything else is cleared away: to end what the scene does not know of."""
        self._endings.append(ending)

    def close(self) -> None:
        """End every session and remove all that the scene has made, also where a part of that fails."""
        with ExitStack() as stack:
            stack.callback(self._control.close)
            # What pgdoctors that ran as the superuser have recorded for each other.
            stack.callback(self._clear, sql.SQL("alter role current_user reset application_name"))
            for name in self._passwords:
                stack.callback(self._say, "drop owned by {0}; drop role {0}", name)
            for name in self._databases:
                stack.callback(self._say, "drop database {} with (force)", name)
            stack.callback(self._roll_back_prepared)
            stack.callback(self._wait_for_the_end)
            for client in self._clients:
                stack.callback(client.close)
            if "admin" in vars(self):
                stack.callback(self.admin.close)
            for ending in self._endings:
                stack.callback(ending)

    def _clear(self, statement: sql.SQL | sql.Composed) -> None:
        """Run it once there is room in the lock table."""
        wait_until(lambda: self._has_room_for(statement), what="room in the lock table")

    def _has_room_for(self, statement: sql.SQL | sql.Composed) -> bool:
        """Whether the statement was run: a test may have filled the lock table, which sessions leave a little later."""
        try:
            self._control.execute(statement)
        except psycopg.errors.OutOfMemory:
            return False
        return True

    def _wait_for_the_end(self) -> None:
        mine = {"databases": self._databases, "pids": [client.pid for client in self._clients]}

        def is_over() -> bool:
            with suppress(psycopg.errors.OutOfMemory):
                return not self._control.execute(_LEFT, mine).fetchone()
            return False

        wait_until(is_over, what="the end of every session")

    def _roll_back_prepared(self) -> None:
        left = self._control.execute(
            "select database, gid from pg_prepared_xacts where database = any(%s)", [self._databases]
        ).fetchall()
        for database, gid in left:
            with _connect(make_conninfo(self._server, dbname=database)) as connection:
                connection.execute(sql.SQL("rollback prepared {}").format(gid))

    def _say(self, statement: str, name: str) -> None:
        self._clear(sql.SQL(statement).format(sql.Identifier(name)))


def _connect(dsn: str, **options: str) -> psycopg.Connection:
    """Connect for the scene's own work, which must never hang, not even for want of a synchronous standby."""
    given = conninfo_to_dict(dsn).get("options") or ""
    options["options"] = f"{given} -c statement_timeout=10s -c synchronous_commit=local"
    return psycopg.connect(
        make_conninfo(dsn, **options), autocommit=True, prepare_threshold=None, connect_timeout=int(PATIENCE)
    )
