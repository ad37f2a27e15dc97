"""Logins that wait for a lock, and a login of pgdoctor's own that fails: what is said of them."""

import asyncio

from msgspec.structs import replace

from pgdoctor.diagnosis.diagnose import diagnose
from pgdoctor.model.snapshot import Login
from pgdoctor.postgres.collect import Collector
from pgdoctor.postgres.connection import Connection
from tests.building import ago, lock, session, snapshot
from tests.logins import locked_logins, logging_in
from tests.looking import look


def test_one_poll_sees_the_logins_that_wait(own_server) -> None:
    server = own_server()

    async def ask():
        async with await Connection.open(server.dsn, 5.0) as door:
            collector = Collector(door)
            with locked_logins(server) as locker, logging_in(server, 1):
                for _ in range(100):
                    seen = await collector.fetch_snapshot(even_if_quiet=True)
                    if seen.sessions:
                        return locker.info.backend_pid, seen
                    await asyncio.sleep(0.05)
        raise AssertionError("no login was seen")

    holder, seen = asyncio.run(ask())
    [waiting] = [each for each in seen.sessions.values() if each.is_starting]
    assert waiting.blockers == (holder,)
    [finding] = [note for note in diagnose(seen).findings if note.kind == "blocked_logins"]
    assert finding.summary.startswith("1 login waits for a lock")
    assert "AccessShareLock on pg_catalog.pg_authid, to log in" in finding.evidence[0]


def test_waiting_session_is_no_login(scene) -> None:
    scene.admin.execute("create table orders (id int)")
    scene.client("lock table orders")
    scene.client().block("select from orders")
    assert not [each for each in look(scene.dsn).findings if each.kind == "blocked_logins"]


def _logins(*, error: str | None, waiting: bool):
    held, asked = lock(1, "AccessExclusiveLock", granted=True), lock(2, "AccessShareLock", granted=False)
    blocked = session(2, blockers=(1,), locks=(asked,), is_starting=waiting, state=None if waiting else "active")
    seen = snapshot((session(1, locks=(held,)), blocked), ago(0))
    return [
        note
        for note in diagnose(replace(seen, login=Login(0.01, error, 9.0 if error else 0.0))).findings
        if note.kind == "blocked_logins"
    ]


def test_finding_says_what_is_known_of_logins() -> None:
    assert _logins(error=None, waiting=False) == []
    [slow] = _logins(error="the login has not ended for 9 s", waiting=False)
    assert slow.summary == "no new connection is possible: the login has not ended for 9 s"
    assert "authentication service" in slow.advice
    [seen] = _logins(error=None, waiting=True)
    assert seen.summary == "1 login waits for a lock, the longest for 1 min 0 s"
    assert seen.advice.startswith("end the transaction of 1,")
    [both] = _logins(error="the login has not ended for 9 s", waiting=True)
    assert both.summary.startswith("no client can log in: 1 login waits")
    assert both.numbers == {"logins": 1, "seconds": 60.0}
