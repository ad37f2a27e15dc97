"""The metrics of one server: made at each scrape from the one state, so that no series outlives what it speaks of.

Every value of every label is there from the first scrape on. No label ever says a PID, a statement or a name that a
user chose.
"""

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import NamedTuple, get_args

from prometheus_client.metrics_core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.samples import Exemplar

from pgdoctor.agent.state import MISSED_POLLS, State, figures
from pgdoctor.agent.tally import Bucket, Tally
from pgdoctor.diagnosis.finding import kinds
from pgdoctor.diagnosis.signals import SIGNALS
from pgdoctor.diagnosis.snapshot import Connections
from pgdoctor.mitigation.budgets import BUDGETS
from pgdoctor.mitigation.execute import Mitigator, Standing
from pgdoctor.mitigation.rules import Mode
from pgdoctor.postgres.door import STATES

#: States of connections as Postgres spells them.
CONNECTION_STATES = {
    "active": "active",
    "idle": "idle",
    "idle_in_transaction": "idle in transaction",
    "idle_in_transaction_aborted": "idle in transaction (aborted)",
    "fastpath_function_call": "fastpath function call",
    "unknown": "unknown",
}

_AGE = f"As of the last poll; 0 while pgdoctor_up is 0, which it is after {MISSED_POLLS} polls without an answer."


class Watched(NamedTuple):
    """One server as its metrics see it; `name` None: the only one, whose series have no `server` label."""

    name: str | None
    state: State
    tally: Tally
    mitigator: Mitigator | None


def families(watched: Watched) -> Iterator[Metric]:
    """All metrics of one server, of one moment, without its label."""
    yield from _own(watched.state)
    yield from _incident(watched.state)
    yield _findings(watched.state)
    yield from _connections(watched.state)
    yield _unusual(watched.state)
    yield from _history(watched.tally)
    yield from _work(watched.tally)
    yield from _actions(watched.mitigator)
    yield _releases(watched.tally)


def _history(tally: Tally) -> Iterator[Metric]:
    yield CounterMetricFamily(
        "pgdoctor_blocked_session_seconds",
        "Waiting, integrated over time: at each poll the blocked sessions times the seconds since the last poll. "
        "What nobody saw is not counted.",
        tally.blocked_seconds,
    )
    incidents = CounterMetricFamily(
        "pgdoctor_incidents",
        "Incidents by the class of their widest root; one that another class comes to lead counts once for each.",
        labels=["class"],
    )
    for name, number in tally.incidents.items():
        incidents.add_metric([name], number)
    yield incidents
    yield HistogramMetricFamily(
        "pgdoctor_incident_duration_seconds",
        "How long incidents were, counted at their end: from the first poll that found somebody blocked to the first "
        "of two that found nobody.",
        buckets=[_bucket(bucket) for bucket in tally.incident_durations.buckets()],
        sum_value=tally.incident_durations.total,
    )


def _releases(tally: Tally) -> Metric:
    return HistogramMetricFamily(
        "pgdoctor_release_seconds",
        "From a signal to the look that found those released who had waited; of signals that released somebody.",
        buckets=[_bucket(bucket) for bucket in tally.releases.buckets()],
        sum_value=tally.releases.total,
    )


def _bucket(bucket: Bucket) -> tuple[str, float] | tuple[str, float, Exemplar]:
    if bucket.example is None:
        return bucket.bound, bucket.number
    incident, seconds, at = bucket.example
    return bucket.bound, bucket.number, Exemplar({"incident": incident}, seconds, at)


def _work(tally: Tally) -> Iterator[Metric]:
    yield HistogramMetricFamily(
        "pgdoctor_poll_duration_seconds",
        "What polls took, from the first statement to the diagnosis; failed ones too.",
        buckets=[_bucket(bucket) for bucket in tally.durations.buckets()],
        sum_value=tally.durations.total,
    )
    yield CounterMetricFamily(
        "pgdoctor_polls_skipped", "Polls left out because the one before was not over.", tally.skipped
    )
    yield gauge(
        "pgdoctor_poll_interval_seconds",
        "From one full look at the locks to the next: the interval, or more where looks are too dear.",
        tally.poll_interval,
    )
    yield CounterMetricFamily("pgdoctor_statements", "Statements sent to the server.", tally.statements)
    yield CounterMetricFamily(
        "pgdoctor_received_bytes", "Bytes of the rows that the server answered with.", tally.received_bytes
    )


def _own(state: State) -> Iterator[Metric]:
    yield gauge("pgdoctor_up", "1 if the last poll succeeded and is recent, else 0.", state.up)
    one_hot = {name: name == state.connection for name in STATES}
    yield gauges("pgdoctor_connection_state", "1 for how the agent's own connection is.", ["state"], one_hot)
    visible = state.up and not state.is_blind
    yield gauge(
        "pgdoctor_visibility",
        f"1 if other sessions' activity may be read, 0 if privileges hide it (see: pgdoctor setup). {_AGE}",
        visible,
    )
    yield gauge(
        "pgdoctor_last_poll_timestamp_seconds", "When the last poll began, in Unix time.", state.last_attempt or 0
    )
    yield gauge(
        "pgdoctor_last_success_timestamp_seconds",
        "When the last successful poll ended, in Unix time: how old all other figures are.",
        state.last_success or 0,
    )


