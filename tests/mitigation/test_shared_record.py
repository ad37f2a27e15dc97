"""What pgdoctors at a server share, as text: it comes back as it was, stays small, and is never half understood."""

import json
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from pgdoctor.mitigation.audit_records import UNKNOWN, Arm, Brakes, Disarm, MaintenanceWindow, replay_brakes
from pgdoctor.mitigation.history import Action, History, Opening, Reset, decision_id
from pgdoctor.mitigation.shared_record import (
    MARK,
    MOST_ACTIONS,
    MOST_CHARACTERS,
    SharedRecord,
    UnreadableRecord,
    decode_record,
    encode_record,
    joined_brakes,
    joined_history,
    lifted_brakes,
    missing_brakes,
    with_shared_action,
    with_shared_event,
)
from pgdoctor.model.identity import Identity
from tests.building import NOW, ago
from tests.mitigation.build import idle

TEXTS = st.text(max_size=80)
TIMES = st.datetimes(datetime(1990, 1, 1), datetime(2200, 1, 1), timezones=st.just(UTC))
EVENTS = st.one_of(
    st.builds(Disarm, at=TIMES, reason=TEXTS, by=TEXTS),
    st.builds(Arm, at=TIMES, reason=TEXTS, by=TEXTS),
    st.builds(MaintenanceWindow, at=TIMES, until=TIMES, reason=TEXTS, by=TEXTS),
    st.builds(Opening, at=TIMES, reason=TEXTS, rehearsed=st.just(False), fingerprint=TEXTS),
    st.builds(Reset, at=TIMES, reason=TEXTS, by=TEXTS),
)


def action(pid: int = 10, **facts: Any) -> Action:
    victim = Identity.of(idle(pid))
    assert victim is not None
    usual: dict[str, Any] = {
        "victim": victim,
        "signal": "cancel",
        "rule": "idle",
        "classification": "idle_in_transaction",
        "relation": None,
        "waiters": (),
        "at": NOW,
        "fingerprint": "idle_in_transaction public.orders app checkout",
        "usename": "app",
    }
    return Action(**{**usual, **facts})


ACTIONS = st.builds(
    action,
    pid=st.integers(1, 2**31 - 1),
    fingerprint=TEXTS,
    usename=st.one_of(st.none(), TEXTS),
    signal=st.sampled_from(("cancel", "terminate")),
    outcome=st.sampled_from((None, "released", "ineffective", "error", "unverified", "not_permitted")),
)


@given(st.lists(EVENTS, max_size=12), st.lists(ACTIONS, max_size=12))
def test_record_comes_back_as_it_was_written(events: list[Any], actions: list[Action]) -> None:
    shared = SharedRecord()
    for event in events:
        shared = with_shared_event(shared, event)
    for each in actions:
        shared = with_shared_action(shared, each, NOW)
    text = encode_record(shared)
    # An older server writes `?` for everything else, and a line is a line.
    assert all(" " <= letter <= "~" for letter in text)
    assert decode_record(text) == shared
    assert len([each for each in shared.events if not isinstance(each, Opening)]) <= 3


@pytest.mark.parametrize("name", ["\N{SNOWMAN}" * 63 * number for number in (1, 4)])
def test_record_has_a_greatest_size(name: str) -> None:
    shared = with_shared_event(SharedRecord(), Disarm(NOW, "x" * 100_000, "ann"))
    for number in range(MOST_ACTIONS + 50):
        shared = with_shared_action(shared, action(number + 1, fingerprint=name), NOW)
    assert len(shared.actions) == MOST_ACTIONS
    kept = decode_record(encode_record(shared))
    assert len(encode_record(shared)) <= MOST_CHARACTERS
    assert kept.brakes.kill_switch
    assert kept.actions[-1] == shared.actions[-1]


HOSTILE = {
    "somebody else's": "psql",
    "empty": "",
    "another version": MARK.replace("1", "2") + "{}",
    "no object": MARK + "[]",
    "cut off": encode_record(SharedRecord((Disarm(NOW, "stop", "ann"),)))[:-3],
    "a key of another version": MARK + '{"until":1}',
    "an event of another version": MARK + '{"events":[{"kind":"pause","at":"2026-01-01T00:00:00Z"}]}',
    "a time that is none": MARK + '{"events":[{"kind":"disarm","at":"soon","reason":"","by":""}]}',
    "an action that lacks a part": MARK + '{"actions":[[1,"cancel",null,"r","c","f",null,1,1,1,1,"active",1]]}',
    "a time beyond all": MARK + f'{{"actions":[[{10**30},"cancel",null,"r","c","f",null,1,1,1,1,"active",1,5.0]]}}',
    "a time of no calendar": MARK + f'{{"actions":[[{9 * 10**18},"cancel",null,"r","c","f",null,1,1,1,1,"a",1,5.0]]}}',
    "deep": MARK + "[" * 50_000,
    "huge": MARK + " " * MOST_CHARACTERS,
    "a lone surrogate": MARK + '{"events":"\udc00"}',
    "a signal that is none": MARK + '{"actions":[[1,"kill",null,"r","c","f",null,1,1,1,1,"active",1,5.0]]}',
}


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE)
def test_damaged_record_is_an_error_and_never_empty(text: str) -> None:
    with pytest.raises(UnreadableRecord) as raised:
        decode_record(text)
    assert len(str(raised.value).splitlines()) == 1


@given(st.text(max_size=40), st.integers(0, 200), st.integers(0, 5))
def test_mutated_record_is_read_or_refused(junk: str, place: int, cut: int) -> None:
    text = encode_record(
        with_shared_action(with_shared_event(SharedRecord(), Disarm(NOW, "stop", "ann")), action(), NOW)
    )
    with suppress(UnreadableRecord):
        decode_record(text[:place] + junk + text[place + cut :])


