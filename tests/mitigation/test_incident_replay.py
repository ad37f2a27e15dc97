"""A recorded incident under rules: what they would have done, when, and what it would have saved."""

from datetime import timedelta

import msgspec
import pytest
from msgspec.structs import replace

from pgdoctor.fields import Duration
from pgdoctor.mitigation.incident_replay import IncidentReplay, replay_incident
from pgdoctor.mitigation.rules import Mitigation, Protect
from pgdoctor.model.diagnosis import Diagnosis
from pgdoctor.model.snapshot import Session
from tests.building import NOW
from tests.mitigation.build import CANCEL_DDL, END_IDLE, READERS, ddl, diagnosis, idle, reader, settings

STARTED = NOW - timedelta(seconds=6)
AGES = (0, 10, 25, 295)
WAITING = 1 + len(READERS)


def course(*ages: float, last: tuple[Session, ...] | None = None) -> list[Diagnosis]:
    """The usual incident at these seconds after NOW; at the last of them other sessions."""
    found = [diagnosis(at=NOW + timedelta(seconds=age)) for age in ages]
    return found if last is None else [*found[:-1], diagnosis(*last, at=NOW + timedelta(seconds=ages[-1]))]


def replay(*rules: object, shown: list[Diagnosis] | None = None, **others: object) -> IncidentReplay:
    by: Mitigation = settings(*rules, **others)  # type: ignore[arg-type]
    return replay_incident(shown or course(*AGES), by, STARTED)


def test_action_saves_the_time_from_its_decision_to_the_last_snapshot():
    found = replay(END_IDLE)
    [score] = found.scores
    assert (score.result, score.rule, score.seconds) == ("helped", "idle", AGES[-1])
    assert (found.session_seconds, found.seconds_to_act) == (AGES[-1] * WAITING, 6.0)


def test_blocker_that_is_gone_in_the_next_snapshot_was_needless():
    gone = (idle(state="idle", locks=()),)
    assert [each.result for each in replay(END_IDLE, shown=course(0, 4, last=gone)).scores] == ["needless"]


def test_incident_with_one_snapshot_promises_nothing():
    found = replay(END_IDLE, shown=course(0))
    assert ([each.result for each in found.scores], found.session_seconds) == (["unknown"], 0)


def test_rules_that_speak_of_nothing_do_nothing():
    found = replay(replace(END_IDLE, classification="migration"), shown=[diagnosis(idle(), reader(31, blockers=(10,)))])
    assert (found.scores, found.seconds_to_act, found.refusals) == ((), None, {})


def test_protection_is_named_once_a_session():
    found = replay(END_IDLE, protect=(Protect(application_name=("reporting",)),))
    assert (found.scores, found.refusals["protected"]) == ((), 1)


def test_later_snapshot_meets_a_wait_that_the_first_does_not():
    patient = replace(END_IDLE, min_wait=Duration(80))
    found = replay(patient)
    [score] = found.scores
    assert score.decided_at == NOW + timedelta(seconds=25)
    assert (found.seconds_to_act, score.seconds) == (31.0, AGES[-1] - 25)


def test_one_action_at_a_time_as_a_dry_run_has_it():
    others = [idle(11, application_name="batch"), reader(41, blockers=(11,))]
    sessions = [idle(), ddl(), *(reader(pid) for pid in READERS), *others]
    shown = [diagnosis(*sessions, at=NOW + timedelta(seconds=age)) for age in AGES]
    both = replay(END_IDLE, shown=shown)
    assert [each.decided_at - NOW for each in both.scores] == [timedelta(seconds=0), timedelta(seconds=10)]
    slow = replay(END_IDLE, shown=shown, cooldown=Duration(20))
    assert [each.decided_at - NOW for each in slow.scores] == [timedelta(seconds=0), timedelta(seconds=25)]


@pytest.mark.parametrize("rules", [(END_IDLE,), (CANCEL_DDL,), (END_IDLE, CANCEL_DDL)])
def test_result_is_the_same_each_time(rules: tuple[object, ...]):
    assert len({msgspec.json.encode(replay(*rules)) for _ in range(3)}) == 1
