"""What polls may cost the server: a share of one core, whatever they cost and whatever happens."""

import asyncio
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pgdoctor.agent.polling.counters import Counters
from pgdoctor.agent.polling.poll_budget import PollBudget
from pgdoctor.agent.polling.reconnector import Reconnector
from pgdoctor.config.config import AgentSettings
from pgdoctor.enforcement.mitigator import Mitigator
from pgdoctor.journal.keeper import Keeper
from pgdoctor.mitigation.rules import Duration, Mitigation
from tests.agent.polling.assembling import make_poller
from tests.scenes.client import wait_until

#: All of it together takes many seconds.
pytestmark = pytest.mark.long

SECONDS = st.floats(0.0, 5.0)

#: As many as there is room for.
MANY_LOCKS = 10_000


def poll(budget: PollBudget, gate: float, looks: list[float]) -> tuple[float, float]:
    """Poll until all looks are done, while a session waits all the time: the seconds it took, those of the server."""
    now = spent = 0.0
    for look in looks:
        while True:
            budget, spent = budget.after_gate(gate), spent + gate
            if budget.may_poll_fully(now):
                break
            now += budget.gate_interval
        budget, spent = budget.after_full_poll(now, look), spent + look
        now += budget.gate_interval
    return now, spent - looks[-1]


@given(st.floats(0.1, 60), st.floats(0.001, 1), st.floats(0, 0.1), st.lists(SECONDS, min_size=1, max_size=20))
def test_all_that_is_asked_stays_within_the_share(interval, share, gate, looks):
    # The first gates, by which their cost becomes known, and the last full poll are paid for by the time after them.
    elapsed, spent = poll(PollBudget(interval, share), gate, looks)
    assert spent - 3 * gate <= share * max(elapsed, 0.95 * elapsed + 3) * (1 + 1e-9)


@given(st.floats(0.1, 60), st.floats(0.001, 1), SECONDS, st.lists(SECONDS, max_size=9))
def test_no_interval_is_shorter_than_was_asked_for(interval, share, look, gates):
    budget = PollBudget(interval, share).after_full_poll(0.0, look)
    for gate in gates:
        budget = budget.after_gate(gate)
    assert interval <= budget.gate_interval <= budget.full_poll_interval < math.inf


@given(st.floats(0.1, 60), st.floats(0.001, 1), st.floats(0.0, 1.0))
def test_sessions_are_counted_within_their_part_of_the_share(interval, share, seconds):
    budget = PollBudget(interval, share)
    assert budget.may_count(0.0)
    now, counts = 0.0, 0
    while counts < 5:
        if budget.may_count(now):
            budget, counts = budget.after_count(now, seconds), counts + 1
        now = max(now + interval, budget.counted_at + budget.count_interval)
    part = 0.03 * share * now
    # The first two make nothing less frequent.
    assert (counts - 2) * seconds <= max(part, 5 * interval * 0.03 * share) * (1 + 1e-6)


@given(st.floats(0.1, 60), st.floats(0.001, 1))
def test_cheap_statements_run_in_every_poll(interval, share):
    budget = PollBudget(interval, share).after_gate(interval * share * 0.4).after_full_poll(0.0, interval * share * 0.5)
    assert budget.gate_interval == budget.full_poll_interval == interval
    assert budget.may_poll_fully(0.0)


@given(st.floats(0.1, 60), st.floats(0.001, 1), st.floats(0, 0.1), SECONDS, SECONDS)
def test_gates_polls_and_surveys_together_stay_within_the_share(interval, share, gate, look, survey):
    budget = PollBudget(interval, share).after_full_poll(0.0, look)
    for _ in range(3):
        budget = budget.after_gate(gate).after_context_read(0.0, survey)
    spent = gate / budget.gate_interval + look / budget.full_poll_interval + survey / budget.survey_interval
    assert spent <= share * (1 + 1e-9)
    assert budget.survey_interval >= 15
    assert not budget.may_read_context(budget.survey_interval * 0.999)
    assert budget.may_read_context(budget.survey_interval)


@given(
    st.floats(0.1, 60),
    st.floats(0.001, 1),
    st.floats(0, 1e-4),
    st.floats(0, 1e-5),
    st.lists(st.tuples(st.integers(0, 100_000), SECONDS), min_size=1, max_size=20),
)
def test_polls_that_grow_and_shrink_on_a_busy_machine_stay_within_the_share(interval, share, fixed, each, looks):
    """A poll has a price, and above a few bytes one for each; it takes that, and as long as it waits for its turn."""
    budget, now, spent = PollBudget(interval, share), 0.0, 0.0
    for size, waited in looks:
        now = max(now, budget.full_poll_at + budget.full_poll_interval)
        cost = fixed + each * max(size, 16_384)
        budget = budget.after_full_poll(now, cost + waited, size)
        spent += cost
    assert spent <= share * (now + budget.full_poll_interval) * (1 + 1e-9)


def test_a_poll_that_had_to_wait_for_its_turn_puts_off_no_other():
    budget = PollBudget(1.0, 0.02).after_full_poll(0.0, 0.01, 1_000).after_full_poll(1.0, 4.0, 1_100)
    assert budget.may_poll_fully(2.0)


def test_a_poll_that_found_much_more_or_failed_is_charged_with_all_that_it_took():
    budget = PollBudget(1.0, 0.02).after_full_poll(0.0, 0.01, 1_000)
    assert budget.after_full_poll(1.0, 0.5, 1_000_000).full_poll_interval > 25.0
    assert budget.after_full_poll(1.0, 4.0).full_poll_interval > 200.0