def _incident(state: State) -> Iterator[Metric]:
    found = state.figures or figures(None)
    label = ["class"]
    yield gauge(
        "pgdoctor_blocked_sessions",
        f"Sessions that have waited for another one's lock for wait_threshold. {_AGE}",
        found.blocked_sessions,
    )
    yield gauges(
        "pgdoctor_blockers",
        f"Sessions that others wait for, by cause; unknown counts those that wait in line themselves too. {_AGE}",
        label,
        found.blockers,
    )
    yield gauges(
        "pgdoctor_blocked_sessions_by_class",
        f"Different sessions that stand, directly or not, behind a blocker of the class. Classes overlap. {_AGE}",
        label,
        found.blocked_by_class,
    )
    yield gauge("pgdoctor_oldest_wait_seconds", f"The longest wait for a lock. {_AGE}", found.oldest_wait)
    yield gauge(
        "pgdoctor_wait_depth", f"Sessions from the deepest waiter to the root that it waits for. {_AGE}", found.depth
    )
    yield gauge(
        "pgdoctor_wait_cycles",
        f"Groups of sessions that wait for each other in a circle: a deadlock that the server will end. {_AGE}",
        found.cycles,
    )
    yield gauges(
        "pgdoctor_oldest_blocker_transaction_seconds",
        f"Age of the oldest transaction of a blocker of the class. {_AGE}",
        label,
        found.oldest_transaction,
    )


def _findings(state: State) -> Metric:
    found = state.diagnosis.findings if state.diagnosis else ()
    numbers = dict.fromkeys(kinds(), 0) | Counter(note.kind for note in found)
    return gauges(
        "pgdoctor_findings", f"What is wrong beside locks, by kind (see: pgdoctor explain). {_AGE}", ["kind"], numbers
    )


def _connections(state: State) -> Iterator[Metric]:
    server = state.server
    counted = server.connections_by_state if server else Connections()
    by_state = {name: getattr(counted, field) for field, name in CONNECTION_STATES.items()}
    yield gauges("pgdoctor_connections", f"Client connections by state. {_AGE}", ["state"], by_state)
    yield gauge(
        "pgdoctor_max_connections", f"The server's max_connections. {_AGE}", server.max_connections if server else 0
    )


def _actions(mitigator: Mitigator | None) -> Iterator[Metric]:
    actions = CounterMetricFamily(
        "pgdoctor_actions", "Signals by rule and by what came of them.", labels=["action", "rule", "outcome"]
    )
    refused = CounterMetricFamily(
        "pgdoctor_actions_refused", "Actions that a rule asked for and a guard refused.", labels=["reason"]
    )
    traces = CounterMetricFamily(
        "pgdoctor_action_traces",
        "What actions have left behind: an index that is not valid, a session that idles aborted with its locks, or "
        "the same coming back.",
        labels=["kind"],
    )
    if mitigator is not None:
        for labels, number in mitigator.actions.items():
            actions.add_metric(labels, number)
        for reason, number in mitigator.refused.items():
            refused.add_metric([reason], number)
        for kind, number in mitigator.traces.items():
            traces.add_metric([kind], number)
        yield from _standing(mitigator.standing)
    yield actions
    yield refused
    yield traces


def _standing(standing: Standing) -> Iterator[Metric]:
    one_hot = {mode: mode == standing.mode for mode in get_args(Mode)}
    yield gauges(
        "pgdoctor_mitigation_mode",
        "1 for the mode in force: enforce that has lapsed is dry_run, and observe where a reload failed.",
        ["mode"],
        one_hot,
    )
    yield gauge(
        "pgdoctor_leader",
        "1 if this agent holds the leader lock at the server: of several that enforce, or dry-run, one does.",
        standing.leads,
    )
    yield gauge(
        "pgdoctor_breaker_open",
        "1 if the breaker is open: nobody is signalled until a person resets it.",
        standing.breaker_open,
    )
    left = {budget: standing.budgets.get(budget, 0) for budget in BUDGETS}
    yield gauges(
        "pgdoctor_budget_remaining",
        "Actions that are left; of those of a kind of incident, for the kind that has least left. 0 while mode is off.",
        ["budget"],
        left,
    )


def _unusual(state: State) -> Metric:
    return gauges(
        "pgdoctor_anomaly_score",
        "How far above what is usual on this server a signal is, in spreads (modified z-score: median and MAD, with a "
        f"floor); 0 while not enough is known: see pgdoctor explain anomaly. {_AGE}",
        ["signal"],
        {signal: state.scores.get(signal, 0.0) for signal in SIGNALS},
    )


def gauge(name: str, text: str, value: float) -> GaugeMetricFamily:
    """One value."""
    return GaugeMetricFamily(name, text, value=float(value))


def gauges(name: str, text: str, labels: list[str], values: Mapping[str, float]) -> GaugeMetricFamily:
    """A value for each value of the one label."""
    family = GaugeMetricFamily(name, text, labels=labels)
    for label, value in values.items():
        family.add_metric([label], float(value))
    return family
