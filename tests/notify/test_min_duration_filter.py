"""Incidents that end before a receiver wants to know of them."""

from datetime import timedelta
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from pgdoctor.fields import Duration
from pgdoctor.incidents.incident import Incident, IncidentEvent
from pgdoctor.notify.min_duration_filter import MinDurationFilter
from pgdoctor.notify.settings import Recipient
from tests.building import NOW

INCIDENT = Incident("1", NOW, ("migration",), 1)
CHAT = Recipient("chat", "http://localhost/", min_duration=Duration(30))


def event(kind: Any, seconds: float) -> IncidentEvent:
    return IncidentEvent(kind, INCIDENT, NOW + timedelta(seconds=seconds))


def passed(withheld: MinDurationFilter, *events: tuple[str, float], to: Recipient = CHAT) -> list[str]:
    return [kind for kind, seconds in events if withheld.lets_pass(to, event(kind, seconds), "shop")]


def test_without_a_wish_all_of_it_is_reported_at_once() -> None:
    everything = ("started", 0), ("worsened", 1), ("ended", 2)
    assert passed(MinDurationFilter(), *everything, to=replace(CHAT, min_duration=Duration(0))) == [
        kind for kind, _ in everything
    ]


def test_of_what_ends_before_nothing_is_reported() -> None:
    assert passed(MinDurationFilter(), ("started", 0), ("class_changed", 1), ("worsened", 20), ("ended", 29.9)) == []


def test_lasting_incident_is_delivered_with_all_its_events() -> None:
    withheld = MinDurationFilter()
    assert passed(withheld, ("started", 0)) == []
    assert not withheld.is_due(CHAT, INCIDENT, 29.9, "shop")
    assert not withheld.is_due(CHAT, INCIDENT, 30.0, "another server")
    assert withheld.is_due(CHAT, INCIDENT, 30.0, "shop")
    withheld.mark_notified(CHAT, INCIDENT, "shop")
    assert not withheld.is_due(CHAT, INCIDENT, 31.0, "shop")
    assert passed(withheld, ("class_changed", 40), ("ended", 41)) == ["class_changed", "ended"]


def test_an_event_at_the_right_age_tells_of_it_too() -> None:
    withheld = MinDurationFilter()
    assert passed(withheld, ("started", 0), ("worsened", 30)) == ["worsened"]
    assert not withheld.is_due(CHAT, INCIDENT, 31.0, "shop")


def test_the_end_of_one_of_before_the_agent_is_reported() -> None:
    """Whether a user was notified of its beginning is no longer known."""
    assert passed(MinDurationFilter(), ("ended", 1)) == ["ended"]


@given(
    st.lists(st.tuples(st.sampled_from(["class_changed", "worsened"]), st.floats(0, 100)), max_size=5),
    st.floats(0, 100),
)
def test_end_without_a_start_is_not_delivered(between: list[tuple[str, float]], end: float) -> None:
    told = passed(MinDurationFilter(), ("started", 0), *sorted(between, key=lambda each: each[1]), ("ended", end))
    assert told == [] or told[0] != "ended"
