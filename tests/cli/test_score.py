"""`pgdoctor mitigate score` on journals of every kind."""

import io
import json
import subprocess
from contextlib import closing, redirect_stderr, redirect_stdout
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest

from pgdoctor.cli import main
from pgdoctor.journal.store import Journal
from pgdoctor.mitigation.rehearsal import KIND, RehearsalScore
from tests.cli.test_bad_input import complains

NOW = datetime.now(UTC).replace(microsecond=0)
SERVER = "7333333333333333333"


def scored(number: int, result: str = "helped", *, days: float = 1, **facts: Any) -> RehearsalScore:
    decided = NOW - timedelta(days=days)
    usual: dict[str, Any] = {
        "rule": "idle",
        "signal": "terminate",
        "classification": "idle_in_transaction",
        "relation": "public.orders",
        "usename": "app",
        "datname": "shop",
        "frees": 4,
        "seconds": 16.0,
        "session_seconds": 64.0,
        "mode": "dry_run",
    }
    return RehearsalScore(
        at=decided + timedelta(seconds=17),
        decision=f"{number}-1-terminate",
        decided_at=decided,
        result=result,  # type: ignore[arg-type]
        **{**usual, **facts},
    )


@pytest.fixture
def config(tmp_path: Path) -> Path:
    file = tmp_path / "pgdoctor.toml"
    file.write_text(f'[journal]\npath = "{tmp_path / "journal.db"}"\n')
    return file


def write(config: Path, *scores: RehearsalScore, server: str = SERVER) -> None:
    with closing(Journal.open(config.parent / "journal.db")) as journal:
        for each in scores:
            journal.append(server, KIND, each.decision, msgspec.json.encode(each), each.at)


def score(config: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the command in this process."""
    out, err = io.StringIO(), io.StringIO()
    with redirect_stdout(out), redirect_stderr(err), pytest.raises(SystemExit) as ended:
        main(["mitigate", "score", "--config", str(config), *arguments])
    return subprocess.CompletedProcess(arguments, ended.value.code, out.getvalue(), err.getvalue())


def test_missing_journal_is_one_line_and_is_not_made(config):
    complains(score(config), 2, "there is no journal at", "journal.db")
    assert not (config.parent / "journal.db").exists()


def test_empty_journal_says_what_fills_it(config):
    write(config)
    result = score(config)
    assert (result.returncode, result.stderr) == (0, "")
    assert result.stdout.startswith("No rehearsed action since ")
    assert "observe and dry_run" in result.stdout


def test_rules_are_summed_up_and_the_most_useful_comes_first(config):
    write(
        config,
        scored(1),
        scored(2, seconds=20.0, session_seconds=36.0),
        scored(3, "needless", seconds=1.0, session_seconds=2.0),
        scored(4, rule="ddl", classification="migration", signal="cancel", session_seconds=900.0),
        scored(5, "refused", rule="ddl", classification="migration", seconds=0.0, session_seconds=0.0),
    )
    report = json.loads(score(config, "--format", "json").stdout)
    assert [each["rule"] for each in report["rules"]] == ["ddl", "idle"]
    idle = report["rules"][1]
    assert (idle["actions"], idle["helped"], idle["needless"]) == (3, 2, 1)
    assert (idle["median_seconds"], idle["longest_seconds"], idle["session_seconds"]) == (18.0, 20.0, 100.0)
    text = score(config).stdout
    assert "Armed, the rules would have sent 5 signals since " in text
    assert "3 actions help and save at least 16 min 40 s of waiting; 2 actions do not." in " ".join(text.split())


@pytest.mark.parametrize(("since", "left"), [("30d", 2), ("36h", 1), ("1s", 0)])
def test_since_leaves_older_actions_out(config, since: str, left: int):
    write(config, scored(1, days=1), scored(2, days=3))
    assert len(json.loads(score(config, "--since", since, "--format", "json").stdout)["rehearsals"]) == left


def test_servers_are_distinguished(config):
    write(config, scored(1))
    write(config, scored(2), server="7444444444444444444")
    found = json.loads(score(config, "--server", SERVER, "--format", "json").stdout)["rehearsals"]
    assert [each["decision"] for each in found] == ["1-1-terminate"]


@pytest.mark.parametrize("since", ["", "d", "5", "-3d", "1e9d", "nan", "9999999d"])
def test_wrong_duration_is_one_line(config, since: str):
    write(config)
    complains(score(config, "--since", since), 2, "--since", "a duration with a unit")


def test_hostile_names_stay_on_their_line(config):
    write(config, scored(1, rule="evil\nrule\x1b[31m", relation="public.\u202egpj\n| drop"))
    lines = score(config).stdout.splitlines()
    assert not any(character in line for line in lines for character in "\x1b\u202e")
    assert len([line for line in lines if "public." in line]) == 1


@pytest.mark.parametrize("wide", [(), ("--wide",)])
def test_one_of_each_speaks_of_one(config, wide: tuple[str, ...]):
    write(config, scored(1))
    said = " ".join(score(config, *wide).stdout.split())
    assert "would have sent 1 signal since" in said
    assert "1 action helps and saves at least 1 min 4 s of waiting." in said
