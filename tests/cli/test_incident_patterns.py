"""`pgdoctor incidents patterns` and the table of `incidents replay`, on journals made by hand."""

import json
from datetime import timedelta
from pathlib import Path

import msgspec
import pytest
from msgspec.structs import replace

from pgdoctor.diagnosis.diagnose import diagnose
from pgdoctor.incidents.incident import Incident, IncidentEvent
from pgdoctor.incidents.incident_log import IncidentRecord, encode_entry
from pgdoctor.incidents.snapshot_archive import pack_diagnosis
from pgdoctor.journal.store import Journal
from pgdoctor.mitigation.rehearsal import KIND, RehearsalScore
from tests.cli.test_bad_input import complains
from tests.cli.test_incidents import BEGAN, ID, RULES, SERVER, at, blocked, course, incidents, journal, one, path, write

__all__ = ["journal", "one", "path"]

HOSTILE = "a|b\x1b[31m\n# x\u202e`c`"


def record(identifier: str, *, days: float = 0.0, blocked_seconds: float = 60.0, **facts: object) -> IncidentRecord:
    """The end of an incident of a minute."""
    began = BEGAN - timedelta(days=days)
    incident = Incident(identifier, began, ("idle_in_transaction",), 2, 61.0, blocked_seconds=blocked_seconds)
    known = {"relation": "public.orders", "server": "shop", "database": "shop", **facts}
    return encode_entry(IncidentEvent("ended", incident, began + timedelta(seconds=90)), 0, **known)


def keep(journal: Journal, identifier: str, *seconds: float, **facts: str) -> None:
    for each in seconds:
        journal.keep(SERVER, identifier, pack_diagnosis(diagnose(blocked(each, **facts))), at(each))


@pytest.fixture
def several(journal: Journal) -> Journal:
    """Three incidents by the same session's kind, and one by another table's."""
    for number in (1, 2, 3):
        write(journal, record(f"{number:018}", days=number))
        keep(journal, f"{number:018}", 61)
    write(journal, record(f"{4:018}", blocked_seconds=600.0, relation="public.stock"))
    keep(journal, f"{4:018}", 61, relation="public.stock")
    return journal


def test_most_blocked_time_comes_first(several: Journal, path: Path) -> None:
    report = json.loads(incidents(path, "patterns", "--format", "json").stdout)
    assert (report["incidents"], report["patterns_total"], report["blocked_seconds"]) == (4, 2, 780.0)
    first, second = report["patterns"]
    assert (first["relation"], first["incidents"], first["blocked_seconds"]) == ("public.stock", 1, 600.0)
    assert (second["relation"], second["incidents"], second["blocked_seconds"]) == ("public.orders", 3, 180.0)
    assert (second["class"], second["application"]) == ("idle_in_transaction", "reporting")
    assert second["statement"] == "update orders set v = ?"
    assert "idle_in_transaction_session_timeout" in second["prevention"]
    assert second["last_incident"] == f"{1:018}"


def test_patterns_as_text(several: Journal, path: Path) -> None:
    told = incidents(path, "patterns")
    assert (told.returncode, told.stderr) == (0, "")
    assert told.stdout.startswith("2 patterns in 4 incidents since ")
    assert "1. shop: idle_in_transaction on public.stock" in told.stdout
    assert "10 min 0 s (77% of all), 1 incident, at most 2 sessions at once" in told.stdout
    assert 'blocker "reporting", update orders set v = ?' in " ".join(told.stdout.split())


def test_limit_and_since_leave_patterns_out(several: Journal, path: Path) -> None:
    told = incidents(path, "patterns", "--limit", "1").stdout
    assert "And 1 pattern more" in told
    assert "public.orders" not in told
    recent = json.loads(incidents(path, "patterns", "--since", "12h", "--format", "json").stdout)
    assert [each["relation"] for each in recent["patterns"]] == ["public.stock"]
    complains(incidents(path, "patterns", "--since", "5"), 2, "--since", "unit")


def test_no_pattern_in_an_empty_journal(journal: Journal, path: Path) -> None:
    assert incidents(path, "patterns").stdout.startswith("0 patterns in 0 incidents since ")


def test_hostile_names_in_patterns_stay_on_their_line(journal: Journal, path: Path) -> None:
    write(journal, record(ID, relation=f"public.{HOSTILE}"))
    keep(journal, ID, 61, application=HOSTILE, relation=f"public.{HOSTILE}")
    told = incidents(path, "patterns").stdout
    assert not any(character in told for character in "\x1b\u202e")
    assert not [line for line in told.splitlines() if line.startswith("# x")]
    assert json.loads(incidents(path, "patterns", "--format", "json").stdout)["patterns"]


