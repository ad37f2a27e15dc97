"""A hot standby of a temporary server: its copy by `pg_basebackup`, which follows it."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager

import psycopg

from pgdoctor.demo.throwaway_server import ThrowawayServer
from tests.scenes.client import wait_until


@contextmanager
def standby_of(primary: ThrowawayServer) -> Iterator[ThrowawayServer]:
    """A running standby that takes connections with the primary's passwords; `promote` makes it a primary."""
    with ThrowawayServer(bindir=primary.bindir) as standby:
        standby.halt()
        for found in standby.data.iterdir():
            shutil.rmtree(found) if found.is_dir() else found.unlink()
        copy = (primary.bindir / "pg_basebackup", "-d", primary.dsn, "-D", standby.data)
        standby.run(*copy, "-R", "-c", "fast", "-X", "stream", seconds=30)
        # Over what -R has written: an option that the copying libpq knows, the server's may not know.
        with (standby.data / "postgresql.auto.conf").open("a") as settings:
            settings.write(f"primary_conninfo = '{primary.dsn}'\n")
        standby.start()
        yield standby


def promote(standby: ThrowawayServer, dsn: str) -> None:
    """Make it a primary; returns once it is one."""
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute("select pg_promote(wait => false)")
        wait_until(lambda: not connection.execute("select pg_is_in_recovery()").fetchone()[0], timeout=20)
