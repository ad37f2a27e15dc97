"""Sessions that wait for something that is no lock, and what could not be seen or read."""

import pytest

from tests.diagnosis.findings.observing import observer
from tests.looking import look


def kinds(dsn):
    return [note.kind for note in look(dsn).findings]


@pytest.fixture
def orders(scene):
    scene.admin.execute("create table orders (id int primary key, v int); insert into orders values (1, 0)")
    return scene


def test_a_serializable_transaction_alone_is_no_wait_for_a_safe_snapshot(orders):
    orders.client("begin isolation level serializable", "update orders set v = 1", autocommit=True)
    assert kinds(orders.dsn) == []


def test_a_wait_for_a_safe_snapshot_is_said(orders):
    writer = orders.client(
        "begin isolation level serializable", "update orders set v = 1", autocommit=True, application_name="import"
    )
    orders.client("begin isolation level repeatable read", "select from orders", autocommit=True)
    report = orders.client("begin isolation level serializable, read only, deferrable", autocommit=True)
    report.start("select * from orders")
    orders.wait_until(lambda: "SafeSnapshot" in report.shown())
    [note] = look(orders.dsn).findings
    assert (note.kind, note.severity, note.numbers) == ("safe_snapshot", "info", {"sessions": 1})
    assert note.evidence == ()
    with observer(orders.dsn) as seen:
        note = seen.note("safe_snapshot")
    [line] = note.evidence
    assert line.startswith(f'waits for session {writer.pid} of "import" (postgres), idle in transaction, open for ')
    assert line.endswith(": update orders set v = ?")
    assert f"end the transaction of {writer.pid}" in note.advice


def test_a_wait_for_a_pinned_buffer_is_said(orders):
    orders.client("select from pg_class")
    reader = orders.client("declare reading cursor for select * from orders", "fetch 1 from reading")
    vacuum = orders.client(autocommit=True)
    vacuum.start("vacuum (freeze, disable_page_skipping) orders")
    orders.wait_until(lambda: "BufferPin" in vacuum.shown())
    [note] = look(orders.dsn).findings
    assert (note.kind, note.severity, note.numbers) == ("buffer_pin", "info", {"sessions": 1})
    with observer(orders.dsn) as seen:
        note = seen.note("buffer_pin")
    [line] = note.evidence
    assert line.startswith(f"may wait for session {reader.pid} of ")
    assert f"close the cursor of {reader.pid}, or end its transaction" in note.advice


def test_hidden_sessions_are_said(scene):
    watching = scene.role("watching")
    scene.client()
    [note] = look(watching).findings
    assert (note.kind, note.severity) == ("visibility", "warning")
    assert note.numbers["hidden_sessions"] >= 1


def test_evidence_that_could_not_be_read_is_said(orders):
    orders.client("update orders set v = 1")
    orders.client().block("update orders set v = 2")
    orders.client("lock table pg_catalog.pg_auth_members")
    [note] = look(orders.dsn).findings
    assert (note.kind, note.severity) == ("evidence", "warning")
    assert "memberships could not be read" in note.summary
