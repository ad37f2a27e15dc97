"""The panic button at a server or through a pooler where it cannot hold, or can: one line says so."""

from pathlib import Path

import pytest
from psycopg.conninfo import make_conninfo

from pgdoctor.demo.throwaway_server import ThrowawayServer
from tests.cli.test_bad_input import complains
from tests.forked import pgdoctor
from tests.pooler import PROGRAM, pooler
from tests.scenes import Scene
from tests.standby import standby_of

pytestmark = [pytest.mark.long, pytest.mark.deadline(180)]

DISARM = ("mitigate", "disarm", "--reason", "hands off", "--by", "ada")


def test_disarm_at_a_standby_says_in_one_line_where_to_say_it(own_server, rules: Path) -> None:
    primary: ThrowawayServer = own_server()
    with standby_of(primary) as standby:
        done = pgdoctor(*DISARM, "--dsn", make_conninfo(primary.dsn, port=standby.port), "--config", str(rules))
        complains(done, 3, "this server is a standby", "at the primary")
        assert done.stdout == ""


@pytest.mark.parametrize("mode", ["transaction", "session", "statement"])
def test_disarm_through_a_pooler_holds_or_says_in_one_line_why_not(
    scene: Scene, rules: Path, tmp_path: Path, mode: str
) -> None:
    if PROGRAM is None:
        pytest.skip("no pgbouncer here: set PGDOCTOR_TEST_PGBOUNCER to one")
    dsn = scene.role("agent", "pg_monitor", "pg_signal_backend")
    with pooler(dsn, tmp_path, mode) as through:
        done = pgdoctor(*DISARM, "--dsn", through, "--config", str(rules))
    shown = pgdoctor("mitigate", "--dsn", dsn).stdout
    if mode == "statement":
        complains(done, 3, "transaction")
        assert "disarmed" not in shown
        return
    assert done.returncode == 0, done
    assert "connects as agent" in done.stdout
    assert "signalled: disarmed by ada: hands off." in shown


def test_disarm_without_privileges_for_the_role_of_the_agent_names_it(scene: Scene, rules: Path) -> None:
    agent = scene.role("agent", "pg_monitor", "pg_signal_backend")
    assert pgdoctor("mitigate", "arm", "--reason", "x", "--dsn", agent).returncode == 0
    done = pgdoctor(*DISARM, "--dsn", scene.role("guest"), "--config", str(rules))
    assert done.returncode == 0
    assert "pgdoctors of agent do not receive this: it needs a superuser" in done.stderr
