"""What the commands say of an incident in another database than the one that they connect to."""

import json

import pytest
from click.testing import CliRunner

from pgdoctor.cli import cli
from tests.postgres.test_other_databases import Elsewhere
from tests.scenes import Scene


@pytest.fixture
def billing(scene: Scene) -> Elsewhere:
    found = Elsewhere(scene)
    found.incident()
    return found


def run(*words: str, **environment: str) -> str:
    result = CliRunner().invoke(cli, words, catch_exceptions=False, env=environment)
    assert result.exit_code == 0, result.output
    return result.output


@pytest.mark.parametrize("words", [["diagnose", "--format", "tree"], ["diagnose", "--format", "table"], ["triage"]])
def test_a_person_reads_the_database_with_the_table(billing: Elsewhere, words: list[str]) -> None:
    assert f"{billing.name}: public.orders" in " ".join(run(*words, "--wide", "--dsn", billing.scene.dsn).split())


def test_a_program_reads_table_and_database_apart(billing: Elsewhere) -> None:
    [blocker] = json.loads(run("diagnose", "--format", "json", "--dsn", billing.scene.dsn))["blockers"]
    assert (blocker["relation"], blocker["database"]) == ("public.orders", billing.name)
    assert blocker["in_other_database"] is True


@pytest.mark.parametrize("command", ["diagnose", "triage"])
def test_the_other_database_is_not_read_where_that_is_switched_off(billing: Elsewhere, command: str) -> None:
    by_option = run(command, "--format", "json", "--dsn", billing.scene.dsn, "--look-into-databases", "false")
    by_variable = run(command, "--format", "json", "--dsn", billing.scene.dsn, PGDOCTOR_LOOK_INTO_DATABASES="false")
    for said in (by_option, by_variable):
        assert "public.orders" not in said
