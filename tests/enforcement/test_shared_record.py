"""What stops or counts actions holds for every pgdoctor at a server, whatever journal it has."""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psycopg
import pytest
from msgspec.structs import replace
from psycopg import sql

from pgdoctor.errors import ServerError
from pgdoctor.fields import Duration
from pgdoctor.journal.keeper import Keeper
from pgdoctor.mitigation.audit_records import Arm, Disarm
from pgdoctor.mitigation.history import Opening
from pgdoctor.mitigation.rules import Breaker
from pgdoctor.mitigation.shared_record import (
    MARK,
    SharedEvent,
    SharedRecord,
    decode_record,
    encode_record,
    with_shared_event,
)
from pgdoctor.postgres.connection import Connection
from pgdoctor.postgres.shared_record import read_record, rewrite_record
from tests.enforcement.test_audit import at_the_last_moment, hold
from tests.mitigation.competing import compete
from tests.mitigation.conftest import IDLE, SLOW, Incident
from tests.scenes import Scene

AT_ONCE = replace(IDLE, min_wait=Duration(0))
ONCE: dict[str, Any] = {"min_samples": 1, "most": 1}

_RECORD = "select c from pg_db_role_setting s, unnest(setconfig) c where setrole = 'agent'::regrole and c ~ '^appl'"


@pytest.fixture
def journals(tmp_path: Path) -> Iterator[list[Keeper]]:
    """Those of two agents on two machines."""
    kept = [Keeper(tmp_path / "one.db"), Keeper(tmp_path / "other.db")]
    yield kept
    for each in kept:
        each.close()


def say(incident: Incident, event: Callable[[datetime], SharedEvent]) -> None:
    """As `pgdoctor mitigate disarm` does."""

    async def work() -> None:
        async with await Connection.open(incident.agent) as door:
            await rewrite_record(
                door, lambda text: encode_record(with_shared_event(decode_record(text), event(datetime.now(UTC))))
            )

    asyncio.run(work())


def record(incident: Incident) -> str | None:
    """The record as a person sees it who asks with psql."""
    rows = incident.scene.admin.execute(_RECORD).fetchall()
    return rows[0][0].removeprefix("application_name=") if rows else None


def objections(mitigator: Any) -> dict[str, str]:
    [decision] = [each for each in mitigator.plan.decisions if each.rule]
    return {each.guard: each.objection for each in decision.objections}


def test_h61_disarmed_pair_signals_no_session_after_a_failover(incident: Incident, journals: list[Keeper]) -> None:
    holder = hold(incident, 1)
    say(incident, lambda now: Disarm(now, "a release", "ann"))
    for journal in journals:
        actions, mitigator = incident.mitigate(AT_ONCE, journal=journal, **ONCE)
        assert actions == []
        assert objections(mitigator)["kill_switch"] == "disarmed by ann: a release"
    assert incident.alive(holder)
    say(incident, lambda now: Arm(now, "it is out", "ann"))
    actions, _ = incident.mitigate(AT_ONCE, journal=journals[1], **ONCE)
    assert [each.outcome for each in actions] == ["released"]


def test_h61_agents_own_disarm_holds_for_the_other_one_too(incident: Incident, journals: list[Keeper]) -> None:
    """By SIGUSR1 or over HTTP: it holds there at once, and everywhere from its next poll on."""
    holder = hold(incident, 1)
    first = incident.mitigate(AT_ONCE, journal=journals[0], mode="dry_run", **ONCE)[1]
    first.disarm("hands off", "a signal")

    async def look_once_more() -> None:
        async with await Connection.open(incident.agent) as door:
            await first.consider(first._observation.diagnosis, door)

    asyncio.run(look_once_more())
    actions, mitigator = incident.mitigate(AT_ONCE, journal=journals[1], **ONCE)
    assert actions == []
    assert "hands off" in objections(mitigator)["kill_switch"]
    assert incident.alive(holder)
    # An operator arms from a third place; the first agent reads it, though its own journal says otherwise.
    say(incident, lambda now: Arm(now, "go on", "ann"))
    actions, mitigator = incident.mitigate(AT_ONCE, journal=journals[0], **ONCE)
    assert [each.outcome for each in actions] == ["released"]
    assert not mitigator.is_disarmed


