"""Files of tools that hold the way back: it is not run, and so not judged."""

import json
from pathlib import Path

import pytest

from pgdoctor.preflight.migration_file import read_migration
from tests.forked import pgdoctor

UP = "alter table t add x int;"
DOWN = "alter table t alter x type bigint;"
ONE_BY_ONE = "create index concurrently on t (x);"


@pytest.mark.parametrize(
    ("tool", "text", "has_transaction"),
    [
        ("dbmate", f"-- migrate:up\n{UP}\n\n-- migrate:down\n{DOWN}\n", True),
        ("dbmate", f"-- migrate:up transaction:false\n{ONE_BY_ONE}\n-- migrate:down\n{DOWN}", False),
        ("goose", f"-- +goose Up\n{UP}\n-- +goose Down\n{DOWN}\n", True),
        ("goose", f"-- +goose NO TRANSACTION\n-- +goose Up\n{ONE_BY_ONE}\n-- +goose Down\n{DOWN}", False),
        ("goose", f"-- +goose Down\n{DOWN}\n-- +goose Up\n{UP}", True),
        ("sql-migrate", f"-- +migrate Up notransaction\n{ONE_BY_ONE}\n-- +migrate Down\n{DOWN}", False),
        ("goose", f"--+goose up\r\n{UP}\r\n", True),
    ],
)
def test_way_back_is_left_out(tool: str, text: str, has_transaction: bool, tmp_path: Path) -> None:
    found = read_migration(text)
    assert (found.tool, found.has_transaction) == (tool, has_transaction)
    assert DOWN not in found.text
    assert found.text.count("\n") == text.count("\n")
    file = tmp_path / "1.sql"
    file.write_bytes(text.encode())
    report = json.loads(pgdoctor("preflight", "--offline", str(file), "--format", "json").stdout)
    [statement] = report["statements"]
    assert statement["line"] == text[: text.index(UP if UP in text else ONE_BY_ONE)].count("\n") + 1
    assert statement["verdict"] in ("brief", "dangerous", "harmless")
    assert any(tool in note for note in report["notes"])


def test_transaction_of_the_tool_is_known(tmp_path: Path) -> None:
    file = tmp_path / "1.sql"
    file.write_text(f"-- migrate:up\n{UP}\n{ONE_BY_ONE}\n-- migrate:down\n")
    report = json.loads(pgdoctor("preflight", "--offline", str(file), "--format", "json").stdout)
    assert [each["verdict"] for each in report["statements"]] == ["brief", "fails"]


def test_other_files_stay_as_they_are() -> None:
    text = f"{UP}\n-- migrate: down the road\n{DOWN}"
    assert read_migration(text) == (text, "", False, 0)