# The table of a replay


@pytest.fixture
def rules(tmp_path: Path) -> tuple[str, str]:
    """Rules that act early, and rules that act late."""
    for name, wait in (("eager", "15s"), ("patient", "50s")):
        (tmp_path / f"{name}.toml").write_text(RULES.format(wait))
    return str(tmp_path / "eager.toml"), str(tmp_path / "patient.toml")


@pytest.fixture
def watched(journal: Journal) -> Journal:
    """An incident with snapshots after 1, 20, 40 and 61 seconds."""
    write(journal, *course())
    keep(journal, ID, 1, 20, 40, 61)
    return journal


def test_two_sets_of_rules_are_compared(watched: Journal, path: Path, rules: tuple[str, str]) -> None:
    arguments = ("replay", "--all", "--config", rules[0], "--against", rules[1])
    found = json.loads(incidents(path, *arguments, "--format", "json").stdout)
    [incident] = found["incidents"]
    eager, patient = incident["outcomes"]
    assert (eager["rules"], eager["seconds_to_act"]) == ("eager.toml", 20.0)
    # Two sessions wait behind the idle one.
    assert eager["session_seconds"] == (61 - 20) * 2
    assert (patient["rules"], patient["seconds_to_act"], patient["session_seconds"]) == ("patient.toml", 61.0, 0.0)
    assert [each["result"] for each in patient["actions"]] == ["unknown"]
    assert [each["acted"] for each in found["totals"]] == [1, 1]
    text = incidents(path, *arguments)
    assert text.returncode == 0
    assert "eager.toml would act in 1 of 1 incident, after 20 s in the median" in " ".join(text.stdout.split())
    assert len([line for line in text.stdout.splitlines() if line.startswith(ID)]) == 2


def test_table_of_one_set_of_rules(watched: Journal, path: Path, rules: tuple[str, str]) -> None:
    told = incidents(path, "replay", "--all", "--config", rules[0]).stdout
    [row] = [line for line in told.splitlines() if line.startswith(ID)]
    assert "after 20 s" in row
    assert "1 min 22 s" in row
    assert told == incidents(path, "replay", "--summary", "--config", rules[0]).stdout


def test_table_is_the_same_to_the_byte(several: Journal, path: Path, rules: tuple[str, str]) -> None:
    arguments = ("replay", "--all", "--config", rules[0], "--against", rules[1])
    for form in ("text", "json"):
        assert len({incidents(path, *arguments, "--format", form).stdout for _ in range(3)}) == 1


def test_json_of_all_snapshots_stays_a_list(watched: Journal, path: Path, rules: tuple[str, str]) -> None:
    found = json.loads(incidents(path, "replay", "--all", "--config", rules[0], "--format", "json").stdout)
    assert [each["incident"] for each in found] == [ID] * 4


def test_comparison_needs_rules(watched: Journal, path: Path, rules: tuple[str, str]) -> None:
    complains(incidents(path, "replay", "--against", rules[1]), 2, "--against needs rules")
    complains(incidents(path, "replay", "--summary"), 2, "--summary needs rules")


def test_files_of_the_same_name_keep_their_paths(watched: Journal, path: Path, tmp_path: Path) -> None:
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "rules.toml").write_text(RULES.format("15s"))
    sets = [str(tmp_path / folder / "rules.toml") for folder in ("a", "b")]
    arguments = ("--all", "--config", sets[0], "--against", sets[1], "--format", "json")
    found = json.loads(incidents(path, "replay", *arguments).stdout)
    assert [each["rules"] for each in found["totals"]] == sets


# The line of a rehearsal in the story


def test_story_says_what_armed_rules_would_have_done(one: Journal, path: Path) -> None:
    score = RehearsalScore(
        at=at(80), decision="10-1-terminate", decided_at=at(16), mode="dry_run", rule="idle", signal="terminate",
        classification="idle_in_transaction", relation="public.orders", usename="app", datname="shop", frees=2,
        result="helped", seconds=64.0, session_seconds=2460.0,
    )  # fmt: skip
    for each in (score, replace(score, decision="11-1-terminate", decided_at=at(-9_000))):
        one.append(SERVER, KIND, each.decision, msgspec.json.encode(each), at(80))
    said = "its waiters released 1 min 4 s earlier, and at least 41 min 0 s of waiting saved"
    for name in ("show", "report"):
        told = " ".join(incidents(path, name).stdout.split())
        assert said in told
        assert told.count("rule idle would have sent terminate") == told.count(said)