def test_h61_disarm_between_judging_and_signal_is_seen_by_the_signal_itself(
    incident: Incident, journals: list[Keeper]
) -> None:
    holder = hold(incident, 1)

    def disarm() -> None:
        with psycopg.connect(incident.agent, autocommit=True) as connection:
            # The judged session is gone, after any write.
            connection.execute("alter role agent set application_name = 'stop'")

    actions, _ = incident.mitigate(AT_ONCE, journal=journals[0], brake=at_the_last_moment(disarm), **ONCE)
    assert [each.outcome for each in actions] == ["withheld"]
    assert incident.alive(holder)
    assert record(incident) == "stop"


def test_h61_signal_of_another_record_than_the_one_that_was_judged_is_not_sent(incident: Incident) -> None:
    holder = hold(incident, 1)
    [row] = incident.scene.admin.execute(
        "select pid, backend_start, xact_start, query_start, state, state_change from pg_stat_activity where pid = %s",
        [holder.pid],
    ).fetchall()
    from pgdoctor.model.identity import Identity

    incident.scene.admin.execute("alter role agent set application_name = 'stop'")
    assert incident.send("terminate", Identity(*row)).answer == "gone"
    assert incident.alive(holder)
    incident.scene.admin.execute("alter role agent reset application_name")
    assert incident.send("terminate", Identity(*row)).answer == "sent"


@pytest.mark.long
@pytest.mark.deadline(300)
def test_h62_two_agents_with_separate_journals_send_one_signal_for_each_decision(
    incident: Incident, tmp_path: Path
) -> None:
    """Their leader is killed in every other incident; `make bench ARGS=leaders` has 300 rounds."""
    counted = compete(incident, (tmp_path / "one.db", tmp_path / "other.db"), rounds=30)
    assert counted["twice"] == 0
    assert counted["killed"] > 5
    assert counted["once"] > 15
    assert counted["never"] <= counted["killed"]


def test_h62_victim_of_another_agent_is_left_alone(incident: Incident, journals: list[Keeper]) -> None:
    holder = incident.app("update orders set v = 1 where id = 1", autocommit=False)
    holder.start(
        "do $$ begin begin perform pg_sleep(60); exception when query_canceled then perform pg_sleep(60); end; end $$"
    )
    incident.app().block("update orders set v = 2 where id = 1")
    rule = replace(SLOW, min_wait=Duration(0))
    actions, _ = incident.mitigate(rule, journal=journals[0], patience=0.1, **ONCE)
    assert len(actions) == 1
    actions, mitigator = incident.mitigate(rule, journal=journals[1], **ONCE)
    assert actions == []
    assert "already_tried" in objections(mitigator)
    assert incident.alive(holder)


def test_h63_budgets_are_counted_over_both(incident: Incident, journals: list[Keeper]) -> None:
    usual = {**ONCE, "max_actions_per_hour": 1}
    hold(incident, 1)
    actions, _ = incident.mitigate(AT_ONCE, journal=journals[0], **usual)
    assert [each.outcome for each in actions] == ["released"]
    holder = hold(incident, 2)
    actions, mitigator = incident.mitigate(AT_ONCE, journal=journals[1], **usual)
    assert actions == []
    assert "actions_per_hour: 1, the limit is 1" in objections(mitigator)["budget"]
    assert mitigator.standing.budgets["actions_per_hour"] == 0
    assert incident.alive(holder)


