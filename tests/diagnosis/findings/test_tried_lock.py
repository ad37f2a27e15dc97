"""An advisory lock that a session asked for without waiting: the session that holds it is named, and no other one."""

import pytest
from msgspec.structs import replace

from pgdoctor.diagnosis.tried_lock_request import read_tried_request
from pgdoctor.model.server_context import LatestStatement
from tests.building import ago
from tests.diagnosis.findings.observing import kinds, observer
from tests.diagnosis.findings.test_thresholds import AROUND, found
from tests.scenes import Scene
from tests.scenes.client import Client

#: Of two integers, as `pg_locks` has it.
PAIR = (1, 2, 2)


@pytest.mark.parametrize(
    "statement",
    [
        "select pg_advisory_lock(42)",
        "select 'pg_try_advisory_lock(42)'",
        "select pg_try_advisory_lock(1), pg_try_advisory_lock(2)",
        "update jobs set name = 'x' -- pg_try_advisory_lock(42)",
    ],
)
def test_other_statements_try_no_lock(statement):
    assert read_tried_request(statement) is None


@pytest.mark.parametrize(
    ("arguments", "key"),
    [
        ("42", (0, 42, 1)),
        ("-1", (0xFFFFFFFF, 0xFFFFFFFF, 1)),
        ("'42'::bigint", (0, 42, 1)),
        ("1::int4, 2::pg_catalog.int4", PAIR),
        ("$1", None),
        ("hashtext('deploy')", None),
        ("42, pid", None),
    ],
)
def test_key_is_read_from_a_literal_only(arguments, key):
    found = read_tried_request(f"SELECT pg_catalog.pg_try_advisory_xact_lock_shared({arguments}) AS locked")
    assert found is not None
    assert found.key == key


def test_hostile_texts_try_no_lock():
    for text in (
        "pg_try_advisory_lock",
        "pg_try_advisory_lock(" * 2_000,
        "pg_try_advisory_lock(42",
        "pg_try_advisory_lock(;",
    ):
        found = read_tried_request(text)
        assert found is None or found.key is None


def try_lock(scene: Scene, arguments: str, **options: str) -> Client:
    trier = scene.client(autocommit=True, application_name="bin/rails", **options)
    trier.run(f"select pg_try_advisory_lock({arguments})")
    return trier


def hold_lock(scene: Scene, arguments: str, **options: str) -> Client:
    return scene.client(f"select pg_advisory_lock({arguments})", autocommit=True, application_name="puma", **options)


def test_lock_that_was_got_and_locks_of_others_are_no_finding(scene):
    hold_lock(scene, "41")
    hold_lock(scene, "42", dbname=scene.database())
    hold_lock(scene, "0, 42")
    try_lock(scene, "42")
    with observer(scene.dsn) as seen:
        assert "tried_lock" not in kinds(seen.look())


@pytest.mark.parametrize("arguments", ["42", "1, 2"])
def test_idle_holder_of_a_tried_lock_is_named(scene, arguments):
    holder = hold_lock(scene, arguments)
    hold_lock(scene, "43")
    trier = try_lock(scene, arguments)
    key = arguments if arguments == "42" else f"({arguments})"
    with observer(scene.dsn) as seen:
        note = seen.note("tried_lock")
        assert note.severity == "info"
        assert note.summary.startswith(
            f'session {trier.pid} of "bin/rails" (postgres) asked for the advisory lock {key} without waiting; '
            f'session {holder.pid} of "puma" (postgres), idle for '
        )
        assert (note.evidence, note.numbers) == ((), {"holders": 1})
        holder.run("select pg_advisory_unlock_all()")
        assert "tried_lock" not in kinds(seen.look())


def test_key_that_is_not_shown_leaves_the_idle_holders(scene):
    holder = hold_lock(scene, "hashtext('deploy')")
    running = scene.client("select pg_advisory_xact_lock(43)")
    try_lock(scene, "hashtext('deploy')")
    with observer(scene.dsn) as seen:
        note = seen.note("tried_lock")
    assert "by a key that its text does not show" in note.summary
    assert f"session {holder.pid} " in note.summary
    assert f"session {running.pid} " not in "".join(note.evidence)


ASKED = "SELECT locked FROM public.databasechangeloglock WHERE id = ?"


@pytest.mark.parametrize(
    ("statement", "age", "is_found"),
    [
        # It may be about to take the lock; it no longer asks; it has the lock; another table.
        (ASKED, 0.5, False),
        (ASKED, 31, False),
        ("UPDATE public.databasechangeloglock SET locked = ?", 5, False),
        ("SELECT locked FROM databasechangelog", 5, False),
        (ASKED, 1, True),
        ("SELECT locked FROM DATABASECHANGELOGLOCK WHERE id = ?", 10, True),
    ],
)
def test_session_that_asks_for_a_row_that_is_a_lock(statement, age, is_found):
    latest = LatestStatement(statement, ago(age), "pod-7", "app", pid=42)
    notes = found(replace(AROUND, latest=(latest,)))
    assert [note.kind for note in notes] == ["tried_lock"] * is_found
    assert all("liquibase release-locks" in note.advice for note in notes)


@pytest.mark.parametrize(
    ("statement", "is_troubled", "is_found"),
    [
        ("select from slot_pool for update nowait", False, False),
        ("select from slot_pool for update", True, False),
        ("select ? from slot_pool for update skip locked -- nowait", True, False),
        ("select from slot_pool for update nowait", True, True),
    ],
)
def test_refused_nowait_names_the_command_that_finds_the_holder(statement, is_troubled, is_found):
    latest = LatestStatement(statement, ago(5), "scheduler", "app", is_troubled=is_troubled, pid=42)
    notes = found(replace(AROUND, latest=(latest,)))
    assert [note.kind for note in notes] == ["tried_lock"] * is_found
    assert all("rows of slot_pool with NOWAIT" in note.summary for note in notes)
    assert all("pgdoctor holders" in note.advice for note in notes)


def test_name_of_a_refused_table_has_no_control_characters():
    latest = LatestStatement(
        'select from "a\x1b[31m\nb" for update nowait', ago(5), None, "app", is_troubled=True, pid=42
    )
    [note] = found(replace(AROUND, latest=(latest,)))
    assert note.summary.isprintable()
