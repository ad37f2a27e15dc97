"""Sessions wait for each other in a cycle.

Recognised by: a cycle of the wait graph.
Do: nothing now: after `deadlock_timeout` (1 s by default) the server cancels one of them. Then change the application
so that it takes its locks in one order.
Do not: signal any of these sessions: the server cancels one itself, and a second one loses its work needlessly.
Source: PostgreSQL documentation, "Deadlocks".
"""

from collections.abc import Iterator

from pgdoctor.diagnosis.diagnosis import Note
from pgdoctor.diagnosis.finding import Finding, Seen


class Deadlock(Finding):
    name = "deadlock"

    def notes(self, seen: Seen) -> Iterator[Note]:
        for cycle in seen.graph.cycles:
            members = ", ".join(map(str, cycle))
            yield Note(
                self.name,
                "warning",
                f"sessions {members} wait for each other",
                "the server cancels one of them after deadlock_timeout; signal none",
                {"sessions": len(cycle)},
            )
