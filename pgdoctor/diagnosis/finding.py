"""What a finding is: one file in `findings/`, found without being listed anywhere.

It is about the server as a whole, where a cause is about one blocker; and it is there, or it is not, by figures.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from functools import cache
from typing import ClassVar, NamedTuple

from pgdoctor.diagnosis.diagnosis import Note
from pgdoctor.diagnosis.discovery import find_classes
from pgdoctor.diagnosis.graph import WaitGraph
from pgdoctor.diagnosis.snapshot import Snapshot

#: The worst first.
SEVERITIES = ("critical", "warning", "info")


class Seen(NamedTuple):
    """What a finding is made of."""

    snapshot: Snapshot
    graph: WaitGraph


class Finding(ABC):
    """Something that can be wrong beside locks. Stateless; its module's docstring is the page that people read."""

    name: ClassVar[str]

    @abstractmethod
    def notes(self, seen: Seen) -> Iterator[Note]:
        """What is to be said about it, each note of this kind; none where it is not there."""


@cache
def findings() -> tuple[Finding, ...]:
    """One of each finding in `findings/`, in alphabetical order."""
    from pgdoctor.diagnosis import findings as folder

    return tuple(sorted((each() for each in find_classes(folder, Finding)), key=lambda finding: finding.name))


def kinds() -> tuple[str, ...]:
    """The names of all findings, in alphabetical order: the closed set of the metrics' `kind` label."""
    return tuple(finding.name for finding in findings())


def found(snapshot: Snapshot, graph: WaitGraph) -> tuple[Note, ...]:
    """Everything worth saying that is not a wait, the worst first."""
    seen = Seen(snapshot, graph)
    notes = [note for finding in findings() for note in finding.notes(seen)]
    return tuple(sorted(notes, key=lambda note: SEVERITIES.index(note.severity)))
