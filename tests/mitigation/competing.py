"""Two agents at one server, in different databases and with a journal each; victims count the signals they get."""

import asyncio
import random
import time
from collections import Counter
from contextlib import closing
from pathlib import Path

from msgspec.structs import replace
from psycopg.conninfo import make_conninfo

from pgdoctor.enforcement.mitigator import Mitigator
from pgdoctor.errors import ServerError
from pgdoctor.fields import Duration
from pgdoctor.journal.keeper import Keeper
from pgdoctor.journal.store import Journal
from pgdoctor.mitigation import audit_records
from pgdoctor.mitigation.audit_records import Intent
from pgdoctor.mitigation.rules import Breaker, Mitigation
from pgdoctor.postgres.collect import Collector
from pgdoctor.postgres.connection import Connection
from pgdoctor.postgres.server_watch import ServerWatch
from pgdoctor.postgres.signal import LEADER_KEY
from tests.mitigation.conftest import SLOW, Incident
from tests.scenes import Client

_MANY = 1_000_000

RULES = Mitigation(
    mode="enforce",
    min_samples=1,
    startup_grace=Duration(0),
    cooldown=Duration(0),
    allow_short_waits=True,
    max_actions_per_5m=_MANY,
    max_actions_per_hour=_MANY,
    max_terminates_per_hour=_MANY,
    max_per_fingerprint_per_hour=_MANY,
    breaker=Breaker(open_after_errors=_MANY, open_after_ineffective=_MANY, recurrence=_MANY, open_on_worsening=False),
    rules=(replace(SLOW, min_wait=Duration(0)),),
)

#: It is in the same statement all the while: to the second agent it is the very same session that the first has judged.
_COUNTING = """
    do $$
    declare got int := 0;
    begin
        loop
            begin
                perform pg_sleep(60);
            exception when query_canceled then
                got := got + 1;
                perform set_config('application_name', 'got ' || got, false);
            end;
        end loop;
    end $$
"""

_LEADER = "select pg_terminate_backend(pid) from pg_locks where locktype = 'advisory' and granted and objid = %s"

#: Seconds in which a second signal would come: both agents look several times.
_LINGER = 0.06

#: Seconds after which an intent without a signal has come to nothing.
_NO_MORE = 0.5


#: A journal for each of two agents; they may be the same.
Journals = tuple[Path, Path]


def compete(incident: Incident, journals: Journals, rounds: int) -> Counter[str]:
    """How many of the victims got one signal, none, or two and more; and how often the leader was killed."""
    return asyncio.run(_compete(incident, journals, rounds, random.Random(7)))


async def _compete(incident: Incident, journals: Journals, rounds: int, dice: random.Random) -> Counter[str]:
    dsns = (incident.agent, make_conninfo(incident.agent, dbname=incident.scene.database()))
    agents = [asyncio.create_task(_agent(dsn, journal)) for dsn, journal in zip(dsns, journals, strict=True)]
    counted: Counter[str] = Counter()
    try:
        for _ in range(rounds):
            counted.update(await asyncio.to_thread(_round, incident, journals, dice))
    finally:
        for agent in agents:
            agent.cancel()
        await asyncio.gather(*agents, return_exceptions=True)
    return counted


async def _agent(dsn: str, journal: Path) -> None:
    """Looks and acts, over one connection after the other; after each loss it is a new process, as it were."""
    while True:
        keeper = Keeper(journal)
        mitigator = Mitigator(RULES, keeper)
        try:
            async with await Connection.open(dsn) as door:
                watch = ServerWatch(Collector(door))
                while True:
                    await mitigator.consider(await watch.diagnose_server(), door)
                    await asyncio.sleep(0.002)
        except ServerError:
            await asyncio.sleep(0.01)
        finally:
            keeper.close()


def _round(incident: Incident, journals: Journals, dice: random.Random) -> list[str]:
    """One incident; what is to be counted about it."""
    victim = incident.app("update orders set v = 1 where id = 1")
    victim.start(_COUNTING)
    waiter = incident.app().block("update orders set v = 2 where id = 1")
    found = []
    if dice.random() < 0.5:
        time.sleep(dice.uniform(0.0, 0.03))
        if incident.scene.admin.execute(_LEADER, [LEADER_KEY & 0xFFFFFFFF]).fetchall():
            found.append("killed")
    found.append(_signals(incident, victim, journals))
    victim.close()
    waiter.finish()
    waiter.run("rollback")
    waiter.close()
    return found


def _signals(incident: Incident, victim: Client, journals: Journals) -> str:
    """How often the victim was signalled, once it is clear that no more will come."""
    intended: float | None = None
    give_up = time.monotonic() + 30
    while (got := _got(incident, victim)) == 0:
        if intended is None and any(_is_intended(journal, victim) for journal in journals):
            intended = time.monotonic()
        if time.monotonic() > (give_up if intended is None else intended + _NO_MORE):
            break
        time.sleep(0.002)
    time.sleep(_LINGER)
    got = _got(incident, victim)
    return "never" if not got else "once" if got == 1 else "twice"


def _got(incident: Incident, victim: Client) -> int:
    [(said,)] = incident.scene.admin.execute(
        "select application_name from pg_stat_activity where pid = %s", [victim.pid]
    ).fetchall()
    return int(said.removeprefix("got ")) if said.startswith("got ") else 0


def _is_intended(journal: Path, victim: Client) -> bool:
    if not journal.exists():
        return False
    with closing(Journal.open(journal)) as opened:
        latest = opened.fetch_records(kinds=("intent",))[-2:]
    return any(
        isinstance(each, Intent) and each.action.victim.pid == victim.pid for each in audit_records.read_events(latest)
    )