def test_h63_open_breaker_of_another_agent_is_open_here(incident: Incident, journals: list[Keeper]) -> None:
    holder = hold(incident, 1)
    breaker = Breaker(recurrence=1)
    incident.mitigate(AT_ONCE, journal=journals[0], breaker=breaker, **ONCE)
    actions, mitigator = incident.mitigate(AT_ONCE, journal=journals[1], **ONCE)
    assert actions == []
    assert "recurrence" in objections(mitigator)
    say(incident, lambda now: Opening(now, "2 blockers in a row were signalled without effect"))
    actions, mitigator = incident.mitigate(AT_ONCE, journal=journals[1], **ONCE)
    assert actions == []
    assert mitigator.standing.breaker_open
    assert incident.alive(holder)


def test_h63_rehearsals_and_onlookers_write_nothing(incident: Incident, journals: list[Keeper]) -> None:
    hold(incident, 1)
    for mode in ("observe", "dry_run"):
        incident.mitigate(AT_ONCE, journal=journals[0], mode=mode, breaker=Breaker(recurrence=1), **ONCE)
    assert record(incident) is None
    incident.mitigate(AT_ONCE, journal=journals[0], mode="dry_run", **ONCE)
    assert record(incident) is None


@pytest.mark.parametrize("text", ["psql", MARK + "{", MARK.replace("1", "2")])
def test_h64_record_that_cannot_be_read_stops_signals_and_says_how_to_begin_again(
    incident: Incident, journals: list[Keeper], text: str
) -> None:
    holder = hold(incident, 1)
    incident.scene.admin.execute(sql.SQL("alter role agent set application_name = {}").format(text))
    actions, mitigator = incident.mitigate(AT_ONCE, journal=journals[0], **ONCE)
    assert actions == []
    assert "RESET application_name" in objections(mitigator)["shared_record"]
    assert incident.alive(holder)
    incident.scene.admin.execute("alter role agent reset application_name")
    actions, _ = incident.mitigate(AT_ONCE, journal=journals[0], **ONCE)
    assert [each.outcome for each in actions] == ["released"]


def test_h64_record_that_cannot_be_written_stops_signals(incident: Incident, journals: list[Keeper]) -> None:
    """A person who changes the role's settings holds its row until the end of the transaction."""
    holder = hold(incident, 1)
    with ExitStack() as stack:
        other = stack.enter_context(psycopg.connect(incident.scene.dsn))
        other.execute("alter role agent set idle_session_timeout = 0")
        actions, mitigator = incident.mitigate(AT_ONCE, journal=journals[0], **ONCE)
        assert [each.outcome for each in actions] in ([], ["withheld"])
        assert "cannot be written" in str(mitigator.sharing_error)
    assert incident.alive(holder)


def test_h64_writers_at_the_same_time_lose_nothing(scene: Scene) -> None:
    dsn = scene.role("agent")

    async def write(name: str) -> None:
        async with await Connection.open(dsn) as door:
            for number in range(10):

                def change(text: str | None, number: int = number) -> str:
                    return encode_record(
                        with_shared_event(
                            decode_record(text), Opening(datetime.now(UTC), "why", fingerprint=f"{name} {number}")
                        )
                    )

                while True:
                    try:
                        await rewrite_record(door, change)
                        break
                    except ServerError:
                        await asyncio.sleep(0)

    async def work() -> SharedRecord:
        await asyncio.gather(write("one"), write("other"), write("third"))
        async with await Connection.open(dsn) as door:
            return decode_record((await read_record(door)).text)

    assert len(asyncio.run(work()).events) == 30


def test_h64_another_role_can_neither_write_it_nor_hinder_it(scene: Scene) -> None:
    dsn = scene.role("agent")
    stranger = scene.client(user=scene.role("stranger") and "stranger", autocommit=True)
    for attempt in ("alter role agent set application_name = 'stop'", "begin; lock table pg_db_role_setting"):
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            stranger.run(attempt)

    async def work() -> str | None:
        async with await Connection.open(dsn) as door:
            return (await rewrite_record(door, lambda _: "hello\\ 'there'")).text

    assert asyncio.run(work()) == "hello\\ 'there'"
    assert scene.admin.execute(_RECORD).fetchall() == [("application_name=hello\\ 'there'",)]
