"""The agent's journal fills up: said before it is full, and never of one that is half empty."""

import pytest
from msgspec.structs import replace

from pgdoctor.diagnosis.diagnose import diagnose
from pgdoctor.model.snapshot import JournalUse
from tests.building import snapshot

NAME = "journal_full"


def notes(journal: JournalUse | None) -> list[tuple[str, str]]:
    found = diagnose(replace(snapshot([]), journal=journal)).findings
    return [(note.severity, note.summary) for note in found if note.kind == NAME]


@pytest.mark.parametrize("journal", [None, JournalUse(0, 0, 100), JournalUse(79, 49, 100)])
def test_a_journal_with_room_is_no_finding(journal: JournalUse | None) -> None:
    assert notes(journal) == []


@pytest.mark.parametrize(
    ("journal", "severity", "said"),
    [
        (JournalUse(80, 10, 100), "info", "the journal is 80% full"),
        (JournalUse(80, 50, 100), "warning", "decisions fill 50% of the journal"),
        (JournalUse(95, 90, 100), "critical", "when it is full, no session is signalled"),
    ],
)
def test_a_journal_that_fills_up_is_said_before_it_is_full(journal: JournalUse, severity: str, said: str) -> None:
    [(found, summary)] = notes(journal)
    assert found == severity
    assert said in summary
