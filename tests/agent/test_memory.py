"""How much memory the agent takes."""

import psutil

#: Bytes that an agent at rest may have resident; 58 MB (measured).
MOST_AT_REST = 60 * 2**20


def test_agent_at_rest_takes_at_most_60_megabytes(agent, scene):
    watching = agent(scene.dsn, forked=False)
    watching.wait_for_polls(10)
    assert psutil.Process(watching.pid).memory_info().rss < MOST_AT_REST
