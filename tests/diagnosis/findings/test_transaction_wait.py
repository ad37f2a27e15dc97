"""A tool that waits for transactions without a lock: the oldest of them is named, and no other session."""

import time

import pytest

from pgdoctor.diagnosis.transaction_polling import asks_for_transactions
from tests.diagnosis.findings.observing import kinds, observer

#: As pg_repack sends it.
POLL = (
    "SELECT pid FROM pg_locks WHERE locktype = 'virtualxid' AND pid <> pg_backend_pid() "
    "AND virtualtransaction = ANY($1)"
)
LONG = 5.5


@pytest.mark.parametrize(
    "statement",
    ["select * from pg_locks", "select virtualtransaction from pg_locks", "update orders set v = any_value"],
)
def test_other_questions_are_no_wait(statement):
    assert not asks_for_transactions(statement)


def test_question_of_pg_repack_is_a_wait():
    assert asks_for_transactions(POLL)


def ask(scene, *, application_name="pg_repack"):
    tool = scene.client(autocommit=True, application_name=application_name)
    tool.run(POLL.replace("$1", "'{3/4}'"))
    return tool


def test_old_transaction_alone_is_no_wait(scene):
    scene.client("select 1", application_name="report")
    time.sleep(LONG)
    with observer(scene.dsn) as seen:
        assert "transaction_wait" not in kinds(seen.look())


def test_tool_without_an_older_transaction_does_not_wait(scene):
    ask(scene)
    scene.client("select 1", application_name="report")
    time.sleep(LONG)
    with observer(scene.dsn) as seen:
        assert "transaction_wait" not in kinds(seen.look())


def test_oldest_transaction_of_the_database_is_named(scene):
    other = scene.client("select 1", dbname=scene.database(), application_name="elsewhere")
    old = scene.client("select 4711", application_name="report")
    time.sleep(LONG)
    tool = ask(scene)
    with observer(scene.dsn) as seen:
        note = seen.note("transaction_wait")
    assert note.summary.startswith(
        f'session {tool.pid} of "pg_repack" (postgres) waits, without a lock, for transactions to end; '
        f'the oldest is session {old.pid} of "report" (postgres), idle in transaction, open for'
    )
    assert note.advice.startswith(f"end the transaction of {old.pid}")
    told = "\n".join((note.summary, *note.evidence))
    assert f"session {other.pid} " not in told
    assert "select ?" in told
    old.run("rollback")
    with observer(scene.dsn) as seen:
        assert "transaction_wait" not in kinds(seen.look())
