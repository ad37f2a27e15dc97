"""What a person reads before and after a signal, from built sessions."""

from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pgdoctor.mitigation.manual_action import ManualAction, ManualOutcome, ManualResult, judge_manual_action
from pgdoctor.mitigation.rules import Mitigation
from pgdoctor.model.snapshot import Session
from pgdoctor.render.manual_action import describe_action, describe_outcome, describe_refusal
from pgdoctor.render.paragraph import lay_out_paragraphs, strip_styles
from tests.building import SERVER, ago, session
from tests.mitigation.build import DDL, IDLE, ddl, diagnosis, idle, usual


def judged(signal: Any, named: Session, *others: Session, **server: Any) -> ManualAction:
    return judge_manual_action(signal, named, diagnosis(named, *others, **server), Mitigation())


def text(action: ManualAction, width: int = 80) -> str:
    return strip_styles(lay_out_paragraphs(describe_action(action, SERVER, ("disarmed by ann: a release",)), width))


REFUSED: list[tuple[str, dict[str, Any], str]] = [
    ("terminate", {"backend_type": "walsender"}, "it is walsender"),
    ("terminate", {"backend_type": "autovacuum worker"}, "it is autovacuum worker"),
    ("terminate", {"backend_type": None}, "hidden from our role"),
    ("terminate", {"application_name": "pgdoctor"}, "another pgdoctor's session"),
    ("terminate", {"state": "active", "wait_event": "SyncRep"}, "waits for a synchronous standby"),
    ("terminate", {"state": "active", "statement": "COMMIT"}, "is just ending"),
    ("terminate", {"backend_start": None}, "a part of its identity is hidden"),
    ("terminate", {"may_signal": False, "is_superuser": True}, "superuser's session; run as a superuser"),
    ("terminate", {"may_signal": False}, "run as that user or a superuser"),
    ("cancel", {}, "does not react to a cancel; terminate ends the session"),
]


@pytest.mark.parametrize(("signal", "facts", "why"), REFUSED)
def test_hard_limits_hold_for_a_person(signal: str, facts: dict[str, Any], why: str) -> None:
    action = judged(signal, idle(**facts), ddl())
    assert why in (action.refusal or "")
    said = strip_styles(lay_out_paragraphs(describe_refusal(action), None))
    assert said.startswith(f"{signal} {IDLE}: no, ")
    assert ("SELECT" in said) is ("may_signal" in facts)


def test_standbys_and_own_sessions_and_parallel_workers_are_refused() -> None:
    assert "standby" in (judged("terminate", idle(), ddl(), in_recovery=True).refusal or "")
    assert "own session" in (judged("terminate", idle(), ddl(), own_pid=IDLE).refusal or "")
    seen = diagnosis(*usual())
    worker = judge_manual_action("terminate", idle(), seen, Mitigation(), leader_pid=7)
    assert worker.refusal == "it is a parallel worker of 7: use that PID"


def test_a_session_in_another_transaction_is_not_the_blocker_that_was_diagnosed() -> None:
    """It went on between the two reads: what it would free is not known any more."""
    seen = diagnosis(*usual())
    action = judge_manual_action("terminate", session(IDLE, xact_start=ago(1)), seen, Mitigation())
    assert action.blocker is None
    assert action.cut.frees_at_once == 0


def test_manual_action_frees_and_costs_what_the_diagnosis_says() -> None:
    seen = diagnosis(*usual())
    action = judge_manual_action("cancel", ddl(), seen, Mitigation())
    assert (action.refusal, action.warnings) == (None, ("it is unknown whether our role may signal it",))
    assert (action.cut.frees_at_once, action.cut.loses, action.cut.exact) == (3, "nothing but a retry", True)
    drawn = text(action)
    assert f"cancel {DDL} at shop" in drawn
    assert "frees 3 sessions at once: 31, 32, 33; costs nothing but a retry" in " ".join(drawn.split())
    assert "STOPPED: disarmed by ann: a release" in drawn


@pytest.mark.parametrize("result", get_args(ManualResult))
@pytest.mark.parametrize("waits", [True, False])
def test_every_result_is_said_in_one_line(result: ManualResult, waits: bool) -> None:
    action = judged("terminate", idle(), *([ddl()] if waits else []))
    said = describe_outcome(action, ManualOutcome(result, released=1, waiting=1, seconds=0.5, message="why"))
    assert said.startswith(f"terminate {IDLE}: ")
    assert said.endswith(".")
    assert "\n" not in said


@given(st.text(), st.sampled_from([40, 80, 200]))
def test_hostile_names_stay_on_their_line(name: str, width: int) -> None:
    action = judged("terminate", idle(usename=name, application_name=name, datname=name, statement=name), ddl())
    lines = text(action, width).splitlines()
    assert all(line.isprintable() for line in lines)
    assert max(map(len, lines)) <= width
