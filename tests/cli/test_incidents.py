"""`pgdoctor incidents` on journals of every kind: listing, showing, reporting, judging again."""

import io
import json
import re
import subprocess
from collections.abc import Iterator
from contextlib import redirect_stderr, redirect_stdout
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
import pytest
from msgspec.structs import replace

from pgdoctor.cli import main
from pgdoctor.config.config import parse_config
from pgdoctor.diagnosis.diagnose import diagnose
from pgdoctor.incidents.incident import Incident, IncidentEvent
from pgdoctor.incidents.incident_log import KIND, IncidentRecord, encode_entry
from pgdoctor.incidents.snapshot_archive import pack_diagnosis
from pgdoctor.journal.store import Journal
from pgdoctor.mitigation.audit_records import (
    PersonIntent,
    PersonOutcome,
    encode_event,
    record_intent,
    record_settled,
)
from pgdoctor.mitigation.history import Opening, seen_in_polls
from pgdoctor.mitigation.plan import intend_action, make_plan
from pgdoctor.mitigation.rules import Mode
from pgdoctor.model.identity import Identity
from pgdoctor.model.snapshot import Snapshot
from tests.building import lock, row, session, snapshot, transaction
from tests.cli.test_bad_input import complains
from tests.forked import pgdoctor
from tests.mitigation.build import DDL, diagnosis

#: The server, the beginning of the incident that the tests are about, and its id.
SERVER = "7333333333333333333"
BEGAN = (datetime.now(UTC) - timedelta(hours=1)).replace(microsecond=0)
ID = f"{BEGAN:%Y%m%dT%H%M%S}000"

RULES = """
[mitigation]
mode = "enforce"
[[mitigation.rules]]
name = "idle"
class = "idle_in_transaction"
action = "terminate"
min_wait = "{}"
"""


def at(seconds: float) -> datetime:
    return BEGAN + timedelta(seconds=seconds)


def blocked(seconds: float, application: str = "checkout", relation: str = "public.orders") -> Snapshot:
    """An idle session that holds a row, and two that wait, after so many seconds."""
    ages = {"xact_start": BEGAN, "query_start": BEGAN, "state_change": BEGAN}
    holder = session(
        10,
        state="idle in transaction",
        statement="update orders set v = 'x'",
        application_name="reporting",
        has_xid=True,
        locks=(transaction(10, 10, granted=True), lock(10, "RowExclusiveLock", granted=True)),
        **ages,
    )
    waits = [replace(each, waitstart=BEGAN) if not each.granted else each for each in row(20, 10)]
    first = session(20, blockers=(10,), application_name=application, locks=tuple(waits), **ages)
    behind = lock(30, "ExclusiveLock", granted=False, locktype="tuple", page=0, tuple=1)
    second = session(
        30, blockers=(20,), application_name=application, locks=(replace(behind, waitstart=BEGAN),), **ages
    )
    seen = snapshot([holder, first, second], at=at(seconds))
    return replace(seen, relations={oid: replace(each, name=relation) for oid, each in seen.relations.items()})


def write(journal: Journal, *entries: IncidentRecord, server: str = SERVER) -> None:
    for each in entries:
        journal.append(server, KIND, each.id, msgspec.json.encode(each), each.at)


def course(identifier: str = ID, server: str = "shop", relation: str = "public.orders") -> list[IncidentRecord]:
    """An incident from its start to its end."""
    incident = Incident(identifier, BEGAN, ("idle_in_transaction",), 1, 0.5)
    known = {"relation": relation, "recommendation": "terminate 10", "server": server, "database": "shop"}
    worse = replace(incident, peak_blocked=2, longest_wait=61.0)
    return [
        encode_entry(IncidentEvent("started", incident, BEGAN), 1, **known),
        encode_entry(IncidentEvent("worsened", worse, at(61)), 2, **known),
        encode_entry(IncidentEvent("ended", worse, at(90)), 0, **known),
    ]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "journal.db"


@pytest.fixture
def journal(path: Path) -> Iterator[Journal]:
    opened = Journal.open(path)
    yield opened
    opened.close()


@pytest.fixture
def one(journal: Journal) -> Journal:
    """A journal with one incident and two polls at it."""
    write(journal, *course())
    for seconds in (1, 61):
        journal.keep(SERVER, ID, pack_diagnosis(diagnose(blocked(seconds))), at(seconds))
    return journal


