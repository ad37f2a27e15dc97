"""Where an incident begins and ends, and what it is counted under."""

from datetime import timedelta

from hypothesis import given
from hypothesis import strategies as st

from pgdoctor.diagnosis.waiting_request import WaitingRequest
from pgdoctor.incidents.incident import Incident, IncidentEvent, IncidentPoll, advance_incident, recur_incident
from tests.building import NOW

LOOKS = st.lists(st.tuples(st.integers(0, 3), st.sampled_from(["migration", "hot_row", None])), max_size=30)


def followed(*found: tuple[int, str | None]) -> tuple[Incident | None, list[IncidentEvent]]:
    """What comes of looks a second apart."""
    incident, events = None, []
    for second, (blocked, leading) in enumerate(found):
        incident, happened = advance_incident(incident, IncidentPoll(NOW + timedelta(seconds=second), blocked, leading))
        events += happened
    return incident, events


def test_no_blocked_session_is_no_incident() -> None:
    assert followed((0, None), (0, None), (0, None)) == (None, [])


def test_one_quiet_poll_does_not_end_it() -> None:
    incident, events = followed((2, "migration"), (0, None), (1, "migration"), (0, None))
    assert incident is not None
    assert [event.kind for event in events] == ["started"]


def test_two_quiet_polls_end_it_at_the_first_of_them() -> None:
    incident, events = followed((2, "migration"), (5, "migration"), (0, None), (0, None), (0, None))
    assert incident is None
    assert [event.kind for event in events] == ["started", "ended"]
    [_, ended] = events
    assert ended.incident.seconds_until(ended.at) == 2.0
    assert ended.incident.peak_blocked == 5
    assert ended.incident.id == events[0].incident.id == "20260522T231000000"


def test_a_class_that_comes_back_is_reported_once() -> None:
    classes = ("migration", "hot_row", "migration", "hot_row")
    incident, events = followed(*((1, name) for name in classes))
    assert incident is not None
    assert incident.classes == ("migration", "hot_row")
    assert [(event.kind, event.incident.classes[-1]) for event in events] == [
        ("started", "migration"),
        ("class_changed", "hot_row"),
    ]


def test_a_clock_that_is_set_back_makes_no_time_negative() -> None:
    incident, _ = advance_incident(None, IncidentPoll(NOW, 1, "migration"))
    assert incident is not None
    assert incident.seconds_until(NOW - timedelta(hours=1)) == 0.0


@given(LOOKS)
def test_every_incident_starts_and_ends_once(found: list[tuple[int, str | None]]) -> None:
    incident, events = followed(*found, (0, None), (0, None))
    assert incident is None
    kinds = [event.kind for event in events if event.kind != "class_changed"]
    assert kinds == ["started", "ended"] * (len(kinds) // 2)
    assert bool(kinds) == any(blocked for blocked, _ in found)
    assert len({event.incident.id for event in events}) == len(kinds) // 2


def looks(*found: tuple[int, float]) -> list[str]:
    """The events of looks with so many blocked, and so long a wait."""
    incident, kinds = None, []
    for second, (blocked, wait) in enumerate(found):
        incident, events = advance_incident(
            incident, IncidentPoll(NOW + timedelta(seconds=second), blocked, "migration", wait)
        )
        kinds += [event.kind for event in events]
    return kinds


def test_it_worsens_once() -> None:
    assert looks((1, 1.0), (10, 2.0), (1, 0.1), (12, 70.0)) == ["started", "worsened"]
    assert looks((1, 1.0), (2, 60.0), (2, 61.0)) == ["started", "worsened"]


def test_one_that_starts_critical_does_not_worsen() -> None:
    assert looks((10, 1.0), (20, 70.0)) == ["started"]


def test_critical_incident_ends_critical() -> None:
    incident, events = advance_incident(None, IncidentPoll(NOW, 10, "migration"))
    for second in (1, 2):
        incident, events = advance_incident(incident, IncidentPoll(NOW + timedelta(seconds=second), 0))
    assert [event.incident.severity for event in events] == ["critical"]


ALTER = WaitingRequest("deploy", "app", "alter table orders add c int", "public.orders", "migration", 0.9)


def test_incident_that_comes_back_lasts_through_the_pauses() -> None:
    """A request that is tried again every three seconds: polls twice a second, blocked for one second of three."""
    incident, ended, kinds = None, None, []
    for half in range(48):
        blocked = 5 if half % 6 < 2 else 0
        request = ALTER if blocked else None
        look = IncidentPoll(NOW + timedelta(seconds=half / 2), blocked, "idle_in_transaction", 0.5, 1.0, request)
        if incident is None and ended is not None and blocked:
            incident, events = recur_incident(ended.incident, ended.at, look)
        else:
            incident, events = advance_incident(incident, look)
        ended = next((each for each in events if each.kind == "ended"), ended)
        kinds += [each.kind for each in events]
    assert kinds == ["started", "ended", "recurred", "class_changed"]
    assert incident is not None
    assert (incident.attempts, incident.request) == (8, ALTER)
    assert incident.classes == ("idle_in_transaction", "migration")
    assert incident.id == "20260522T231000000"
    quiet = timedelta(seconds=24)
    while incident is not None:
        quiet += timedelta(seconds=0.5)
        incident, events = advance_incident(incident, IncidentPoll(NOW + quiet, 0))
    assert quiet < timedelta(seconds=40)
    assert events[0].incident.seconds_until(events[0].at) == 22.0


def test_another_request_takes_the_place_of_the_first() -> None:
    other = WaitingRequest("deploy", "app", "drop table orders", "public.orders")
    longer = WaitingRequest("deploy", "app", "drop table orders", "public.orders", "migration", 0.2)
    incident = None
    for second, request in enumerate((ALTER, other, longer, None)):
        incident, _ = advance_incident(incident, IncidentPoll(NOW + timedelta(seconds=second), 1, request=request))
    assert incident is not None
    assert incident.request == longer
