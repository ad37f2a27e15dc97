"""When a receiver is left alone, as a state machine."""

from hypothesis import given
from hypothesis import strategies as st

from pgdoctor.notify.circuit import FEWEST, WINDOW, Circuit

PAUSE = 30.0

#: Calls as they come: seconds after the one before, and whether it succeeds.
CALLS = st.lists(st.tuples(st.integers(0, 60), st.booleans()), max_size=60)


def after(*calls: bool, at: float = 0.0) -> Circuit:
    circuit = Circuit(PAUSE)
    for succeeded in calls:
        circuit = circuit.after_call(succeeded, at)
    return circuit


def test_a_few_failures_do_not_open_it() -> None:
    assert after(*[False] * (FEWEST - 1)).compute_state(0) == "closed"


def test_it_opens_at_half() -> None:
    assert after(True, True, True, False).compute_state(0) == "closed"
    assert after(True, True, False, False).compute_state(0) == "open"


def test_old_calls_do_not_count() -> None:
    assert after(*[True] * 100, *[False] * (WINDOW // 2 - 1)).compute_state(0) == "closed"
    assert after(*[True] * 100, *[False] * (WINDOW // 2)).compute_state(0) == "open"


def test_it_half_opens_by_itself() -> None:
    circuit = after(*[False] * FEWEST)
    assert circuit.compute_state(PAUSE - 0.001) == "open"
    assert circuit.wait_seconds(10.0) == PAUSE - 10.0
    assert circuit.compute_state(PAUSE) == "half_open"
    assert circuit.wait_seconds(PAUSE) == 0.0


def test_half_open_one_call_decides() -> None:
    circuit = after(*[False] * FEWEST)
    assert circuit.after_call(True, PAUSE) == Circuit(PAUSE)
    again = circuit.after_call(False, PAUSE)
    assert again.compute_state(PAUSE) == "open"
    assert again.wait_seconds(PAUSE) == PAUSE


def test_a_call_of_before_it_opened_changes_nothing() -> None:
    circuit = after(*[False] * FEWEST)
    assert circuit.after_call(True, 1.0) == circuit
    assert circuit.after_call(False, 1.0) == circuit


@given(CALLS)
def test_random_courses_keep_the_invariants(calls: list[tuple[int, bool]]) -> None:
    circuit, now = Circuit(PAUSE), 0
    for seconds, succeeded in calls:
        now += seconds
        before, circuit = circuit, circuit.after_call(succeeded, now)
        was, state = before.compute_state(now), circuit.compute_state(now)
        # Never without an end, never with an unbounded memory.
        assert 0.0 <= circuit.wait_seconds(now) <= PAUSE
        assert len(circuit.calls) <= WINDOW
        # The only ways there are.
        assert (was, state) in {
            ("closed", "closed"),
            ("closed", "open"),
            ("open", "open"),
            ("half_open", "open"),
            ("half_open", "closed"),
        }
        if (was, state) == ("closed", "open"):
            latest = [*before.calls, succeeded][-WINDOW:]
            assert len(latest) >= FEWEST
            assert latest.count(False) * 2 >= len(latest)
        if was == "half_open":
            assert (state == "closed") == succeeded


@given(st.lists(st.booleans(), max_size=60))
def test_receiver_that_succeeds_never_opens_the_circuit(calls: list[bool]) -> None:
    mostly = [True if place % 3 else called for place, called in enumerate(calls)]
    circuit = after(True, True, *mostly)
    assert circuit.compute_state(0) == "closed"
