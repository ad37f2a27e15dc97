"""Precision and recall of incidents from a log against what the agent said of the same staged incidents.

`python -m tests.serverlog.precision 14 18` prints a table of all kinds, for a log of all statements and for one of
lock waits alone. A class of the log is right where the agent gave it; one of the agent is found where the log has it.
"""

import sys
from collections import Counter

from tabulate import tabulate

from pgdoctor.demo.throwaway_server import ThrowawayServer
from tests.serverlog.logged import SETTINGS, TALKATIVE
from tests.serverlog.test_staged import KINDS, Seen, classes, stage
from tests.servers import Embedded

_LOGS = {"all statements": TALKATIVE, "lock waits only": SETTINGS}
_HEADERS = ("kind", "agent", "log", "waiters", "waits in the log", "session-seconds", "root")


def measure(major: int, log: str) -> str:
    """The table of one server version and one kind of log, and its sums."""
    counts: Counter[str] = Counter()
    rows = []
    with ThrowawayServer(bindir=Embedded(major).bindir, settings=_LOGS[log]) as server:
        for kind in KINDS:
            seen = stage(kind, server)
            counts += compare_classes(seen)
            rows.append(describe(kind.name, seen))
    precision = counts["right"] / max(counts["given"], 1)
    recall = counts["found"] / max(counts["live"], 1)
    return (
        f"PostgreSQL {major}, {log}: {len(KINDS)} kinds\n{tabulate(rows, _HEADERS)}\n"
        f"classes given {counts['given']}, right {counts['right']}: precision {precision:.3f}\n"
        f"classes of the agent {counts['live']}, found {counts['found']}: recall {recall:.3f}\n"
        f"root blockers {counts['roots']}, found {counts['found roots']}; "
        f"waiting sessions {counts['waiters']}, found {counts['found waiters']}"
    )


def compare_classes(seen: Seen) -> Counter[str]:
    """How many classes, roots and waiting sessions are in both; a member of a deadlock has no class in a log."""
    live, logged = classes(seen.live), classes(seen.logged.diagnosis)
    roots = {node for node, each in live.items() if each.root}
    counts = Counter({"roots": len(roots), "found roots": len(roots & {n for n, each in logged.items() if each.root})})
    counts += Counter({"waiters": seen.waiters, "found waiters": min(seen.logged.incident.waits, seen.waiters)})
    for node, each in live.items():
        counts["live"] += each.classification != "unknown"
        other = logged.get(node)
        counts["found"] += other is not None and other.classification in {each.classification, *each.also} - {"unknown"}
    for node, each in logged.items():
        agent = live.get(node)
        counts["given"] += each.classification != "unknown"
        counts["right"] += agent is not None and each.classification in {agent.classification, *agent.also} - {
            "unknown"
        }
    return counts


def describe(name: str, seen: Seen) -> tuple[object, ...]:
    """A row of the table."""
    leading = seen.live.blockers[0].classification if seen.live.blockers else ""
    incident = seen.logged.incident
    roots = {each.node for each in seen.logged.diagnosis.blockers if each.root}
    is_same = "" if seen.root is None else "same" if roots == {seen.root} else "other"
    return name, leading, seen.logged.classification, seen.waiters, incident.waits, incident.session_seconds, is_same


if __name__ == "__main__":
    for version in sys.argv[1:] or ["18"]:
        for each in _LOGS:
            print(measure(int(version), each), end="\n\n", flush=True)
