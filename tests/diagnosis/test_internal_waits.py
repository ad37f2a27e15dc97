"""Storms of internal locks: their names are the server's own, and what was measured speaks for the cause."""

import pytest

from pgdoctor.diagnosis.internal_waits import explain_internal_waits, list_known_events
from pgdoctor.diagnosis.triage import ActivitySample, triage
from pgdoctor.render.triage import triage_facts, triage_lines
from tests.diagnosis.findings.observing import observer

#: Of an extension, whose locks have the name that it gives them.
OF_EXTENSIONS = {"pg_stat_statements"}


def explain(**sessions):
    return explain_internal_waits({("LWLock", name): number for name, number in sessions.items()}, None)


def test_names_are_those_of_the_server(bindir):
    """Before 17 no view lists them; but the program has each as a text."""
    program = (bindir / "postgres").read_bytes()
    missing = {name for name in list_known_events() - OF_EXTENSIONS if f"{name}\0".encode() not in program}
    assert missing == set()


@pytest.mark.since(17)
def test_names_are_of_the_type_lwlock(scene):
    rows = scene.admin.execute("select name from pg_wait_events where type = 'LWLock'").fetchall()
    assert list_known_events() - OF_EXTENSIONS <= {name for [name] in rows}


def test_one_spelling_of_each_ipc_wait_is_the_servers_own(bindir):
    """Page I/O is called BufferIO before 17, and BufferIo from then on."""
    program = (bindir / "postgres").read_bytes()
    names = list_known_events("IPC")
    found = [name.casefold() for name in names if f"\0{name}\0".encode() in program]
    assert sorted(found) == sorted({name.casefold() for name in names})


def test_sessions_behind_the_page_of_another_are_sent_to_the_disk():
    [wait] = explain_internal_waits({("IPC", "BufferIo"): 5.0, ("IO", "DataFileExtend"): 1.0}, None)
    assert (wait.events, wait.sessions) == (("IPC:BufferIo",), 5.0)
    assert "check the disk" in wait.end


def test_few_sessions_are_not_worth_a_word():
    assert explain(LockManager=0.9) == ()
    waits = {("LWLock", "LockManager"): 2.0, ("CPU", None): 30.0}
    assert explain_internal_waits(waits, None) == ()


def test_other_waits_are_no_internal_locks():
    assert explain_internal_waits({("Lock", "transactionid"): 9.0, ("IO", "DataFileRead"): 9.0}, None) == ()


def test_events_of_one_cause_are_added_up_and_the_most_come_first():
    first, second = explain(WALWrite=2.0, SubtransSLRU=3.0, SubtransBuffer=1.5)
    assert (first.events, first.sessions) == (("LWLock:SubtransSLRU", "LWLock:SubtransBuffer"), 4.5)
    assert (second.events, second.sessions) == (("LWLock:WALWrite",), 2.0)
    assert "more than 64 subtransactions" in first.cause


def storm(diagnosis, name):
    return triage(diagnosis, [ActivitySample({("LWLock", name): 6, ("CPU", None): 2})])


def test_session_with_many_subtransactions_is_named(scene):
    scene.admin.execute("create table orders (id int)")
    nested = scene.client(application_name="import")
    for number in range(70):
        nested.run(f"savepoint s{number}")
        nested.run("insert into orders values (1)")
    with observer(scene.dsn) as seen:
        found = seen.look()
    [wait] = storm(found, "SubtransSLRU").internal_waits
    assert wait.evidence == (
        f'session {nested.pid} of "import" (postgres) has 70 subtransactions with an id, insert into orders values (?)',
    )


def test_locks_beyond_the_fast_path_are_counted_and_shown_in_plain_words(scene):
    scene.admin.execute("create table events (at int) partition by range (at)")
    for number in range(100):
        scene.admin.execute(
            f"create table events_{number} partition of events for values from ({number}) to ({number + 1})"
        )
    unpruned = scene.client("select count(*) from events", application_name="report")
    with observer(scene.dsn) as seen:
        found = seen.look()
    answer = storm(found, "LockManager")
    [wait] = answer.internal_waits
    assert "found no place in the fast path" in wait.evidence[0]
    assert f'the most has session {unpruned.pid} of "report"' in wait.evidence[1]
    facts = triage_facts(answer, found)
    text = "\n".join(line.text for line in triage_lines(facts, None))
    assert "inside   6.0 sessions wait to enter locks into the shared lock table (LWLock:LockManager)" in text
    assert "usual cause: statements lock more relations than the fast path has room for" in text
    assert "what ends it: name the partition key in the query" in text
    assert facts.internal_waits == answer.internal_waits
