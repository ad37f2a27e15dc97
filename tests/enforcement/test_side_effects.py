"""What an action leaves behind, and what it does not."""

import asyncio
import time

import pytest
from msgspec.structs import replace

from pgdoctor.enforcement.side_effects import SideEffectWatch
from pgdoctor.mitigation.candidate import Candidate
from pgdoctor.mitigation.history import Action
from pgdoctor.mitigation.side_effects import KINDS, find_side_effects
from pgdoctor.model.diagnosis import Diagnosis
from pgdoctor.model.identity import Identity
from pgdoctor.model.snapshot import Session
from pgdoctor.postgres.catalog import invalid_indexes
from pgdoctor.postgres.connection import Connection
from tests.building import ago
from tests.mitigation.build import IDLE, diagnosis, idle, reader
from tests.scenes import Scene

BEFORE = diagnosis()


def action(**facts: object) -> Action:
    [blocker] = [each for each in BEFORE.blockers if each.pid == IDLE]
    victim = Identity.of(idle())
    assert victim is not None
    done = Action(
        victim=victim,
        signal="cancel",
        rule="idle",
        classification="idle_in_transaction",
        relation="public.orders",
        waiters=(),
        at=ago(5),
        outcome="released",
        fingerprint=Candidate(blocker, BEFORE).fingerprint,
    )
    return replace(done, **facts)


def kinds(after: Diagnosis, *indexes: str, **facts: object) -> list[str]:
    return [note.kind for note in find_side_effects(action(**facts), after, indexes)]


def behind(*holders: Session) -> Diagnosis:
    return diagnosis(*holders, reader(31, blockers=tuple(each.pid for each in holders)))


@pytest.mark.parametrize("outcome", [None, "gone", "withheld", "would_act", "not_permitted"])
def test_unsent_action_leaves_nothing_behind(outcome: str | None) -> None:
    again = behind(idle(99), idle(state="idle in transaction (aborted)"))
    assert kinds(again, "public.i", outcome=outcome) == []


def test_a_release_without_traces_is_nothing_to_speak_of() -> None:
    assert kinds(diagnosis(idle(99))) == []


def test_another_application_is_not_the_same_coming_back() -> None:
    assert kinds(behind(idle(99, application_name="nightly"))) == []
    assert kinds(behind(idle())) == []


def test_another_session_that_idles_aborted_is_not_the_victim() -> None:
    assert "aborted_holder" not in kinds(behind(idle(99, state="idle in transaction (aborted)", usename="other")))


def test_h2_a_cancelled_session_that_keeps_its_locks_is_reported() -> None:
    assert kinds(behind(idle(state="idle in transaction (aborted)"))) == ["aborted_holder"]


def test_h25_the_same_coming_back_is_reported() -> None:
    assert kinds(behind(idle(99))) == ["recurrence"]
    assert kinds(behind(idle(xact_start=ago(1)))) == ["recurrence"]


def test_h14_an_index_that_is_not_valid_is_reported() -> None:
    [note] = find_side_effects(action(), diagnosis(idle(99)), ["public.i"])
    assert note.kind == "invalid_index"
    assert note.kind in KINDS
    assert "public.i of public.orders" in note.summary


def test_h14_the_index_that_a_broken_off_build_leaves_is_found(scene: Scene) -> None:
    """Another session holds the table meanwhile: the catalogs are read, and no lock on it is asked for."""
    scene.admin.execute("create table orders (v int); insert into orders values (1), (1)")
    scene.admin.execute("create index sound on orders (v)")
    builder = scene.client(autocommit=True)
    with pytest.raises(Exception, match="could not create unique index"):
        builder.run("create unique index concurrently broken on orders (v)")
    scene.client("lock table orders in access exclusive mode")

    async def read(relation: str | None) -> tuple[str, ...]:
        async with await Connection.open(scene.dsn) as door:
            return await invalid_indexes(door, relation)

    assert asyncio.run(read("public.orders")) == ("public.broken",)
    assert asyncio.run(read("public.other")) == ()
    assert asyncio.run(read(None)) == ()


def test_index_that_is_left_invalid_in_another_database_is_found(scene: Scene) -> None:
    other = scene.database()
    builder = scene.client(
        "create table orders (v int); insert into orders values (1), (1)", dbname=other, autocommit=True
    )
    with pytest.raises(Exception, match="could not create unique index"):
        builder.run("create unique index concurrently broken on orders (v)")

    async def look_once(datname: str) -> list[str]:
        watch = SideEffectWatch()
        watch.follow_action(action(datname=datname))
        async with await Connection.open(scene.dsn) as connection:
            end = time.monotonic() + 30
            while (
                not (found := await watch.find_new_side_effects(diagnosis(idle(99)), connection))
                and time.monotonic() < end
            ):
                # A login may take longer than a poll waits for it.
                watch = SideEffectWatch()
                watch.follow_action(action(datname=datname))
        return [note.summary for _, note in found if note.kind == "invalid_index"]

    [said] = asyncio.run(look_once(other))
    assert "public.broken of public.orders" in said