def test_one_expensive_poll_puts_off_no_other_but_the_next_one_does():
    budget = PollBudget(1.0, 0.02).after_full_poll(0.0, 0.06)
    assert budget.may_poll_fully(1.0)
    budget = budget.after_full_poll(1.0, 0.06)
    assert not budget.may_poll_fully(2.0)


def test_one_gate_that_had_to_wait_for_its_turn_spaces_nothing():
    budget = PollBudget(1.0, 0.02).after_gate(0.001).after_gate(4.0)
    assert budget.gate_interval == 1.0


def test_first_measurements_on_a_cold_server_put_nothing_off():
    budget = PollBudget(1.0, 0.02)
    for number in range(2):
        assert budget.may_count(float(number))
        budget = budget.after_gate(0.75).after_count(float(number), 0.75).after_context_read(0.0, 0.75)
    assert budget.gate_interval == 1.0
    assert budget.may_count(2.0)
    assert budget.survey_interval == 15.0
    budget = budget.after_gate(0.75).after_count(2.0, 0.75)
    assert budget.gate_interval == 75.0
    assert not budget.may_count(3.0)


def test_one_survey_that_had_to_wait_for_its_turn_puts_off_no_finding():
    budget = PollBudget(1.0, 0.02).after_context_read(0.0, 0.01).after_context_read(15.0, 4.0)
    assert budget.may_read_context(30.0)


def test_a_poll_that_is_paid_for_holds_nothing_up():
    budget = PollBudget(1.0, 0.02).after_full_poll(0.0, 1.0)
    assert budget.without_paid_poll(49.0).full_poll_interval > 50.0
    assert budget.without_paid_poll(50.0).full_poll_interval == 1.0


def test_expensive_polls_become_less_frequent_with_a_message(scene, agent):
    # Many locks make a poll expensive, and not the gate.
    scene.client(f"select pg_advisory_lock_shared(n) from generate_series(1, {MANY_LOCKS}) n")
    watching = agent(scene.dsn, share=0.002)
    watching.wait_for("up", 1)
    for _ in range(5):
        # Each alone: on a busy machine the first gates are expensive, and seconds apart.
        at_rest = watching.wait_for_polls(1)["pgdoctor_poll_interval_seconds"]
    scene.admin.execute("create table t ()")
    holder = scene.client("lock table t")
    waiters = [scene.client().block("select from t")]
    watching.wait_for("blocked_sessions", 1)
    rare = wait_until(lambda: (now := watching.metrics())["pgdoctor_poll_interval_seconds"] > 2 * at_rest and now)
    waiters.append(scene.client().block("select from t"))
    # The gate goes on and counts both, though no full poll has seen the second one.
    now = watching.wait_for_polls(3)
    for name, value in {"up": 1, "blocked_sessions": 2}.items():
        assert now[f"pgdoctor_{name}"] == value
    assert now["pgdoctor_oldest_wait_seconds"] > rare["pgdoctor_oldest_wait_seconds"]
    assert len(watching.get("/diagnosis").json()["waits"]) == 1
    spaced = "polls exceed max_server_share: full polls are less frequent"
    # More than once, where the machine's load lets looks be cheap in between.
    told = [line["seconds_between_looks"] for line in watching.wait_for_lines(spaced) if line["event"] == spaced]
    # Twice the interval: the line may come while the gate alone is what is expensive.
    assert min(told) >= 0.4
    holder.run("commit")
    for waiter in waiters:
        waiter.finish()
    # The end of an incident needs no look.
    assert watching.wait_for_polls(2)["pgdoctor_blocked_sessions"] == 0


#: Enough of them to see that some had no full poll.
POLLS = 8


class Considering(Mitigator):
    """A mitigation that notes what it is given."""

    needs_a_look = False

    def __init__(self, needs_a_look):
        super().__init__(Mitigation())
        self.needs_a_look = needs_a_look
        self.given = []

    async def consider(self, diagnosis, door, read_at=None):
        self.given.append(diagnosis)


@pytest.mark.parametrize("needs_a_look", [False, True])
def test_no_diagnosis_is_acted_upon_twice_and_none_that_is_needed_waits_until_the_last_is_paid_for(
    scene, needs_a_look, tmp_path
):
    # Many locks make a poll expensive, and not the gate.
    scene.client(f"select pg_advisory_lock_shared(n) from generate_series(1, {MANY_LOCKS}) n")
    scene.admin.execute("create table t ()")
    scene.client("lock table t")
    scene.client().block("select from t")

    async def polled():
        connection, considering, counters = Reconnector(scene.dsn, 5.0), Considering(needs_a_look), Counters()
        settings = AgentSettings(interval=Duration(0.1), wait_threshold=Duration(0), max_server_share=0.002)
        keeper = Keeper(tmp_path / "journal.db")
        poller = make_poller(connection, settings, keeper, counters=counters, mitigator=considering)
        running = asyncio.ensure_future(poller.run())
        # On a busy machine the first gate may be expensive, and the second one seconds later.
        while counters.durations.sum_buckets()[-1] < POLLS:  # noqa: ASYNC110
            await asyncio.sleep(0.05)
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        connection.drop()
        keeper.close()
        return considering.given, counters.durations.sum_buckets()[-1]

    diagnoses, polls = asyncio.run(polled())
    assert diagnoses
    assert len({id(each) for each in diagnoses}) == len(diagnoses)
    # The last poll may have been broken off.
    assert len(diagnoses) >= polls - 1 if needs_a_look else len(diagnoses) < polls
    assert all(each.blocked_sessions == 1 for each in diagnoses)
