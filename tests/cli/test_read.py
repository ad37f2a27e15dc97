"""`pgdoctor read`: what is printed, what is left out, and each error in one line."""

import bz2
import gzip
import json
import lzma
import random
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from pgdoctor.cli import cli
from pgdoctor.errors import UsageError
from tests.fuzz.trial import SECRET, UNSAFE

#: As PostgreSQL 18 writes it: a truncate inside of a function waits for a reader, and an insert behind it.
LOG = f"""\
2026-11-30 03:17:38.000 UTC [2331] app@shop/report LOG:  duration: 0.512 ms  statement: select '{SECRET}' from metric
2026-11-30 03:17:39.505 UTC [2333] postgres@shop/ui LOG:  process 2333 still waiting for AccessExclusiveLock on relation 16389 of database 16387 after 1001.192 ms
2026-11-30 03:17:39.505 UTC [2333] postgres@shop/ui DETAIL:  Process holding the lock: 2331. Wait queue: 2333, 2336.
2026-11-30 03:17:39.505 UTC [2333] postgres@shop/ui CONTEXT:  SQL statement "truncate metric /* {SECRET} */"
\tPL/pgSQL function history() line 1 at EXECUTE
2026-11-30 03:17:39.505 UTC [2333] postgres@shop/ui STATEMENT:  select * from history('{SECRET}')
2026-11-30 03:17:39.624 UTC [2336] app@shop/load LOG:  process 2336 still waiting for RowExclusiveLock on relation 16389 of database 16387 after 1000.086 ms at character 13
2026-11-30 03:17:39.624 UTC [2336] app@shop/load DETAIL:  Process holding the lock: 2331. Wait queue: 2333, 2336.
2026-11-30 03:17:39.624 UTC [2336] app@shop/load STATEMENT:  insert into metric values ('{SECRET}')
2026-11-30 03:17:41.400 UTC [2331] app@shop/report LOG:  duration: 0.100 ms  statement: commit
2026-11-30 03:17:41.436 UTC [2333] postgres@shop/ui LOG:  process 2333 acquired AccessExclusiveLock on relation 16389 of database 16387 after 2931.988 ms
2026-11-30 03:17:41.436 UTC [2333] postgres@shop/ui STATEMENT:  select * from history('{SECRET}')
2026-11-30 03:17:41.438 UTC [2336] app@shop/load LOG:  process 2336 acquired RowExclusiveLock on relation 16389 of database 16387 after 2812.525 ms at character 13
2026-11-30 03:17:41.438 UTC [2336] app@shop/load STATEMENT:  insert into metric values ('{SECRET}')
2026-11-30 03:18:43.539 UTC [2427] app@shop/transfer LOG:  process 2427 detected deadlock while waiting for ShareLock on transaction 739 after 1000.094 ms
2026-11-30 03:18:43.539 UTC [2427] app@shop/transfer DETAIL:  Process holding the lock: 2429. Wait queue: .
2026-11-30 03:18:43.539 UTC [2427] app@shop/transfer CONTEXT:  while updating tuple (0,2) in relation "acc"
2026-11-30 03:18:43.539 UTC [2427] app@shop/transfer STATEMENT:  update acc set v = '{SECRET}' where id = 2
2026-11-30 03:18:43.539 UTC [2427] app@shop/transfer ERROR:  deadlock detected
2026-11-30 03:18:43.539 UTC [2427] app@shop/transfer DETAIL:  Process 2427 waits for ShareLock on transaction 739; blocked by process 2429.
\tProcess 2429 waits for ShareLock on transaction 738; blocked by process 2427.
\tProcess 2427: update acc set v = '{SECRET}' where id = 2
\tProcess 2429: update acc set v = 1
\t where id = 1
2026-11-30 03:18:43.539 UTC [2427] app@shop/transfer HINT:  See server log for query details.
2026-11-30 03:18:43.539 UTC [2427] app@shop/transfer CONTEXT:  while updating tuple (0,2) in relation "acc"
2026-11-30 03:18:43.539 UTC [2427] app@shop/transfer STATEMENT:  update acc set v = '{SECRET}' where id = 2
2026-11-30 03:18:44.000 UTC [99] LOG:  checkpoint starting: time
"""  # noqa: E501


