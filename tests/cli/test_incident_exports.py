"""`pgdoctor incidents export`, `import`, `backup`, and files in place of a server: in and out of a journal."""

import gzip
import html
import io
import json
import shutil
import stat
import subprocess
from contextlib import closing, redirect_stderr, redirect_stdout
from pathlib import Path

import msgspec
import pytest
from msgspec.structs import replace

from pgdoctor.cli import main
from pgdoctor.diagnosis.diagnose import diagnose
from pgdoctor.incidents.incident_log import KIND
from pgdoctor.incidents.snapshot_archive import pack_diagnosis
from pgdoctor.journal.store import Journal
from pgdoctor.mitigation import audit_records
from pgdoctor.mitigation.rehearsal import KIND as REHEARSAL
from tests.cli.test_bad_input import complains
from tests.cli.test_incidents import ID, SERVER, act, at, blocked, course, incidents, write
from tests.cli.test_score import scored


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A journal with an incident, three snapshots, and an action."""
    path = tmp_path / "journal.db"
    with closing(Journal.open(path)) as journal:
        write(journal, *course())
        for seconds in (1, 30, 61):
            seen = blocked(seconds)
            holder = replace(seen.sessions[10], statement="update orders set v = 'zq7secret'")
            seen = replace(seen, sessions=seen.sessions | {10: holder})
            journal.keep(SERVER, ID, pack_diagnosis(diagnose(seen)), at(seconds))
        act(journal, "enforce")
    return path


@pytest.fixture
def exported(path: Path) -> Path:
    file = path.with_name("one.json.gz")
    done = incidents(path, "export", "--out", str(file))
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == f"{file}: incident {ID}, 3 snapshots, {file.stat().st_size / 1024:,.0f} kB\n"
    return file


def run(*arguments: str) -> "subprocess.CompletedProcess[str]":
    out, err = io.StringIO(), io.StringIO()
    with redirect_stdout(out), redirect_stderr(err), pytest.raises(SystemExit) as ended:
        main(list(arguments))
    return subprocess.CompletedProcess(arguments, ended.value.code, out.getvalue(), err.getvalue())


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_an_export_has_no_literal_and_is_its_owners_alone(exported: Path) -> None:
    assert mode(exported) == 0o600
    content = gzip.decompress(exported.read_bytes())
    assert b"update orders set v = " in content
    assert b"zq7secret" not in content


def test_an_imported_incident_is_shown_and_reported_as_at_home(path: Path, exported: Path, tmp_path: Path) -> None:
    other = tmp_path / "laptop" / "journal.db"
    done = incidents(other, "import", str(exported))
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(f"{ID}: 3 snapshots, written ")
    assert mode(other) == 0o600
    for arguments in (("show", ID), ("report",), ("list",), ("replay", "--format", "json")):
        assert incidents(other, *arguments).stdout == incidents(path, *arguments).stdout


def test_a_second_import_takes_the_place_of_the_first(path: Path, exported: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.db"
    for words in ("; pgdoctor", ", in place of an earlier import"):
        assert words in incidents(other, "import", str(exported)).stdout
    assert incidents(other, "show").stdout == incidents(path, "show").stdout


def test_an_incident_is_not_imported_where_it_was_recorded(path: Path, exported: Path) -> None:
    before = incidents(path, "show").stdout
    assert "an agent recorded it" in incidents(path, "import", str(exported)).stdout
    assert incidents(path, "show").stdout == before


def test_imported_deeds_are_nothing_that_a_guard_reads(exported: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.db"
    incidents(other, "import", str(exported))
    with closing(Journal.open(other)) as journal:
        assert journal.fetch_records(SERVER) == []
        kinds = {each.kind for each in journal.fetch_records()}
        assert not kinds.intersection(audit_records.KINDS)
        assert KIND in kinds
        # As of an import of an import.
        again = tmp_path / "again.json.gz"
    assert incidents(other, "export", "--out", str(again)).returncode == 0
    third = tmp_path / "third.db"
    incidents(third, "import", str(again))
    assert incidents(third, "report").stdout == incidents(other, "report").stdout


def test_score_counts_imported_actions(path: Path, exported: Path, tmp_path: Path) -> None:
    helped = scored(1, seconds=45.0, session_seconds=2475.0, frees=55)
    helped = replace(helped, decided_at=at(16), at=at(62))
    with closing(Journal.open(path)) as journal:
        journal.append(SERVER, REHEARSAL, helped.decision, msgspec.json.encode(helped), helped.at)
    assert incidents(path, "export", "--out", str(exported), "--force").returncode == 0
    other = tmp_path / "other.db"
    assert incidents(other, "import", str(exported)).returncode == 0
    config = tmp_path / "other.toml"
    config.write_text(f'[journal]\npath = "{other}"\n')
    for server in ((), ("--server", SERVER)):
        found = run("mitigate", "score", "--config", str(config), "--format", "json", *server)
        report = json.loads(found.stdout)
        assert [(each["rule"], each["helped"], each["session_seconds"]) for each in report["rules"]] == [
            ("idle", 1, 2475.0)
        ]
        assert (report["imported"], report["unscored"]) == (1, 0)
    others = run("mitigate", "score", "--config", str(config), "--server", "1")
    assert "No rehearsed action" in others.stdout


@pytest.mark.parametrize(
    ("results", "said"),
    [
        ((), "No rule would have sent a signal, as far as it was recorded."),
        (("helped",), "Armed, it would have ended this after 16 s and saved at least 41 min 15 s of session time."),
        (("needless",), "Armed, it would have sent 1 signal, the first after 16 s: none helps."),
        (
            ("helped", "refused"),
            "it would have acted after 16 s and saved at least 41 min 15 s of session time: 1 of 2 signals helps.",
        ),
    ],
    ids=["nothing", "helped", "needless", "both"],
)
def test_report_says_what_armed_rules_would_have_come_to(tmp_path: Path, results: tuple[str, ...], said: str) -> None:
    path = tmp_path / "journal.db"
    with closing(Journal.open(path)) as journal:
        write(journal, *course())
        for number, result in enumerate(results):
            found = scored(number, result, seconds=45.0, session_seconds=2475.0)
            found = replace(found, decided_at=at(16 + number), at=at(62))
            journal.append(SERVER, REHEARSAL, found.decision, msgspec.json.encode(found), found.at)
    for form in ("markdown", "html", "json"):
        assert said in html.unescape(incidents(path, "report", "--format", form).stdout)


def test_report_on_an_incident_with_a_signal_says_nothing_of_armed_rules(path: Path) -> None:
    assert json.loads(incidents(path, "report", "--format", "json").stdout)["armed"] is None


def test_a_file_that_is_there_is_replaced_only_by_force(path: Path, exported: Path, tmp_path: Path) -> None:
    before = exported.read_bytes()
    complains(incidents(path, "export", "--out", str(exported)), 2, "is there already", "--force")
    complains(incidents(path, "backup", str(exported)), 2, "is there already")
    assert exported.read_bytes() == before
    assert incidents(path, "export", "--out", str(exported), "--force").returncode == 0
    complains(incidents(path, "backup", str(path), "--force"), 2, "is the journal itself")
    complains(incidents(path, "export", "--out", str(tmp_path / "none" / "x.gz")), 2, "cannot be written")
    complains(incidents(path, "export", "--out", "/dev/full"), 2, "is there already")
    assert not list(tmp_path.glob(".*"))


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"", "is empty"),
        (b"hello", "is not an export"),
        (b"\x1f\x8bhello", "is damaged"),
        (gzip.compress(b"hello", mtime=0), "not an export"),
    ],
    ids=["empty", "text", "damaged", "foreign"],
)
def test_a_bad_file_is_one_line(tmp_path: Path, body: bytes, words: str) -> None:
    file = tmp_path / "bad"
    file.write_bytes(body)
    for arguments in (("incidents", "import"), ("diagnose", "--from"), ("watch", "--from")):
        complains(run(*arguments, str(file)), 2, "bad ", words)
        complains(run(*arguments, str(tmp_path / "none")), 2, "none cannot be read")
        complains(run(*arguments, str(tmp_path)), 2, "cannot be read: Is a directory")


def test_a_journal_in_place_of_a_file_is_named(path: Path) -> None:
    complains(run("diagnose", "--from", str(path)), 2, "is a journal", "--journal FILE")


def test_diagnose_from_a_file_needs_no_server(exported: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PGDOCTOR_DSN", "host=127.0.0.1 port=1")
    tree = run("diagnose", "--from", str(exported), "--format", "tree")
    assert tree.returncode == 0, tree.stderr
    assert tree.stdout.startswith(f"Incident {ID}, snapshot 3 of 3, of {at(61):%Y-%m-%d %H:%M:%S} UTC\n\n2 sessions ")
    assert "10 idle_in_transaction  public.orders  2 blocked" in tree.stdout
    assert "# 2 sessions blocked" in run("diagnose", "--from", str(exported), "--format", "markdown").stdout
    found = json.loads(run("diagnose", "--from", str(exported), "--format", "json").stdout)
    assert (found["waits_total"], found["blockers"][0]["class"]) == (2, "idle_in_transaction")
    assert run("diagnose", "--from", str(exported), "--exit-code").returncode == 1
    for form in ("tree", "table", "json", "markdown"):
        assert "pg_terminate_backend" not in run("diagnose", "--from", str(exported), "--format", form).stdout
    complains(run("diagnose", "--from", str(exported), "--incident", "x"), 2, "no incident 'x'", ID)
    complains(run("diagnose", "--incident", "x"), 2, "--incident needs --from")


def test_a_backup_is_whole_and_one_file(path: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy.db"
    with closing(Journal.open(path)) as writing:
        writing.begin_writing()
        writing.append(SERVER, "x", "late", b"{}", at(99))
        done = incidents(path, "backup", str(copy))
        assert done.returncode == 0, done.stderr
        assert [each.name for each in tmp_path.glob("copy.db*")] == ["copy.db"]
    assert mode(copy) == 0o600
    assert incidents(copy, "show").stdout == incidents(path, "show").stdout
    assert incidents(copy, "list").stderr == ""
    with closing(Journal.open(copy)) as journal:
        assert journal.fetch_records(subject="late")


def test_a_copy_of_a_new_journal_does_not_look_empty(tmp_path: Path) -> None:
    path, copy = tmp_path / "journal.db", tmp_path / "copy.db"
    with closing(Journal.open(path)) as writing:
        shutil.copy(path, copy)
        complains(incidents(copy, "list"), 2, "has no tables", "copy.db-wal", "incidents backup")
        writing.begin_writing()
        write(writing, *course())
        shutil.copy(path, copy)
        found = incidents(copy, "list")
        assert found.returncode == 0
        assert "copy.db is a copy of a journal that was being written, without copy.db-wal" in found.stderr
        writing.checkpoint()
        copy.unlink()
        shutil.copy(path, copy)
        assert ID in incidents(copy, "list").stdout
        writing.end_writing()
        shutil.copy(path, copy)
        assert incidents(copy, "list").stderr == ""


def test_a_copy_with_its_log_is_whole(tmp_path: Path) -> None:
    path, copy = tmp_path / "journal.db", tmp_path / "copy.db"
    with closing(Journal.open(path)) as writing:
        writing.begin_writing()
        write(writing, *course())
        shutil.copy(path, copy)
        shutil.copy(path.with_name("journal.db-wal"), copy.with_name("copy.db-wal"))
    for _ in range(2):
        found = incidents(copy, "list")
        assert ID in found.stdout
        assert found.stderr == ""
    assert incidents(path, "list").stderr == ""
