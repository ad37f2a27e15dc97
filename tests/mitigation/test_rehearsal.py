"""Rehearsed actions: each score follows from what happened without the signal."""

from collections.abc import Iterable
from datetime import timedelta

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from pgdoctor.mitigation.history import seen_in_polls
from pgdoctor.mitigation.plan import intend_action, make_plan
from pgdoctor.mitigation.rehearsal import (
    NEEDLESS_SECONDS,
    Rehearsal,
    RehearsalScore,
    begin_rehearsal,
    continue_rehearsal,
    end_rehearsal,
    read_scores,
    score_refusal,
)
from pgdoctor.model.diagnosis import Diagnosis
from pgdoctor.model.identity import Identity
from tests.building import NOW
from tests.mitigation.build import BOTH, DDL, IDLE, READERS, ddl, diagnosis, idle, reader

SHOWN = diagnosis()


def rehearsed(pid: int = IDLE) -> Rehearsal:
    """What BOTH decides at NOW about a session, not sent."""
    victims = filter(None, map(Identity.of, SHOWN.snapshot.sessions.values()))
    plan = make_plan(SHOWN, BOTH, seen_in_polls(victims, 1))
    decision = next(each for each in plan.decisions if each.pid == pid)
    return begin_rehearsal(intend_action(decision, SHOWN), "dry_run", decision.frees)


def later(seconds: float, *sessions: object) -> Diagnosis:
    return diagnosis(*sessions, at=NOW + timedelta(seconds=seconds))  # type: ignore[arg-type]


NOBODY = (idle(state="idle", locks=()),)


def follow(course: Iterable[Diagnosis], rehearsal: Rehearsal | None = None) -> RehearsalScore:
    """The score at the end of a course."""
    now: Rehearsal | RehearsalScore = rehearsal or rehearsed()
    for seen in course:
        assert isinstance(now, Rehearsal), "it was scored before"
        now = continue_rehearsal(now, seen)
    assert isinstance(now, RehearsalScore)
    return now


def test_blocker_that_goes_on_would_have_been_ended_earlier():
    score = follow([later(10), later(30), later(31, *NOBODY)])
    assert (score.result, score.seconds) == ("helped", 30.0)
    # The end of the idle session releases the ALTER, and the readers behind it.
    assert score.frees == 1 + len(READERS)
    assert score.session_seconds == 30.0 * (1 + len(READERS))
    assert (score.rule, score.signal, score.classification) == ("idle", "terminate", "idle_in_transaction")
    assert (score.decided_at, score.at) == (NOW, NOW + timedelta(seconds=31))


def test_blocker_that_ends_by_itself_needs_no_signal():
    score = follow([later(NEEDLESS_SECONDS - 1), later(20, *NOBODY)])
    assert (score.result, score.seconds) == ("needless", NEEDLESS_SECONDS - 1)


def test_only_time_between_two_polls_that_saw_the_blocker_counts():
    score = follow([later(10), later(3600), later(3610), later(3620, *NOBODY)])
    assert score.session_seconds == (10 + 10) * (1 + len(READERS))


def test_another_transaction_of_the_session_is_another_blocker():
    other = idle(xact_start=NOW + timedelta(seconds=5))
    rest = [ddl(), *(reader(pid) for pid in READERS)]
    assert follow([later(10), later(20, other, *rest)]).seconds == 10.0


def test_session_whose_facts_are_hidden_is_not_taken_for_the_blocker():
    hidden = idle(backend_start=None, state=None, state_change=None)
    assert follow([later(10), later(20, hidden, ddl(), reader(31))]).seconds == 10.0


def test_cancel_of_a_queued_request_releases_those_behind_it():
    score = follow([later(8), later(9, *NOBODY)], replace(rehearsed(DDL), releasable=len(READERS)))
    assert (score.signal, score.session_seconds) == ("cancel", 8.0 * len(READERS))


def test_blocker_of_another_class_for_most_of_the_time_is_the_wrong_victim():
    busy = idle(state="active", query_start=NOW, state_change=NOW, statement="select count(*) from orders")
    rest = [ddl(), *(reader(pid) for pid in READERS)]
    name = next(each.classification for each in later(20, busy, *rest).blockers if each.pid == IDLE)
    score = follow([later(10), later(40, busy, *rest), later(41, *NOBODY)])
    assert name != "idle_in_transaction"
    assert (score.result, score.later_class) == ("wrong_class", name)
    assert follow([later(30), later(40, busy, *rest), later(41, *NOBODY)]).result == "helped"


@pytest.mark.parametrize(("seconds", "result"), [(NEEDLESS_SECONDS - 1, "unknown"), (NEEDLESS_SECONDS, "helped")])
def test_rehearsal_that_is_not_followed_to_its_end_promises_nothing(seconds: float, result: str):
    now = continue_rehearsal(rehearsed(), later(seconds))
    assert isinstance(now, Rehearsal)
    assert (end_rehearsal(now).result, end_rehearsal(now).seconds) == (result, seconds)


def test_refusal_is_scored_at_once():
    score = score_refusal(rehearsed().action, "observe", 4)
    assert (score.result, score.mode, score.seconds, score.session_seconds) == ("refused", "observe", 0.0, 0.0)


def test_clock_that_is_set_back_gives_no_negative_time():
    score = follow([later(10), later(-500), later(-490), later(-480, *NOBODY)])
    assert (score.seconds, score.session_seconds) == (10.0, (10 + 0) * 4.0)


@given(st.lists(st.floats(-100, 200), max_size=8))
def test_saved_time_is_never_more_than_was_observed(gaps: list[float]):
    now, course = 0.0, []
    for gap in gaps:
        now += gap
        course.append(later(now))
    score = follow([*course, later(now + 1, *NOBODY)])
    assert 0 <= score.session_seconds <= sum(gap for gap in gaps if gap > 0) * 4 + 0.01
    assert score.seconds >= 0


def test_scores_are_read_once_a_decision_and_damaged_ones_are_left_out():
    score = follow([later(10), later(20, *NOBODY)])
    body = msgspec.json.encode(score)
    again = replace(score, decided_at=NOW + timedelta(hours=1))
    bodies = [body, body, b"{}", b"\xff", body[:-1], msgspec.json.encode(again)]
    assert list(read_scores(bodies)) == [score, again]


@pytest.mark.parametrize("pid", [IDLE, DDL])
def test_rehearsal_begins_with_what_the_plan_promises(pid: int):
    rehearsal = rehearsed(pid)
    assert rehearsal.releasable == rehearsal.frees > 0
    assert (rehearsal.seconds, rehearsal.session_seconds) == (0.0, 0.0)
