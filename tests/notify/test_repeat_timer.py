"""Alertmanager forgets what it has not received for five minutes; so it is notified again while an incident lasts."""

from datetime import timedelta
from typing import Any

import pytest

from pgdoctor.incidents.incident import Incident, IncidentEvent
from pgdoctor.notify.formats import list_formats
from pgdoctor.notify.repeat_timer import RepeatTimer
from pgdoctor.notify.settings import Recipient
from tests.building import NOW

INCIDENT = Incident("1", NOW, ("migration",), 1)
ALERTMANAGER = Recipient("a", "http://a/", format="alertmanager")


def event(kind: Any, seconds: float) -> IncidentEvent:
    return IncidentEvent(kind, INCIDENT, NOW + timedelta(seconds=seconds))


def due(timer: RepeatTimer, age: float, recipient: Recipient = ALERTMANAGER) -> bool:
    return timer.is_due(recipient, INCIDENT, age, "shop")


def test_alert_is_repeated_each_minute_until_the_end() -> None:
    timer = RepeatTimer()
    assert not due(timer, 500)
    timer.note_event(ALERTMANAGER, event("started", 0), "shop")
    assert [due(timer, age) for age in (0, 59, 60, 500)] == [False, False, True, True]
    timer.note_event(ALERTMANAGER, event("started", 60), "shop")
    assert [due(timer, age) for age in (119, 120)] == [False, True]
    timer.note_event(ALERTMANAGER, event("ended", 130), "shop")
    assert not due(timer, 500)


def test_new_agent_repeats_an_alert_of_an_earlier_one() -> None:
    timer = RepeatTimer()
    timer.note_event(ALERTMANAGER, event("continued", 200), "shop")
    assert due(timer, 260)


def test_clock_that_is_set_back_does_not_stop_repetitions() -> None:
    timer = RepeatTimer()
    timer.note_event(ALERTMANAGER, event("started", 3600), "shop")
    assert due(timer, 10)


@pytest.mark.parametrize("wanted", [each for each in list_formats() if each != "alertmanager"])
def test_other_formats_are_not_repeated(wanted: str) -> None:
    timer, other = RepeatTimer(), Recipient("a", "http://a/", format=wanted)
    timer.note_event(other, event("started", 0), "shop")
    assert not due(timer, 3600, other)


def test_receiver_that_does_not_want_starts_is_not_notified_again() -> None:
    timer, other = RepeatTimer(), Recipient("a", "http://a/", format="alertmanager", events=("ended",))
    timer.note_event(other, event("started", 0), "shop")
    assert not due(timer, 3600, other)