def incidents(path: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the command in this process: a new one takes most of a second."""
    out, err = io.StringIO(), io.StringIO()
    with redirect_stdout(out), redirect_stderr(err), pytest.raises(SystemExit) as ended:
        main(["incidents", *arguments, "--journal", str(path)])
    return subprocess.CompletedProcess(arguments, ended.value.code, out.getvalue(), err.getvalue())


def test_a_journal_that_is_not_there_is_one_line_and_is_not_made(tmp_path):
    for name in ("list", "show", "report", "replay"):
        complains(incidents(tmp_path / "none.db", name), 2, "there is no journal at", "none.db")
    complains(pgdoctor("incidents", "list"), 2, "there is no journal at")
    assert list(tmp_path.iterdir()) == []


def test_an_empty_one_is_one_line(journal, path):
    result = incidents(path, "list")
    assert (result.returncode, result.stdout.count("\n")) == (0, 1)
    assert result.stdout.startswith("No incident within 720h in ")
    assert json.loads(incidents(path, "list", "--format", "json").stdout) == []
    for name in ("show", "report", "replay"):
        complains(incidents(path, name), 2, "there is no incident in")


def test_file_that_is_no_journal_is_one_line(path):
    path.write_text("hello" * 1_000)
    complains(incidents(path, "list"), 2, "is not a journal")


@pytest.mark.parametrize("since", ["3", "", "yesterday", "99999h"])
def test_since_has_a_unit(one, path, since):
    complains(incidents(path, "list", "--since", since), 2, "--since", "unit")


def test_the_list(one, path):
    table = incidents(path, "list").stdout.splitlines()
    assert table[0].split()[:3] == ["id", "server", "started"]
    assert [ID in line and "terminate 10" in line and "idle_in_transaction" in line for line in table] == [0, 0, 1]
    [found] = json.loads(incidents(path, "list", "--format", "json").stdout)
    assert (found["id"], found["event"], found["peak"], found["seconds"]) == (ID, "ended", 2, 90.0)
    assert json.loads(incidents(path, "list", "--format", "json", "--since", "30m").stdout) == []


def test_one_that_is_not_there_names_those_that_are(one, path):
    for name in ("show", "report", "replay"):
        complains(incidents(path, name, "20200101T000000000"), 2, "no incident '20200101T000000000'", ID)


def test_showing_it(one, path):
    result = incidents(path, "show", ID)
    assert result.returncode == 0
    lines = result.stdout.splitlines()
    assert lines[0] == f"Incident {ID}: idle_in_transaction on public.orders, critical"
    assert "at most 2 sessions blocked at once, the longest for 1 min 1 s" in lines[2]
    assert [line[10:] for line in lines[4:7]] == [
        "began with 1 session blocked: idle_in_transaction",
        "became critical: 2 sessions blocked, the longest wait 1 min 1 s",
        "ended: no session is blocked any more",
    ]
    assert lines[7] == "pgdoctor took no action; it recommended: terminate 10"
    assert sum(line.startswith("10 idle_in_transaction  public.orders  2 blocked") for line in lines) == 2
    assert incidents(path, "show").stdout == result.stdout


def act(journal: Journal, mode: Mode) -> None:
    """An action while it lasted, and one of the day before."""
    settings = parse_config(RULES.format("15s"), "rules").mitigation
    seen = diagnose(blocked(30))
    victim = Identity.of(seen.snapshot.sessions[10])
    assert victim is not None
    decision = make_plan(seen, settings, seen_in_polls([victim], settings.min_samples)).approved
    assert decision is not None
    for seconds in (30, -86_400):
        action = replace(
            intend_action(decision, seen), at=at(seconds), victim=replace(victim, state_change=at(seconds))
        )
        came = replace(action, outcome="would_act" if mode == "dry_run" else "released", seconds=0.4)
        events = record_intent(action, decision, mode, at(seconds), {}), record_settled(came, at(seconds + 0.4), {})
        for event in (*events, Opening(at(seconds + 1), "too much of it")):
            kind, subject, body, moment = encode_event(event)
            journal.append(SERVER, kind, subject, body, moment)


def test_actions_are_listed(one, path):
    act(one, "enforce")
    said = "terminate 10 (idle_in_transaction, rule idle): released 1 session in 0.4 s"
    assert incidents(path, "show").stdout.count(said) == 1
    told = incidents(path, "report").stdout
    done = told.partition("## Actions")[2].partition("##")[0]
    assert done.count("released 1 session in 0.4 s") == 1
    assert done.count("mitigation stopped itself: too much of it") == 1
    assert done.count("terminate 10 was decided by the waits of app") == 1


def test_a_dry_run_has_done_nothing(one, path):
    act(one, "dry_run")
    assert "would be sent outside of a dry run" in incidents(path, "show").stdout


def test_a_report_of_an_ongoing_incident_has_the_sql_to_end_it(journal: Journal, path: Path) -> None:
    write(journal, *course()[:2])
    journal.keep(SERVER, ID, pack_diagnosis(diagnose(blocked(61))), at(61))
    told = incidents(path, "report").stdout
    by_hand = told.partition("## By hand\n")[2].partition("\n## ")[0]
    assert f"The incident is ongoing. The SQL is as of {at(61):%Y-%m-%d %H:%M:%S} UTC" in by_hand
    assert 'answers "not signalled" otherwise' in by_hand
    assert "\n- `terminate 10`: 1 session at once, 1 more in turn" in by_hand
    assert f"a.xact_start OPERATOR(pg_catalog.=) '{BEGAN.isoformat(timespec='microseconds')}'" in by_hand


def test_signals_of_people_are_part_of_the_story(one: Journal, path: Path) -> None:
    victim = Identity(10, BEGAN, BEGAN, BEGAN, "idle in transaction", BEGAN)
    names = ("idle_in_transaction", "public.orders", "app", "shop", "reporting")
    intent = PersonIntent(at(70), "terminate", victim, "ann\x1b[31m@laptop", *names, 1, 1, "a transaction")
    for event in (intent, PersonOutcome(at(71), intent.decision, "released", at(70), 1, 1.0)):
        kind, subject, body, moment = encode_event(event)
        one.append(SERVER, kind, subject, body, moment)
    for name in ("show", "report"):
        told = incidents(path, name).stdout
        assert "terminate 10 by ann\ufffd" in told.replace("\\", "")
        assert "@laptop: released" in told
        assert "\x1b" not in told


@pytest.mark.parametrize("name", ["show", "report"])
def test_only_the_latest_snapshot_has_sql_to_paste(one: Journal, path: Path, name: str) -> None:
    told = incidents(path, name).stdout
    assert "The incident is over. The SQL is as of" in told
    pasted = re.findall(r"^ *SELECT .*pg_terminate_backend.*'not signalled: .*;$", told, re.MULTILINE)
    assert len(pasted) == 1


def test_the_report(one, path):
    told = incidents(path, "report", ID).stdout
    headings = [line for line in told.splitlines() if line.startswith("#")]
    assert headings == [
        f"# Incident {ID}: idle_in_transaction on `public.orders`",
        *("## Impact", "## Times", "## Timeline", "## Root cause", "## Why it could happen", "## Actions"),
        *("## By hand", "## Prevention"),
    ]
    for words in (
        "| Lasted   | 1 min 30 s",
        "PID 10 on `public.orders`",
        "```sql\nupdate orders set v = ?\n```",
        "| 2          | 1 min 1 s",
        "pgdoctor took no action. Its recommendation: terminate 10.",
        "`idle_in_transaction_session_timeout`",
    ):
        assert words in told


def test_session_in_between_is_part_of_the_cause(journal, path):
    write(journal, *course())
    journal.keep(SERVER, ID, pack_diagnosis(diagnosis()), at(61))
    told = incidents(path, "report").stdout
    assert f"In between: PID {DDL} (migration, " in told
    assert "waits itself, and blocks 3 sessions." in told
    assert f"- migration, PID {DDL}: " in told


def test_that_it_was_there_before_the_first_poll_is_said(journal, path):
    [first, *_] = course()
    write(journal, replace(first, longest_wait=600.0))
    for arguments in (["show"], ["report"]):
        assert "began with 1 session blocked, the longest wait 10 min 0 s" in incidents(path, *arguments).stdout
    assert " UTC" in next(line for line in incidents(path, "list").stdout.splitlines() if ID in line)


def test_hostile_names_stay_in_their_place(journal, path):
    hostile = "a|b\x1b[31m\n# x\u202e`c`"
    write(journal, *course(server="shop", relation=f"public.{hostile}"))
    journal.keep(SERVER, ID, pack_diagnosis(diagnose(blocked(61, hostile, f"public.{hostile}"))), at(61))
    for arguments in (["list"], ["show"], ["report"], ["replay"]):
        said = incidents(path, *arguments).stdout
        assert "public.a" in said
        assert "\x1b" not in said
        assert "\u202e" not in said
        assert not [line for line in said.splitlines() if line.startswith("# x")]
    rows = incidents(path, "report").stdout.partition("## Impact")[2].partition("##")[0].strip().splitlines()
    figures, table = rows[: rows.index("")], rows[rows.index("") + 1 :]
    assert ({count_cells(row) for row in figures}, {count_cells(row) for row in table}) == ({2}, {6})


def count_cells(row: str) -> int:
    return row.replace("\\|", "").count("|") - 1


def test_report_shows_the_figures_of_an_incident_as_a_table(one, path):
    impact = incidents(path, "report").stdout.partition("## Impact")[2].partition("##")[0]
    assert re.search(r"^\| Longest wait +\| 1 min 1 s +\|$", impact, re.MULTILINE)


def test_an_incident_without_snapshots(journal, path):
    write(journal, *course()[:1])
    assert "ongoing, 0.0 s as of" in incidents(path, "list").stdout
    assert "began with 1 session blocked" in incidents(path, "show").stdout
    assert "No snapshot of it was stored." in incidents(path, "report").stdout
    assert incidents(path, "replay").stdout == "No snapshot was stored.\n"


def test_two_servers_may_have_one_of_the_same_id(one, path):
    write(one, *course(server="ledger"), server="8")
    shown = incidents(path, "show", ID).stdout
    assert shown.count(f"Incident {ID}") == 2
    assert "shop · shop" in shown
    assert "ledger · shop" in shown
    assert incidents(path, "list").stdout.count(ID) == 2


def test_h50_replaying_with_the_rules_of_now(one, path, tmp_path):
    patient, eager = tmp_path / "patient.toml", tmp_path / "eager.toml"
    patient.write_text(RULES.format("2m"))
    eager.write_text(RULES.format("15s"))
    for config, approved in ((patient, [False, False]), (eager, [False, True])):
        found = json.loads(incidents(path, "replay", "--config", str(config), "--format", "json").stdout)
        decisions = [next(each for each in look["plan"]["decisions"] if each["rule"]) for look in found]
        assert [each["approved"] for each in decisions] == approved
        assert all(len(each["verdicts"]) > 20 for each in decisions)
    said = incidents(path, "replay", "--config", str(eager)).stdout
    assert "terminate 10 by rule idle: no" in said
    assert "terminate 10 by rule idle: yes" in said
    assert re.search(r"min_wait \(1\.0 s of at least 15 s, [^)]*\): NO:", said)
    complains(incidents(path, "replay", "--config", str(tmp_path / "none.toml")), 2, "none.toml")


def test_a_verdict_that_is_not_that_of_then_is_shown(one, path):
    assert incidents(path, "replay", "--exit-code").returncode == 0
    seen = diagnose(blocked(70))
    former = replace(seen, blockers=(replace(seen.blockers[0], classification="long_query"), *seen.blockers[1:]))
    one.keep(SERVER, ID, pack_diagnosis(former), at(70))
    result = incidents(path, "replay", "--exit-code")
    assert result.returncode == 1
    assert "! 10: then long_query on public.orders, terminate; now idle_in_transaction" in result.stdout
    assert incidents(path, "replay").returncode == 0
    [*same, other] = json.loads(incidents(path, "replay", "--format", "json").stdout)
    assert [each["changes"] for each in same] == [[], []]
    assert [each["pid"] for each in other["changes"]] == [10]


def test_replaying_everything(one, path):
    write(one, *course("20200101T000000000"))
    one.keep(SERVER, "20200101T000000000", pack_diagnosis(diagnose(blocked(5))), at(5))
    found = json.loads(incidents(path, "replay", "--all", "--format", "json").stdout)
    assert {each["incident"] for each in found} == {ID, "20200101T000000000"}
    assert len(found) == 3


def test_damaged_record_is_one_line(one, path):
    one.keep(SERVER, ID, b"1nonsense", at(80))
    for name in ("show", "report", "replay"):
        complains(incidents(path, name), 2, "a stored snapshot cannot be read")


def test_records_of_another_version_are_left_out_and_reported(one, path):
    whole = incidents(path, "list").stdout
    one.append(SERVER, KIND, "x", b'{"event": "teapot"}', at(80))
    for arguments in (("list",), ("report",), ("replay",)):
        result = incidents(path, *arguments)
        assert result.returncode == 0
        assert result.stderr == "pgdoctor: 1 record of incidents left out: they are damaged, or of another version\n"
    assert incidents(path, "list").stdout == whole
    complains(incidents(path, "show", "x"), 2, "an incident in the journal cannot be read")


def test_the_journal_of_the_configuration(one, path, tmp_path):
    config = tmp_path / "pgdoctor.toml"
    config.write_text(f'[journal]\npath = "{path}"\n')
    assert ID in pgdoctor("incidents", "list", "--config", str(config)).stdout
    assert ID in pgdoctor("incidents", "list", PGDOCTOR_CONFIG=str(config)).stdout
