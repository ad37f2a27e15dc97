"""Every command line and every example of README, CONTRIBUTING and manual does what the reader expects of it.

What a server and pgdoctor suffice for is run on a real server; the rest is parsed, and the files it names are there.
"""

import os
import re
import shlex
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import psycopg
import pytest

from pgdoctor.config.config import parse_config
from pgdoctor.demo.throwaway_server import ThrowawayServer
from tests.agent.running import RunningAgent
from tests.docs.command_lines import Block, blocks, check, check_pgdoctor, commands, has_placeholder
from tests.docs.generating import CHECKOUT, DOCS
from tests.forked import pgdoctor
from tests.scenes import Scene

PAGES = [CHECKOUT / "README.md", CHECKOUT / "CONTRIBUTING.md", *sorted(DOCS.glob("*.md"))]
SHELL = [block for page in PAGES for block in blocks(page, "sh")]

#: The programs of lines that are run.
RUN = {"pgdoctor", "psql", "curl", "export"}

#: What takes a server of its own and half a minute, and is run by tests/demo.
PARSED_ONLY = ("pgdoctor demo",)

#: Rules for `--config pgdoctor.toml`; no session is blocked, so no session is signalled.
RULES = """
[mitigation]
mode = "enforce"
[[mitigation.rules]]
name = "forgotten"
class = "idle_in_transaction"
action = "terminate"
"""

_AGENT = "pgdoctor agent"
_STARTED = "for _ in $(seq 100); do curl -fsS -o /dev/null http://127.0.0.1:9899/health && break; sleep 0.1; done"


@pytest.mark.parametrize("block", SHELL, ids=lambda block: block.place)
def test_every_command_line_parses(block: Block) -> None:
    for line in block.lines:
        for command in commands(line):
            check(command)


@pytest.mark.parametrize(
    "wrong", ["pgdoctor diagnoze", "pgdoctor diagnose --exit", "pgdoctor mitigate arm", "make tea"]
)
def test_a_wrong_command_line_does_not_parse(wrong: str) -> None:
    with pytest.raises(Exception, match=r"diagnoze|--exit|reason|tea"):
        check(wrong.split())


def test_a_wrong_file_is_found() -> None:
    with pytest.raises(AssertionError):
        check(["kubectl", "apply", "-f", "docker/kubernets.yml"])


def runnable(block: Block) -> Iterator[str]:
    """The lines to run; an agent goes on in the background."""
    for line in block.lines:
        programs = {command[0] for command in commands(line)}
        if not programs <= RUN or has_placeholder(line) or line.startswith(PARSED_ONLY):
            continue
        yield f"{shlex.join(commands(line)[0])} & {_STARTED}" if line.startswith(_AGENT) else line


RUNNABLE = [block for block in SHELL if any(runnable(block))]


@pytest.fixture(scope="module")
def surroundings(bindir: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mapping[str, str]]:
    """The environment of a user who has set pgdoctor up: a server, the role, a journal with an incident in it."""
    home = tmp_path_factory.mktemp("home")
    with ThrowawayServer(bindir=bindir) as server:
        at = psycopg.conninfo.conninfo_to_dict(server.dsn)
        environment = {
            "PATH": f"{Path(sys.executable).parent}:{bindir}:{os.environ['PATH']}",
            "HOME": str(home),
            "XDG_STATE_HOME": str(home),
            "PGPASSWORD": str(at["password"]),
            "PGPORT": str(at["port"]),
            "PGDOCTOR_DSN": "host=127.0.0.1 dbname=postgres user=pgdoctor",
        }
        with psycopg.connect(server.dsn, autocommit=True) as connection:
            connection.execute(pgdoctor("setup", "--act").stdout)
            connection.execute(psycopg.sql.SQL("ALTER ROLE pgdoctor PASSWORD {}").format(at["password"]))
            connection.execute("create table public.orders (id int primary key)")
        record_incident(server.dsn, home)
        yield environment


def record_incident(dsn: str, state: Path) -> None:
    """An incident in the journal of an agent of this server."""
    with pytest.MonkeyPatch.context() as patch, Scene(dsn) as scene:
        patch.setenv("XDG_STATE_HOME", str(state))
        scene.admin.execute("create table orders (id int primary key, v int); insert into orders values (1, 0)")
        holder = scene.client("update orders set v = 1 where id = 1")
        waiter = scene.client().block("update orders set v = 2 where id = 1")
        with RunningAgent(scene.dsn, state / "agent.toml") as agent:
            agent.wait_for("blocked_sessions", 1.0)
            holder.run("commit")
            waiter.finish()
            agent.wait_for("incident_duration_seconds_count", 1.0)


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


@pytest.mark.long
@pytest.mark.deadline(120)
@pytest.mark.parametrize("block", RUNNABLE, ids=lambda block: block.place)
def test_command_lines_run_on_a_real_server(block: Block, surroundings: Mapping[str, str], tmp_path: Path) -> None:
    (tmp_path / "pgdoctor.toml").write_text(RULES)
    port = str(free_port())
    lines = "\n".join(runnable(block)).replace("9899", port).replace("db.example.org", "127.0.0.1")
    done = subprocess.run(
        ["bash", "-c", f"set -euo pipefail; trap 'kill $(jobs -p) 2>/dev/null || true' EXIT; set -x\n{lines}\n"],
        cwd=tmp_path,
        env={**surroundings, "PGDOCTOR_LISTEN": f"127.0.0.1:{port}"},
        # For \password, which asks twice; without a terminal of its own psql reads it from here.
        input=f"{surroundings['PGPASSWORD']}\n" * 2,
        start_new_session=True,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr


def test_most_blocks_are_run() -> None:
    assert len(RUNNABLE) >= len(SHELL) * 0.7


@pytest.mark.parametrize("block", [b for page in PAGES for b in blocks(page, "toml")], ids=lambda block: block.place)
def test_every_configuration_is_right(block: Block) -> None:
    parse_config(block.text, block.place)


@pytest.mark.parametrize("block", [b for page in PAGES for b in blocks(page, "sql")], ids=lambda block: block.place)
def test_every_sql_example_runs(block: Block, surroundings: Mapping[str, str]) -> None:
    told = f"BEGIN; {block.text} ROLLBACK;"
    with psycopg.connect(
        f"host=127.0.0.1 port={surroundings['PGPORT']} user=postgres password={surroundings['PGPASSWORD']}"
    ) as connection:
        connection.execute(told)


def test_unit_of_systemd_starts_the_agent() -> None:
    unit = (CHECKOUT / "docker" / "systemd" / "pgdoctor.service").read_text(encoding="utf-8")
    started = re.findall(r"^ExecStart(?:Pre)?=(.*)$", unit, re.MULTILINE)
    assert len(started) == 2
    for program, *arguments in map(shlex.split, started):
        assert program.endswith("/pgdoctor")
        check_pgdoctor(arguments)
