"""What a finding is: one file in `findings/`, found without being listed anywhere.

It is about the server as a whole, where a cause is about one blocker; and it is there, or it is not, by figures.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from functools import cache
from typing import ClassVar, NamedTuple

from pgdoctor.diagnosis.discovery import find_classes
from pgdoctor.model.diagnosis import Blocker, Finding
from pgdoctor.model.snapshot import Snapshot
from pgdoctor.model.wait_graph import WaitGraph

#: The worst first.
SEVERITIES = ("critical", "warning", "info")


class CheckInput(NamedTuple):
    """What a finding is made of."""

    snapshot: Snapshot
    graph: WaitGraph
    #: As the diagnosis has them.
    blockers: tuple[Blocker, ...] = ()


class FindingCheck(ABC):
    """Something that can be wrong beside locks. Stateless; its module's docstring is the page that people read."""

    name: ClassVar[str]

    @abstractmethod
    def find_findings(self, seen: CheckInput) -> Iterator[Finding]:
        """What is to be said about it, each note of this kind; none where it is not there."""


@cache
def all_finding_checks() -> tuple[FindingCheck, ...]:
    """One of each finding in `findings/`, in alphabetical order."""
    from pgdoctor.diagnosis import findings as folder

    return tuple(sorted((each() for each in find_classes(folder, FindingCheck)), key=lambda finding: finding.name))


def finding_kinds() -> tuple[str, ...]:
    """The names of all findings, in alphabetical order: the closed set of the metrics' `kind` label."""
    return tuple(finding.name for finding in all_finding_checks())


def run_finding_checks(snapshot: Snapshot, graph: WaitGraph, blockers: tuple[Blocker, ...]) -> tuple[Finding, ...]:
    """Everything worth saying that is not a wait, the worst first."""
    seen = CheckInput(snapshot, graph, blockers)
    notes = [note for finding in all_finding_checks() for note in finding.find_findings(seen)]
    return tuple(sorted(notes, key=lambda note: SEVERITIES.index(note.severity)))
