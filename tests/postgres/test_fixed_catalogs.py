"""Catalogs that are known by their OID where no name can be read."""

import asyncio

import psycopg
import pytest

from pgdoctor.diagnosis.diagnose import diagnose
from pgdoctor.model.snapshot import Snapshot
from pgdoctor.postgres.collect import Collector
from pgdoctor.postgres.connection import Connection
from pgdoctor.postgres.fixed_catalogs import CATALOGS
from pgdoctor.render.report import make_report
from tests.logins import logging_in
from tests.scenes import Scene


def test_fixed_oids_are_those_of_the_server(scene: Scene) -> None:
    asked = "select oid::int, relname from pg_class where oid = any(%s) and relnamespace = 'pg_catalog'::regnamespace"
    assert dict(scene.admin.execute(asked, [list(CATALOGS)]).fetchall()) == dict(CATALOGS)


@pytest.mark.deadline(180)
def test_lock_on_login_catalogs_is_named_while_nothing_can_be_read(own_server) -> None:
    server = own_server()

    async def poll_behind(locker: psycopg.Connection) -> Snapshot:
        async with await Connection.open(server.dsn, 10.0) as connection:
            collector = Collector(connection)
            await collector.fetch_snapshot()
            locker.execute("lock table pg_authid, pg_class in access exclusive mode")
            with logging_in(server, 1):
                for _ in range(600):
                    if (seen := await collector.fetch_snapshot(even_if_quiet=True)).sessions:
                        return seen
                    await asyncio.sleep(0.1)
        raise AssertionError("no login waits")

    with psycopg.connect(server.dsn) as locker:
        pid = locker.info.backend_pid
        report = make_report(diagnose(asyncio.run(poll_behind(locker))))
    assert {wait.relation for wait in report.waits} <= {"pg_catalog.pg_authid", "pg_catalog.pg_class"}
    [blocker] = [each for each in report.blockers if each.pid == pid]
    assert "pg_catalog.pg_authid" in "; ".join(blocker.evidence)