def read(*arguments: str | Path, given: bytes | None = None) -> str:
    result = CliRunner().invoke(cli, ["read", *map(str, arguments)], input=given, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.stdout


def read_json(*arguments: str | Path, given: bytes | None = None) -> dict[str, Any]:
    return json.loads(read(*arguments, "--format", "json", given=given))


@pytest.fixture
def log(tmp_path: Path) -> Path:
    file = tmp_path / "postgresql.log"
    file.write_text(LOG)
    return file


def test_text_shows_waits_with_blocker_and_duration(log: Path) -> None:
    said = read(log)
    assert "2 incidents, 3 waits, 6.7 s of session time lost, 1 deadlock." in said
    assert "2331 idle_in_transaction  metric  2 blocked" in said
    assert "2333 has waited 1.1 s for AccessExclusiveLock on metric, blocks 1 itself (migration)" in said
    assert "2336 has waited 1.0 s for RowExclusiveLock on metric, queued behind" in said
    assert "select * from history(?) → history(): truncate metric" in said
    assert "2429, waited for ShareLock on transaction 738, held by 2427: update acc set v = ? where id = ?" in said


def test_json_has_the_queue_and_exact_lengths(log: Path) -> None:
    report = read_json(log)
    first, second = report["incidents"]
    assert (first["class"], first["classes"]) == ("idle_in_transaction", ["idle_in_transaction", "migration"])
    assert (first["peak_blocked"], first["longest_wait_seconds"], first["session_seconds"]) == (2, 2.932, 5.745)
    assert first["outcomes"] == {"acquired": 2}
    assert [(each["blocked_pid"], each["blocking_pid"], each["queued"]) for each in first["waits"]] == [
        (2333, 2331, False),
        (2336, 2333, True),
    ]
    assert second["deadlocks"][0]["victim"] == 2427
    assert [each["pid"] for each in second["deadlocks"][0]["members"]] == [2427, 2429]
    assert report["source"]["prefixes"] == ["%m [%p] %q%u@%d/%a "]
    assert report["source"]["last"].startswith("2026-11-30T03:18:44.000")


@pytest.mark.parametrize("form", ["text", "markdown", "html", "json"])
def test_no_literal_leaves_unless_asked_for(log: Path, form: str) -> None:
    assert SECRET not in read(log, "--format", form)
    assert SECRET in read(log, "--format", form, "--show-literals")


@pytest.mark.parametrize("pack", [gzip.compress, bz2.compress, lzma.compress])
def test_compressed_log_says_the_same(log: Path, pack: Any) -> None:
    packed = log.with_name("postgresql.log.1")
    packed.write_bytes(pack(LOG.encode()))
    assert read_json(packed)["incidents"] == read_json(log)["incidents"]


def test_log_that_is_compressed_with_zstd_says_the_same(log: Path) -> None:
    zstd = pytest.importorskip("backports.zstd")
    packed = log.with_name("postgresql.log.zst")
    packed.write_bytes(zstd.compress(LOG.encode()))
    assert read_json(packed)["incidents"] == read_json(log)["incidents"]


def test_missing_zstd_is_said_in_one_line(log: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    packed = log.with_name("postgresql.log.zst")
    packed.write_bytes(b"\x28\xb5\x2f\xfd" + bytes(9))
    for name in ("backports", "backports.zstd", "compression"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(UsageError, match=r"compressed with zstd: pip install 'pgdoctor\[zstd\]'"):
        read(packed)


def test_standard_input_is_read(log: Path) -> None:
    assert read_json("-", given=LOG.encode())["incidents"] == read_json(log)["incidents"]
    assert read_json("-", given=gzip.compress(LOG.encode()))["incidents"] == read_json(log)["incidents"]


def test_log_through_a_pipe_is_read(log: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "pgdoctor", "read", "-", "--format", "json"],
        input=LOG.encode(),
        capture_output=True,
        check=True,
    )
    assert json.loads(done.stdout)["incidents"] == read_json(log)["incidents"]


def test_rotated_set_is_one_log_in_the_order_of_its_times(log: Path) -> None:
    """The wait begins in one file and ends in the next."""
    lines = LOG.splitlines(keepends=True)
    parts = ["".join(lines[:9]), "".join(lines[9:])]
    names = [log.with_name("postgresql.log.2.gz"), log.with_name("postgresql.log.1")]
    names[0].write_bytes(gzip.compress(parts[0].encode()))
    names[1].write_text(parts[1])
    whole = read_json(log)["incidents"]
    assert read_json(*names)["incidents"] == whole
    assert read_json(*reversed(names))["incidents"] == whole


def test_file_that_the_server_writes_twice_is_read_once(log: Path) -> None:
    twin = log.with_suffix(".csv")
    twin.write_text("")
    assert "postgresql.log is left out: postgresql.csv has the same entries" in read(log, twin)


def test_damaged_archive_is_read_as_far_as_it_goes(log: Path) -> None:
    packed = log.with_name("postgresql.log.gz")
    filler = "".join(
        f"2026-11-30 03:19:00.000 UTC [7] LOG:  checkpoint {random.Random(n).random()}\n" for n in range(40_000)
    )
    whole = gzip.compress((LOG + filler).encode())
    packed.write_bytes(whole[: len(whole) // 2])
    said = read(packed)
    assert "2 incidents, 3 waits" in said
    assert "postgresql.log.gz is damaged or cut off" in said


def test_log_without_waits_says_what_to_switch_on(tmp_path: Path) -> None:
    quiet = tmp_path / "quiet.log"
    quiet.write_text("2026-11-30 03:18:44.000 UTC [99] LOG:  checkpoint starting: time\n")
    said = read(quiet)
    assert "No session waited for a lock, as far as the log shows." in said
    assert "log_lock_waits = on" in said


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (
            "2026-11-30 03:17:39.505 CET [1] LOG:  Prozess 1 wartet immer noch auf ShareLock-Sperre auf Transaktion 7\n"
            "2026-11-30 03:17:39.505 CET [1] ANWEISUNG:  select 1\n"
            "2026-11-30 03:17:39.505 CET [1] FEHLER:  Verklemmung entdeckt\n",
            "its messages are in German",
        ),
        (
            "2026-11-30 03:17:39.505 MSK [1] СООБЩЕНИЕ:  процесс 1 продолжает ожидать\n"
            "2026-11-30 03:17:39.505 MSK [1] LOG:  x\n"
            "2026-11-30 03:17:39.505 MSK [1] ОПЕРАТОР:  select 1\n",
            "its messages are in Russian",
        ),
        ("127.0.0.1 - - [30/Nov/2026:03:17:39 +0000] GET /\n", "neither a log with times"),
        ("LOG:  checkpoint starting\n", "neither a log with times"),
    ],
)
def test_unreadable_file_is_refused_in_one_line(tmp_path: Path, text: str, says: str) -> None:
    file = tmp_path / "odd.log"
    file.write_text(text)
    with pytest.raises(UsageError, match=says) as refused:
        read(file)
    assert str(refused.value).startswith("odd.log: ")
    assert "\n" not in str(refused.value)


def test_markdown_has_incident_tree_and_deadlock(log: Path) -> None:
    said = read(log, "--format", "markdown")
    assert said.startswith("# 2 incidents, 3 waits, 6.7 s of session time lost, 1 deadlock\n")
    assert "## 20261130T031738503: idle_in_transaction (also migration) on `metric`" in said
    assert '- **2331 idle_in_transaction** on `metric`, `app@shop "report"`: 2 blocked' in said
    assert "- 2427, the victim, waited for ShareLock on transaction 739, held by 2429: update acc set v = ?" in said


def test_page_is_one_file_and_names_are_text_in_it(log: Path) -> None:
    log.write_text(LOG.replace("@shop/load", "@shop/<script>alert(1)</script>"))
    page = read(log, "--format", "html")
    assert page.startswith("<!doctype html>")
    assert page.count("<section") == page.count("</section>") == 3
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page
    assert not re.search(r"<script|src=|url\(|http", page)


def test_only_the_worst_are_shown_in_full(log: Path) -> None:
    assert read(log, "--top", "1").count("── 2026") == 1
    assert read(log, "--top", "0").count("── 2026") == 0
    assert len(read_json(log, "--top", "1")["incidents"]) == 2


def test_missing_file_and_directory_are_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"cannot read gone.log: No such file or directory"):
        read(tmp_path / "gone.log")
    with pytest.raises(UsageError, match=r"Is a directory"):
        read(tmp_path)


def test_hostile_names_move_no_terminal(tmp_path: Path) -> None:
    file = tmp_path / "hostile.log"
    file.write_text(LOG.replace("app@shop/load", "a\x1b[2J\u202e@shop/l\x07d").replace("metric", "me\x1b]0;x\x07tric"))
    for form in ("text", "markdown", "html", "json"):
        assert not UNSAFE.search(read(file, "--format", form).replace("\n", ""))


def test_period_leaves_out_what_is_before_and_behind(log: Path) -> None:
    since = read_json(log, "--since", "2026-11-30 03:18")
    assert [each["deadlocks_total"] for each in since["incidents"]] == [1]
    assert since["source"]["first"].startswith("2026-11-30T03:18:00")
    until = read_json(log, "--until", "2026-11-30T04:18:00+01:00")
    assert [each["deadlocks_total"] for each in until["incidents"]] == [0]
    both = read_json(log, "--since", "2026-11-30 03:17:40", "--until", "2026-11-30 03:18 UTC")
    # Waits that end in it count whole, though the log says earlier that they go on.
    assert [each["outcomes"] for each in both["incidents"]] == [{"acquired": 2}]


@pytest.mark.parametrize("option", ["--since", "--until"])
def test_wrong_time_is_refused_in_one_line(log: Path, option: str) -> None:
    with pytest.raises(UsageError, match=f"{option} 'tomorrow': a time such as"):
        read(log, option, "tomorrow")


def in_cloud(kind: str) -> str:
    """The log as a cloud exports it."""
    texts = [line.replace("\v", "\n\t") for line in LOG.strip().replace("\n\t", "\v").split("\n")]
    match kind:
        case "cloud logging":
            return json.dumps([{"textPayload": each, "severity": "INFO"} for each in reversed(texts)], indent=2)
        case "cloud logging, lines":
            return "\n".join(json.dumps({"insertId": "1", "textPayload": each}) for each in texts)
        case "cloudwatch":
            return json.dumps({"events": [{"timestamp": 1, "message": each} for each in texts], "nextToken": "x"})
        case "rds":
            return json.dumps({"LogFileData": LOG, "Marker": "0", "AdditionalDataPending": False})
        case "azure":
            return json.dumps({"records": [{"properties": {"message": each, "processId": 1}} for each in texts]})
        case _:
            return "\n".join(json.dumps({"log": f"{each}\n", "stream": "stderr"}) for each in texts)


@pytest.mark.parametrize("kind", ["cloud logging", "cloud logging, lines", "cloudwatch", "rds", "azure", "docker"])
def test_export_of_a_cloud_says_what_the_log_says(log: Path, kind: str) -> None:
    export = log.with_name("export.json")
    export.write_text(in_cloud(kind))
    whole, found = (read_json(file) for file in (log, export))
    assert found["incidents"] == whole["incidents"]


@pytest.mark.parametrize(
    "text",
    [
        '{"timestamp":"2026-11-30T03:17:39.505Z","level":"info","message":"deadlock detected","pid":12}\n',
        '[{"textPayload": "GET / HTTP/1.1"}]',
        '{"t":{"$date":"2026-11-30T03:17:39.505+00:00"},"s":"I","c":"NETWORK","msg":"Connection accepted"}\n',
        "2026-11-30T03:17:39.505123Z 8 [Note] [MY-012468] [InnoDB] Transactions deadlock detected\n",
    ],
    ids=["app", "web", "mongodb", "mysql"],
)
def test_log_of_another_product_is_refused(tmp_path: Path, text: str) -> None:
    file = tmp_path / "other.log"
    file.write_text(text * 3 if text.endswith("\n") else text)
    with pytest.raises(UsageError, match="neither a log with times"):
        read(file)
