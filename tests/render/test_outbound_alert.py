"""The alerts that receivers get, from the smallest incident to a convoy."""

from collections.abc import Iterator

import msgspec
import pytest

from pgdoctor.diagnosis.diagnose import diagnose
from pgdoctor.diagnosis.recommendation import recommend
from pgdoctor.incidents.incident import Incident, IncidentEvent
from pgdoctor.model.diagnosis import Diagnosis
from pgdoctor.model.snapshot import Session
from pgdoctor.render.outbound_alert import MOST_BYTES, action_words, describe_event, excerpt_report
from pgdoctor.render.report import make_report
from tests.building import NOW, lock, row, session, snapshot, transaction
from tests.diagnosis.test_labelled import ALL, IDLE, on_table

INCIDENT = Incident("20260522T231000000", NOW, ("hot_row",), 1)


def convoy(size: int, statement: str = "update orders set v = 1 where id = 7") -> Diagnosis:
    """Every session wants the same row, each behind all who came before."""

    def members() -> Iterator[Session]:
        yield session(1, has_xid=True, locks=(transaction(1, 1, granted=True),), statement=statement)
        for pid in range(2, size + 2):
            yield session(pid, blockers=tuple(range(1, pid)), locks=row(pid, 1), statement=statement)

    return diagnose(snapshot(members()))


def test_a_small_one_has_the_whole_diagnosis() -> None:
    seen = diagnose(on_table("AccessShareLock", **IDLE))
    said = describe_event(IncidentEvent("started", INCIDENT, NOW), seen, 1)
    assert said.diagnosis == make_report(seen)
    assert msgspec.json.decode(msgspec.json.encode(said))["timestamp"] == "2026-05-22T23:10:00Z"


@pytest.mark.parametrize("size", [20, 300])
@pytest.mark.parametrize("length", [40, 3_900])
def test_a_convoy_is_cut_down(size: int, length: int) -> None:
    seen = convoy(size, f"update orders set {', '.join(f'column_{place} = 1' for place in range(length // 15))}")
    facts = excerpt_report(seen)
    assert len(msgspec.json.encode(facts)) <= MOST_BYTES
    # What matters is there all the same, and so is how much was left out.
    assert facts.blocked_sessions == size
    assert facts.waits_total == size * (size + 1) // 2
    assert facts.blockers[0].pid == 1
    assert facts.recommendation == recommend(seen).advice


def test_hostile_names_do_not_make_it_grow() -> None:
    name = "\x00" * 60_000
    seen = diagnose(snapshot([session(1, application_name=name, locks=(lock(1, "AccessExclusiveLock", granted=True),)),
                              session(2, blockers=(1,), application_name=name,
                                      locks=(lock(2, "AccessShareLock", granted=False),))]))  # fmt: skip
    assert len(msgspec.json.encode(excerpt_report(seen))) <= MOST_BYTES


@pytest.mark.parametrize("case", ALL, ids=lambda case: case.name)
def test_the_action_is_the_recommendation(case) -> None:
    advice = make_report(diagnose(case.snapshot)).recommendation
    words = action_words(advice)
    assert (words == "none") == (advice is None or advice.action == "none")
    if words != "none":
        assert words.split()[0] in ("cancel", "terminate")
        assert str(advice.pid) in words


@pytest.mark.parametrize(
    ("peak", "longest", "severity"),
    [(1, 0.2, "warning"), (9, 59.9, "warning"), (10, 0.2, "critical"), (1, 60.0, "critical")],
)
def test_severity(peak: int, longest: float, severity: str) -> None:
    incident = Incident("1", NOW, ("migration",), peak, longest)
    assert describe_event(IncidentEvent("ended", incident, NOW), diagnose(snapshot([])), 0).severity == severity
