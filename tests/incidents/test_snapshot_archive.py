"""What is kept of a snapshot says the same again, and no value of a client."""

from collections.abc import Iterator

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from pgdoctor.cli._options import fetch_diagnosis, run_coroutine
from pgdoctor.diagnosis.diagnose import diagnose
from pgdoctor.errors import JournalError
from pgdoctor.incidents import snapshot_archive
from pgdoctor.incidents.snapshot_archive import (
    MOST_BYTES,
    StoredVerdict,
    diagnose_again,
    pack_diagnosis,
    unpack_snapshot,
)
from pgdoctor.model.diagnosis import Diagnosis
from pgdoctor.model.snapshot import Session, Snapshot
from pgdoctor.render.report import make_report
from pgdoctor.sqltext.redact import outline_statement, redact
from tests.building import row, session, snapshot, transaction
from tests.diagnosis.test_labelled import ALL
from tests.scenes import Scene

SECRET = "zq7hunter2"


def again(seen: Diagnosis) -> Diagnosis:
    """The diagnosis after it was kept."""
    return diagnose_again(unpack_snapshot(pack_diagnosis(seen)))


def verdicts(seen: Diagnosis) -> list[object]:
    """What must not change by keeping it."""
    return [
        (each.node, each.classification, each.also, each.root, each.relation, each.blocked_sessions,
         each.recommendation, each.in_cycle)
        for each in seen.blockers
    ]  # fmt: skip


@pytest.mark.parametrize("case", ALL, ids=lambda case: case.name)
def test_the_verdict_is_the_same(case) -> None:
    seen = diagnose(case.snapshot)
    kept = again(seen)
    assert verdicts(kept) == verdicts(seen)
    assert make_report(kept).waits == make_report(seen).waits
    assert kept.captured_at == seen.captured_at
    assert unpack_snapshot(pack_diagnosis(seen)).judged == tuple(map(StoredVerdict.of, seen.blockers))


@given(st.sampled_from(ALL), st.integers(0, 200))
def test_the_verdict_is_the_same_of_statements_that_are_cut(case, length: int) -> None:
    """Wherever the server cuts them; what is shown of them is the same too."""
    sessions = {
        pid: replace(each, statement=(each.statement or "")[:length], truncated=True)
        for pid, each in case.snapshot.sessions.items()
    }
    seen = diagnose(replace(case.snapshot, sessions=sessions))
    kept = again(seen)
    assert [each.classification for each in kept.blockers] == [each.classification for each in seen.blockers]
    assert make_report(kept).waits == make_report(seen).waits


@given(st.text(st.sampled_from("select fromwhere'\"$%_?-/*;,()=1.5\\\nExNU&:@\x00é"), max_size=80))
def test_cut_statement_is_shown_like_a_whole_one(text: str) -> None:
    assert redact(outline_statement(text)) == redact(text)
    assert outline_statement(outline_statement(text)) == outline_statement(text)


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("select 'bob', 42, 4.5, $1", "select 'x', 1, 1.5, $1"),
        ("select * from t where a like '%bob' and b like 'bo%b'", "select * from t where a like '%x' and b like 'x%'"),
        ("alter role bob password 'x'", "alter role bob password ?"),
        ('select * from t where a = "bob@example.org"', "select * from t where a = 'x'"),
        ("host=h password=zq7hunter2", "<statement not shown: cannot be redacted>"),
    ],
)
def test_statement_is_kept_without_literals(text: str, left: str) -> None:
    assert outline_statement(text) == left


def convoy(size: int) -> Snapshot:
    def members() -> Iterator[Session]:
        yield session(1, has_xid=True, locks=(transaction(1, 1, granted=True),))
        for pid in range(2, size + 2):
            yield session(pid, blockers=tuple(range(1, pid)), locks=row(pid, 1), has_xid=True)

    return snapshot(members())


def test_a_convoy_is_kept_whole_and_small() -> None:
    seen = diagnose(convoy(500))
    body = pack_diagnosis(seen)
    assert len(body) < MOST_BYTES
    assert verdicts(again(seen)) == verdicts(seen)


def test_too_big_snapshot_is_kept_in_part(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = diagnose(convoy(300))
    monkeypatch.setattr(snapshot_archive, "MOST_BYTES", 6_000)
    body = pack_diagnosis(seen)
    assert len(body) <= 6_000
    kept = unpack_snapshot(body)
    assert (kept.blocked, kept.waits) == (300, 300 * 301 // 2)
    assert len(kept.snapshot.sessions) in (20, 100)
    assert "left out" in kept.snapshot.unread[-1]
    assert diagnose_again(kept).blockers[0].classification == seen.blockers[0].classification


@pytest.mark.parametrize("body", [b"", b"2", b"1", b"1xyz", pack_diagnosis(diagnose(convoy(3)))[:-9]])
def test_damaged_or_unknown_format_is_one_line(body: bytes) -> None:
    with pytest.raises(JournalError, match="stored snapshot") as caught:
        unpack_snapshot(body)
    assert "\n" not in str(caught.value)


def test_every_field_comes_back() -> None:
    case = next(case for case in ALL if case.snapshot.relations and case.snapshot.prepared)
    kept = unpack_snapshot(pack_diagnosis(diagnose(case.snapshot))).snapshot
    for name in Snapshot.__struct_fields__:
        if name != "sessions":
            assert msgspec.to_builtins(getattr(kept, name)) == msgspec.to_builtins(getattr(case.snapshot, name)), name


def test_a_real_one(scene: Scene) -> None:
    for name in ("orders", "parcels"):
        scene.admin.execute(f"create table {name} (id int primary key, v text, customer_id int)")
        scene.admin.execute(f"insert into {name} select g, 'x', g from generate_series(1, 20000) g")
        scene.admin.execute(f"analyze {name}")
    scanning = scene.client("update parcels set v = 'y' where id = 100")
    scanning.start(f"update parcels set v = '{SECRET}' where customer_id = 7 and pg_sleep(0.01) is null")
    scene.client().block("update parcels set v = 'z' where id = 100")
    holder = scene.client(f"update orders set v = '{SECRET}' where id = 7", "savepoint a", f"select '{SECRET}'")
    scene.client().block(f"update orders set v = '{SECRET}' where id = 7 and v <> '{SECRET}'")
    migration = scene.client().block(f"alter table orders add c text default '{SECRET}'")
    scene.client().block(f"select * from orders where v = '{SECRET}'")
    seen = run_coroutine(fetch_diagnosis(scene.dsn))
    kept = again(seen)
    classes = {each.pid: each.classification for each in seen.blockers}
    assert classes[holder.pid] == "idle_in_transaction"
    assert classes[migration.pid] == "migration"
    assert classes[scanning.pid] == "unindexed_scan"
    assert verdicts(kept) == verdicts(seen)
    assert make_report(kept) == replace(make_report(seen), captured_at=make_report(kept).captured_at)
    assert SECRET not in repr(unpack_snapshot(pack_diagnosis(seen)))
