"""The agent's metrics: made at each scrape from the one state, so that no series outlives what it speaks of.

Every value of every label is there from the first scrape on. No label ever says a PID, a statement or a name that a
user chose.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import NamedTuple, get_args

from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.exposition import choose_encoder
from prometheus_client.metrics_core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector
from prometheus_client.samples import Exemplar

from pgdoctor import __version__
from pgdoctor.agent.state import MISSED_POLLS, State, figures
from pgdoctor.agent.tally import Bucket, Tally
from pgdoctor.diagnosis.finding import kinds
from pgdoctor.diagnosis.signals import SIGNALS
from pgdoctor.diagnosis.snapshot import Connections
from pgdoctor.mitigation.budgets import BUDGETS
from pgdoctor.mitigation.execute import Mitigator, Standing
from pgdoctor.mitigation.rules import Mode
from pgdoctor.notify.notifier import Waiting
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


#: What holds of the process as a whole, or does not.
STATES_OF_PROCESS = {
    "config_reload_success": "1 if the last reload (SIGHUP) took the configuration; 0: the old one is in use, and "
    "nothing is signalled.",
    "journal_up": "1 if the journal could be written to the last time that there was something to write, else 0.",
}

#: What is counted of the process as a whole: the label, and what it is.
COUNTS_OF_PROCESS = {
    "http_refused": (
        "reason",
        "Requests and connections turned away: bad credentials, a path without a token in the configuration, no HTTP, "
        "too big, too slow, no TLS where it is wanted, no file descriptor, or (crowded) waiting for their client while "
        "others wanted the place.",
    ),
    "webhook_received": ("kind", "Alerts that came in at /webhook; invalid: what was none."),
    "notifications": (
        "outcome",
        "Events of incidents by what became of them at each receiver: delivered, refused (an answer that stays the "
        "same), failed (every attempt), expired (too old), dropped (the queue was full).",
    ),
}


class Watched(NamedTuple):
    """One server as its metrics see it; `name` None: the only one, whose series have no `server` label."""

    name: str | None
    state: State
    tally: Tally
    mitigator: Mitigator | None


class Exposition(Collector):
    """The metrics page. Asking for it never asks a database."""

    def __init__(
        self,
        watched: Callable[[], Iterable[Watched]],
        counts: Mapping[str, Mapping[str, int]],
        dropped_lines: Callable[[], int],
        states: Callable[[], Mapping[str, bool]],
        told: Callable[[], Waiting] = Waiting,
    ) -> None:
        self._watched = watched
        self._counts = counts
        self._dropped_lines = dropped_lines
        self._states = states
        self._told = told
        self._registry = CollectorRegistry(auto_describe=False)
        self._registry.register(self)
        self._registry.register(ProcessCollector(registry=None))

    def page(self, accept: str) -> tuple[bytes, str]:
        """The page in the format that the Accept header asks for, and its content type."""
        try:
            encode, content_type = choose_encoder(accept)
        except (TypeError, ValueError):
            # It trips over a version that is none.
            encode, content_type = choose_encoder("")
        return encode(self._registry), content_type

    def collect(self) -> Iterator[Metric]:
        """All families, of one moment."""
        yield from _joined((each.name, _server(each)) for each in self._watched())
        yield CounterMetricFamily(
            "pgdoctor_log_messages_dropped", "Log lines beyond the rate limit, or not writable.", self._dropped_lines()
        )
        for name, holds in self._states().items():
            yield _gauge(f"pgdoctor_{name}", STATES_OF_PROCESS[name], holds)
        for name, (label, text) in COUNTS_OF_PROCESS.items():
            counted = CounterMetricFamily(f"pgdoctor_{name}", text, labels=[label])
            for value, number in self._counts.get(name, {}).items():
                counted.add_metric([value], number)
            yield counted
        yield from _told(self._told())
        yield InfoMetricFamily("pgdoctor_build", "The agent's version.", {"version": __version__})


def _told(waiting: Waiting) -> Iterator[Metric]:
    yield _gauge("pgdoctor_notifications_queued", "Events of incidents that wait to be told.", waiting.events)
    yield _gauges(
        "pgdoctor_notify_breaker_open",
        "1 while a receiver is left in peace, since half of the latest calls have failed.",
        ["receiver"],
        waiting.left_in_peace,
    )


def _joined(servers: Iterable[tuple[str | None, Iterator[Metric]]]) -> Iterator[Metric]:
    """Each family once, with the series of all servers, told apart by their label."""
    joined: dict[str, Metric] = {}
    for server, families in servers:
        label = {} if server is None else {"server": server}
        for family in families:
            whole = joined.setdefault(family.name, Metric(family.name, family.documentation, family.type))
            whole.samples += [sample._replace(labels=label | sample.labels) for sample in family.samples]
    return iter(joined.values())


def _server(watched: Watched) -> Iterator[Metric]:
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
    yield _gauge(
        "pgdoctor_poll_interval_seconds",
        "From one full look at the locks to the next: the interval, or more where looks are too dear.",
        tally.poll_interval,
    )
    yield CounterMetricFamily("pgdoctor_statements", "Statements sent to the server.", tally.statements)
    yield CounterMetricFamily(
        "pgdoctor_received_bytes", "Bytes of the rows that the server answered with.", tally.received_bytes
    )


def _own(state: State) -> Iterator[Metric]:
    yield _gauge("pgdoctor_up", "1 if the last poll succeeded and is recent, else 0.", state.up)
    one_hot = {name: name == state.connection for name in STATES}
    yield _gauges("pgdoctor_connection_state", "1 for how the agent's own connection is.", ["state"], one_hot)
    visible = state.up and not state.is_blind
    yield _gauge(
        "pgdoctor_visibility",
        f"1 if other sessions' activity may be read, 0 if privileges hide it (see: pgdoctor setup). {_AGE}",
        visible,
    )
    yield _gauge(
        "pgdoctor_last_poll_timestamp_seconds", "When the last poll began, in Unix time.", state.last_attempt or 0
    )
    yield _gauge(
        "pgdoctor_last_success_timestamp_seconds",
        "When the last successful poll ended, in Unix time: how old all other figures are.",
        state.last_success or 0,
    )


def _incident(state: State) -> Iterator[Metric]:
    found = state.figures or figures(None)
    label = ["class"]
    yield _gauge(
        "pgdoctor_blocked_sessions",
        f"Sessions that have waited for another one's lock for wait_threshold. {_AGE}",
        found.blocked_sessions,
    )
    yield _gauges(
        "pgdoctor_blockers",
        f"Sessions that others wait for, by cause; unknown counts those that wait in line themselves too. {_AGE}",
        label,
        found.blockers,
    )
    yield _gauges(
        "pgdoctor_blocked_sessions_by_class",
        f"Different sessions that stand, directly or not, behind a blocker of the class. Classes overlap. {_AGE}",
        label,
        found.blocked_by_class,
    )
    yield _gauge("pgdoctor_oldest_wait_seconds", f"The longest wait for a lock. {_AGE}", found.oldest_wait)
    yield _gauge(
        "pgdoctor_wait_depth", f"Sessions from the deepest waiter to the root that it waits for. {_AGE}", found.depth
    )
    yield _gauge(
        "pgdoctor_wait_cycles",
        f"Groups of sessions that wait for each other in a circle: a deadlock that the server will end. {_AGE}",
        found.cycles,
    )
    yield _gauges(
        "pgdoctor_oldest_blocker_transaction_seconds",
        f"Age of the oldest transaction of a blocker of the class. {_AGE}",
        label,
        found.oldest_transaction,
    )


def _findings(state: State) -> Metric:
    found = state.diagnosis.findings if state.diagnosis else ()
    numbers = dict.fromkeys(kinds(), 0) | Counter(note.kind for note in found)
    return _gauges(
        "pgdoctor_findings", f"What is wrong beside locks, by kind (see: pgdoctor explain). {_AGE}", ["kind"], numbers
    )


def _connections(state: State) -> Iterator[Metric]:
    server = state.server
    counted = server.connections_by_state if server else Connections()
    by_state = {name: getattr(counted, field) for field, name in CONNECTION_STATES.items()}
    yield _gauges("pgdoctor_connections", f"Client connections by state. {_AGE}", ["state"], by_state)
    yield _gauge(
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
    yield _gauges(
        "pgdoctor_mitigation_mode",
        "1 for the mode in force: enforce that has lapsed is dry_run, and observe where a reload failed.",
        ["mode"],
        one_hot,
    )
    yield _gauge(
        "pgdoctor_leader",
        "1 if this agent holds the leader lock at the server: of several that enforce, or dry-run, one does.",
        standing.leads,
    )
    yield _gauge(
        "pgdoctor_breaker_open",
        "1 if the breaker is open: nobody is signalled until a person resets it.",
        standing.breaker_open,
    )
    left = {budget: standing.budgets.get(budget, 0) for budget in BUDGETS}
    yield _gauges(
        "pgdoctor_budget_remaining",
        "Actions that are left; of those of a kind of incident, for the kind that has least left. 0 while mode is off.",
        ["budget"],
        left,
    )


def _unusual(state: State) -> Metric:
    return _gauges(
        "pgdoctor_anomaly_score",
        "How far above what is usual on this server a signal is, in spreads (modified z-score: median and MAD, with a "
        f"floor); 0 while not enough is known: see pgdoctor explain anomaly. {_AGE}",
        ["signal"],
        {signal: state.scores.get(signal, 0.0) for signal in SIGNALS},
    )


def _gauge(name: str, text: str, value: float) -> GaugeMetricFamily:
    return GaugeMetricFamily(name, text, value=float(value))


def _gauges(name: str, text: str, labels: list[str], values: Mapping[str, float]) -> GaugeMetricFamily:
    family = GaugeMetricFamily(name, text, labels=labels)
    for label, value in values.items():
        family.add_metric([label], float(value))
    return family
