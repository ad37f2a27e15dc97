"""A real incident with real connections, staged in a process of its own.

    reporting  idle in transaction, has read orders
      └─ deploy    ALTER TABLE orders, queued
           └─ checkout ×6   readers of orders, queued behind the ALTER
    backfill   UPDATE shipments … WHERE customer_id = 42, no index, holds rows while it works
      └─ courier ×4    writers of one of those rows

Takes the DSN from `PGDOCTOR_DSN` and says on standard output what it does, `staged` at the end. Ends with its
standard input; with `--stay` when its server goes, or after an hour.
"""

import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress

import psycopg

#: The last line said: everything hangs as it should.
STAGED = "staged"

READERS = 6
WRITERS = 4

_LIFETIME_SECONDS = 3600.0
_PATIENCE_SECONDS = 10.0

_TABLES = """
    create table orders (id bigint primary key, customer_id bigint not null, total numeric not null);
    insert into orders select g, g % 500, g % 97 from generate_series(1, 5000) g;
    create table shipments (id bigint primary key, customer_id bigint not null, status text not null);
    insert into shipments select g, g % 500, 'open' from generate_series(1, 100000) g;
    analyze orders, shipments;
    create function late(bigint) returns text language plpgsql as
        'begin perform pg_sleep(0.5); return ''late''; end';
"""

# Two hundred shipments of this customer, half a second of work for each: the scan holds what it has changed.
_BACKFILL = "update shipments set status = late(id) where customer_id = 42"

_WAITING = "select count(*) from pg_stat_activity where application_name = %s and wait_event_type = 'Lock'"


class DemoIncident:
    """The connections of the incident; each statement that hangs has a thread of its own."""

    def __init__(self, dsn: str) -> None:
        self._dsn = dsn
        self._control = self._open_connection("setup", autocommit=True)
        #: Kept alive: a closed connection would end the incident.
        self._connections: list[psycopg.Connection] = []

    def stage(self) -> Iterator[str]:
        """Make the incident, step by step; yields what has just been done."""
        self._control.execute(_TABLES)
        yield "two tables, 5,000 orders and 100,000 shipments"
        self._run_statement("reporting", "select sum(total) from orders")
        yield "reporting reads orders and leaves its transaction open"
        self._run_in_background("deploy", "alter table orders add column note text")
        self._wait_until(lambda: self._count_waiting("deploy") == 1)
        yield "deploy runs ALTER TABLE orders, and waits for reporting"
        for customer in range(READERS):
            self._run_in_background("checkout", "select * from orders where customer_id = %s", customer)
        self._wait_until(lambda: self._count_waiting("checkout") == READERS)
        yield f"{READERS} readers of orders queue behind deploy"
        self._run_in_background("backfill", _BACKFILL)
        self._wait_until(self._row_is_held)
        yield "backfill updates shipments by a column without an index"
        for _ in range(WRITERS):
            self._run_in_background("courier", "update shipments set status = 'sent' where id = 42")
        self._wait_until(lambda: self._count_waiting("courier") == WRITERS)
        yield f"{WRITERS} writers of shipments wait for a row of it"

    def is_alive(self) -> bool:
        """The server is still there."""
        try:
            self._control.execute("select")
        except psycopg.Error:
            return False
        return True

    def _open_connection(self, application: str, *, autocommit: bool = False) -> psycopg.Connection:
        return psycopg.connect(self._dsn, application_name=application, autocommit=autocommit)

    def _run_statement(self, application: str, statement: str) -> None:
        connection = self._open_connection(application)
        connection.execute(statement)
        self._connections.append(connection)

    def _run_in_background(self, application: str, statement: str, *parameters: int) -> None:
        """Run a statement in the background; being cancelled or terminated is how it is meant to end."""

        def work() -> None:
            with suppress(psycopg.Error), self._open_connection(application) as connection:
                connection.execute(statement, parameters or None)

        threading.Thread(target=work, daemon=True).start()

    def _count_waiting(self, application: str) -> int:
        [(number,)] = self._control.execute(_WAITING, [application]).fetchall()
        return int(number)

    def _row_is_held(self) -> bool:
        """Whether the backfill has changed the first row that the couriers will want."""
        try:
            self._control.execute("select from shipments where id = 42 for update nowait")
        except psycopg.errors.LockNotAvailable:
            return True
        return False

    def _wait_until(self, condition: Callable[[], bool]) -> None:
        deadline = time.monotonic() + _PATIENCE_SECONDS
        while not condition():
            if time.monotonic() > deadline:
                raise TimeoutError("the incident could not be staged")
            time.sleep(0.02)


def main() -> None:
    """Stage the incident, one line for each step, and hold it."""
    incident = DemoIncident(os.environ["PGDOCTOR_DSN"])
    for step in incident.stage():
        print(step, flush=True)
    print(STAGED, flush=True)
    if "--stay" not in sys.argv:
        sys.stdin.read()
        return
    deadline = time.monotonic() + _LIFETIME_SECONDS
    while incident.is_alive() and time.monotonic() < deadline:
        time.sleep(1.0)


if __name__ == "__main__":
    main()
