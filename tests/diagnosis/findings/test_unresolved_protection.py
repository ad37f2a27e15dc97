"""The finding `unresolved_protection`. On a real server: tests/mitigation/test_protected_names.py."""

from pgdoctor.diagnosis.finding import finding_kinds
from pgdoctor.mitigation.protected_names import unresolved_notes
from pgdoctor.mitigation.rules import Mitigation


def test_resolved_protections_are_no_finding() -> None:
    assert unresolved_notes((), Mitigation()) == ()


def test_many_unresolved_protections_are_a_finding_of_bounded_size() -> None:
    [note] = unresolved_notes([f"name {number}" for number in range(100)], Mitigation())
    assert note.kind == "unresolved_protection"
    assert note.kind in finding_kinds()
    assert "100 protections" in note.summary
    assert len(note.evidence) == 20