def test_disarm_is_lifted_by_an_arm_and_nothing_else() -> None:
    shared = with_shared_event(SharedRecord(), Disarm(NOW, "stop", "ann"))
    for event in (
        MaintenanceWindow(NOW, NOW + timedelta(hours=1), "index", "bob"),
        Opening(NOW, "why"),
        Reset(NOW, "ok", "bob"),
    ):
        shared = with_shared_event(shared, event)
        assert shared.brakes.kill_switch == "disarmed by ann: stop"
    shared = with_shared_action(shared, action(), NOW)
    assert shared.brakes.kill_switch
    assert with_shared_event(shared, Arm(NOW, "go", "ann")).brakes.kill_switch is None


def test_shorter_maintenance_does_not_end_a_longer_one() -> None:
    shared = with_shared_event(SharedRecord(), MaintenanceWindow(NOW, NOW + timedelta(hours=2), "index", "bob"))
    shared = with_shared_event(shared, MaintenanceWindow(NOW, NOW + timedelta(minutes=1), "short", "ann"))
    assert shared.brakes.maintenance_until == NOW + timedelta(hours=2)
    assert with_shared_event(shared, MaintenanceWindow(NOW, NOW, "over", "ann")).brakes.maintenance_until is None


def test_actions_of_others_count_and_own_ones_count_once() -> None:
    mine, theirs = action(1, outcome="released"), action(2, at=ago(5))
    shared = with_shared_action(with_shared_action(SharedRecord(), mine, NOW), theirs, NOW)
    known = joined_history(shared, History(actions=(mine,)))
    assert [(each.victim.pid, each.outcome, each.message) for each in known.actions] == [
        (2, "error", UNKNOWN),
        (1, "released", None),
    ]
    assert known.under_way is None


def test_own_action_in_progress_is_not_taken_for_that_of_another() -> None:
    mine = action(1)
    known = joined_history(with_shared_action(SharedRecord(), mine, NOW), History(actions=(mine,)))
    assert known.under_way == mine
    assert len(known.actions) == 1


def test_withheld_here_does_not_hide_that_another_acted() -> None:
    shared = with_shared_action(SharedRecord(), action(1, outcome="ineffective"), NOW)
    known = joined_history(shared, History(actions=(action(1, outcome="withheld"),)))
    assert [each.outcome for each in known.spent] == ["ineffective"]


def test_unsent_action_is_taken_out_again() -> None:
    shared = with_shared_action(SharedRecord(), action(1), NOW)
    for outcome in ("gone", "withheld"):
        assert with_shared_action(shared, action(1, outcome=outcome), NOW).actions == ()
    assert with_shared_action(SharedRecord(), action(1, at=NOW - timedelta(hours=25)), NOW).actions != ()
    old = with_shared_action(SharedRecord(), action(1, at=NOW - timedelta(hours=25)), NOW)
    assert [each.pid for each in with_shared_action(old, action(2), NOW).actions] == [2]


def test_later_arm_of_the_record_lifts_a_disarm_of_the_journal() -> None:
    here = replay_brakes(
        [Disarm(ago(60), "stop", "ann"), MaintenanceWindow(ago(60), NOW + timedelta(hours=1), "index", "bob")]
    )
    assert joined_brakes(SharedRecord(), here) == here
    assert [type(each) for each in missing_brakes(SharedRecord(), here, NOW)] == [Disarm, MaintenanceWindow]
    armed = with_shared_event(SharedRecord(), Arm(ago(30), "go", "ann"))
    assert joined_brakes(armed, here).kill_switch is None
    assert joined_brakes(armed, here, is_untold=True).kill_switch == "disarmed by ann: stop"
    assert (
        joined_brakes(with_shared_event(SharedRecord(), Arm(ago(90), "go", "ann")), here).kill_switch
        == "disarmed by ann: stop"
    )
    assert [type(each) for each in lifted_brakes(armed, here)] == [Arm]
    over = with_shared_event(armed, MaintenanceWindow(ago(1), ago(1), "over", "bob"))
    assert joined_brakes(over, here).maintenance_until is None
    assert not missing_brakes(over, here, NOW)


def test_arm_in_one_journal_does_not_lift_a_disarm_of_the_record() -> None:
    shared = with_shared_event(SharedRecord(), Disarm(ago(60), "stop", "ann"))
    assert joined_brakes(shared, replay_brakes([Arm(NOW, "go", "bob")])).kill_switch == "disarmed by ann: stop"
    assert joined_brakes(shared, Brakes()).kill_switch


def test_breaker_and_reset_are_the_latest_of_both() -> None:
    shared = with_shared_event(
        with_shared_event(SharedRecord(), Opening(ago(60), "there")), Opening(ago(50), "again", fingerprint="x")
    )
    known = joined_history(
        shared, History(opening=Opening(ago(90), "here"), stops=(Opening(ago(95), "y", fingerprint="x"),))
    )
    assert known.opening == Opening(ago(60), "there")
    assert known.stops == (Opening(ago(50), "again", fingerprint="x"),)
    closed = with_shared_event(shared, Reset(ago(10), "seen", "ann"))
    assert joined_history(closed, known).reset == Reset(ago(10), "seen", "ann")
    assert not any(isinstance(each, Opening) for each in closed.events)


def test_person_can_read_it() -> None:
    text = encode_record(with_shared_event(SharedRecord(), Disarm(NOW, "we fail over", "ann")))
    assert json.loads(text.removeprefix(MARK))["events"] == [
        {"kind": "disarm", "at": NOW.isoformat().replace("+00:00", "Z"), "reason": "we fail over", "by": "ann"}
    ]
    assert decision_id(action().victim, "cancel")
    assert replace(action(), outcome="gone").counts is False
