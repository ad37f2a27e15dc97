"""H79b: a thousand half requests a second, from a process of its own, do not keep a scrape waiting."""

import http.client
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import psutil
import pytest

from tests.agent.conftest import NOBODY
from tests.agent.running import RunningAgent, series

#: Seconds that a scrape may last longer in a storm than on an agent alone, on the same machine at the same time.
MOST_DELAY = 1.0

#: CPU that a storm may cost the agent, in what it costs the attacker.
MOST_COST = 3.0

PER_SECOND, NUMBER, HELD = 1_000, 12_000, 3_000

pytestmark = [pytest.mark.long, pytest.mark.deadline(120)]


@contextmanager
def storm(port: int) -> Iterator["subprocess.Popen[str]"]:
    arguments = map(str, (port, PER_SECOND, NUMBER, HELD))
    command = [sys.executable, "-m", "tests.agent.storming", *arguments]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as attacker:
        try:
            assert attacker.stdout.readline() == "begins\n"
            yield attacker
        finally:
            attacker.kill()


def scrape(port: int) -> tuple[float, str]:
    """How long a scrape with a connection of its own lasts, and its page. The time limit only ends a broken test."""
    began = time.monotonic()
    with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=30)) as client:
        client.request("GET", "/metrics")
        answer = client.getresponse()
        page = answer.read().decode()
    assert answer.status == 200
    return time.monotonic() - began, page


def used_cpu(agent: RunningAgent) -> float:
    return sum(psutil.Process(agent.pid).cpu_times()[:2])


def test_connection_storm_does_not_delay_a_scrape_by_a_second(agent, tmp_path: Path):
    attacked = agent(NOBODY)
    with RunningAgent(NOBODY, tmp_path / "peaceful.toml") as peaceful, storm(attacked.port) as attacker:
        before = used_cpu(attacked) - used_cpu(peaceful)
        in_peace, in_storm, page = [], [], ""
        while attacker.poll() is None:
            in_peace.append(scrape(peaceful.port)[0])
            seconds, page = scrape(attacked.port)
            in_storm.append(seconds)
            time.sleep(0.05)
        cost = used_cpu(attacked) - used_cpu(peaceful) - before
        rate, attackers_cost = map(float, attacker.stdout.read().split())
    closed = series(page)['pgdoctor_http_refused_total{reason="crowded"}']
    figures = (
        f"{rate:.0f} connections a second; {len(in_storm)} scrapes, the slowest {max(in_storm):.3f} s, in peace "
        f"{max(in_peace):.3f} s; {closed:.0f} connections closed for others; CPU {cost:.1f} s, the attacker's "
        f"{attackers_cost:.1f} s"
    )
    print(figures)
    assert max(in_storm) < max(in_peace) + MOST_DELAY, figures
    # The agent has dealt with the storm, and not left it in the system's queue.
    assert closed > NUMBER / 2, figures
    # A measure for which neither the speed of this machine nor its load matters.
    assert cost < MOST_COST * attackers_cost, figures
