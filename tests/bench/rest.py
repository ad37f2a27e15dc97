"""The agent on a quiet server, one poll a second."""

import time

from pgdoctor.demo.server import ThrowawayServer
from tests.bench.measuring import MeasuredAgent, Usage, memory_mb, show

SECONDS = 40.0


def main() -> None:
    with ThrowawayServer() as server, MeasuredAgent(server.dsn) as agent:
        time.sleep(5)
        sessions = agent.backends
        own, theirs = Usage([agent.pid]), Usage(sessions)
        time.sleep(SECONDS)
        rows = [
            ["agent, % of a core", own.percent(), "< 0.3"],
            ["its backend, % of a core", theirs.percent(), "< 0.1"],
            ["RSS, MB", memory_mb(agent.pid), "< 60"],
            ["connections", len(sessions), "1"],
        ]
    show("At rest", rows, ("", "value", "bound"))
