"""The metrics of one server, built at each scrape from the current state: no series outlives its subject.

All values of all labels exist from the first scrape on. No label contains a PID, a statement or a name chosen by a
user.
"""

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import NamedTuple, get_args

from pgdoctor.agent.metric_family import (
    Family,
    make_counter,
    make_counters,
    make_gauge,
    make_gauges,
    make_histogram,
)
from pgdoctor.agent.polling.counters import Counters
from pgdoctor.agent.polling.state import MISSED_POLLS, ServerState, compute_figures
from pgdoctor.diagnosis.finding import finding_kinds
from pgdoctor.enforcement.mitigator import MitigationStatus, Mitigator
from pgdoctor.mitigation.budgets import BUDGETS
from pgdoctor.mitigation.rules import Mode
from pgdoctor.model.anomaly_signals import SIGNALS
from pgdoctor.model.snapshot import Connections, Login
from pgdoctor.postgres.connection_errors import STATES

#: States of connections as Postgres spells them.
CONNECTION_STATES = {
    "active": "active",
    "idle": "idle",
    "idle_in_transaction": "idle in transaction",
    "idle_in_transaction_aborted": "idle in transaction (aborted)",
    "fastpath_function_call": "fastpath function call",
    "unknown": "unknown",
}

_AGE = f"Value of the last poll; 0 while pgdoctor_up is 0, that is after {MISSED_POLLS} polls without an answer."


class MetricsSource(NamedTuple):
    """One server as its metrics see it; `name` None: the only one, whose series have no `server` label."""

    name: str | None
    state: ServerState
    counters: Counters
    mitigator: Mitigator | None


def metric_families(watched: MetricsSource) -> Iterator[Family]:
    """All metrics of one server, of one moment, without its label."""
    yield from _make_poll_gauges(watched.state)
    yield from _make_incident_gauges(watched.state)
    yield _make_findings(watched.state)
    yield _lock_strangers(watched.state)
    yield from _make_connections(watched.state)
    yield _make_anomaly_scores(watched.state)
    yield from _make_incident_history(watched.counters)
    yield from _make_poll_counters(watched.counters)
    yield from _make_actions(watched.mitigator)
    yield _make_releases(watched.counters)


def _make_incident_history(counters: Counters) -> Iterator[Family]:
    yield make_counter(
        "pgdoctor_blocked_session_seconds",
        "Time that sessions spent blocked: at each poll, blocked sessions times seconds since the last poll. "
        "Waits between two polls are not counted.",
        counters.blocked_seconds,
    )
    yield make_counters(
        "pgdoctor_blocked_session_seconds_by_class",
        "Time that sessions spent blocked, directly or indirectly, by a blocker of the class: at each poll, sessions "
        "times seconds since the last poll. Classes overlap.",
        "class",
        counters.blocked_seconds_by_class,
    )
    yield make_counter(
        "pgdoctor_deadlocks",
        "Deadlocks that the server has counted in all its databases since the agent's start, as of the last reading "
        "(every 15 s).",
        counters.deadlocks,
    )
    yield make_counters(
        "pgdoctor_incidents",
        "Incidents by the class of the root that blocks most sessions. If that class changes, the incident counts "
        "once for each class.",
        "class",
        counters.incidents,
    )
    yield make_histogram(
        "pgdoctor_incident_duration_seconds",
        "Duration of ended incidents: from the first poll with blocked sessions to the first of two polls without. One "
        "that comes back counts again at its next end, with the time since it came back.",
        counters.incident_durations,
    )


def _make_releases(counters: Counters) -> Family:
    return make_histogram(
        "pgdoctor_release_seconds",
        "Time from a signal to the poll that found its waiters released. Signals without effect are not counted.",
        counters.releases,
    )


def _make_poll_counters(counters: Counters) -> Iterator[Family]:
    yield make_histogram(
        "pgdoctor_poll_duration_seconds",
        "Duration of polls, from the first statement to the diagnosis, including failed polls.",
        counters.durations,
    )
    yield make_counter(
        "pgdoctor_polls_skipped", "Polls skipped because the previous poll was still running.", counters.skipped
    )
    yield make_counter(
        "pgdoctor_full_polls_failed",
        "Full polls that ran into a timeout. Sessions are counted as before; the diagnosis is an earlier one.",
        counters.failed_full_polls,
    )
    yield make_gauge(
        "pgdoctor_poll_interval_seconds",
        "Time between two full polls: the configured interval, or more when polls exceed the CPU budget.",
        counters.poll_interval,
    )
    yield make_counter("pgdoctor_statements", "Statements sent to the server.", counters.statements)
    yield make_counter(
        "pgdoctor_received_bytes", "Bytes of result rows received from the server.", counters.received_bytes
    )


def _make_poll_gauges(state: ServerState) -> Iterator[Family]:
    yield make_gauge("pgdoctor_up", "Whether the last poll succeeded and is recent: 1, else 0.", state.up)
    one_hot = {name: name == state.connection for name in STATES}
    yield make_gauges(
        "pgdoctor_connection_state",
        "Whether the agent's own connection is in this state: 1, else 0.",
        "state",
        one_hot,
    )
    login = state.login or Login()
    yield make_gauge(
        "pgdoctor_login_probe_up",
        "Whether the last login of the agent's own (every login_probe_interval) has ended within the deadline, and "
        f"succeeded: 1, else 0. {_AGE}",
        state.up and login.error is None,
    )
    yield make_gauge(
        "pgdoctor_login_seconds",
        f"Duration of the last login of the agent's own that succeeded. {_AGE}",
        login.seconds or 0.0,
    )
    visible = state.up and not state.is_blind
    yield make_gauge(
        "pgdoctor_visibility",
        f"Whether the role may read the activity of other sessions: 1, else 0 (see: pgdoctor setup). {_AGE}",
        visible,
    )
    yield make_gauge(
        "pgdoctor_last_poll_timestamp_seconds", "Start of the last poll, in Unix time.", state.last_attempt or 0
    )
    yield make_gauge(
        "pgdoctor_last_success_timestamp_seconds",
        "End of the last successful poll, in Unix time. All other values are of that age.",
        state.last_success or 0,
    )
    yield make_gauge(
        "pgdoctor_last_full_poll_timestamp_seconds",
        "Start of the last poll that read all lock waits, in Unix time: the age of the diagnosis.",
        state.looked_time or 0,
    )


def _make_incident_gauges(state: ServerState) -> Iterator[Family]:
    found = state.figures or compute_figures(None)
    label = "class"
    yield make_gauge(
        "pgdoctor_blocked_sessions",
        f"Sessions that have been blocked by another session for at least wait_threshold. {_AGE}",
        found.blocked_sessions,
    )
    yield make_gauges(
        "pgdoctor_blockers",
        f"Blocking sessions by class. unknown includes sessions that are queued themselves. {_AGE}",
        label,
        found.blockers,
    )
    yield make_gauges(
        "pgdoctor_blocked_sessions_by_class",
        f"Distinct sessions blocked, directly or indirectly, by a blocker of the class. Classes overlap. {_AGE}",
        label,
        found.blocked_by_class,
    )
    yield make_gauge(
        "pgdoctor_oldest_wait_seconds",
        f"Seconds for which the longest blocked statement has waited for locks. {_AGE}",
        found.oldest_wait,
    )
    yield make_gauge(
        "pgdoctor_wait_depth",
        f"Length of the longest chain from a waiter to its root blocker, in sessions. {_AGE}",
        found.depth,
    )
    yield make_gauge(
        "pgdoctor_wait_cycles",
        f"Cycles of sessions that wait for each other (deadlocks); the server resolves them. {_AGE}",
        found.cycles,
    )
    yield make_gauges(
        "pgdoctor_oldest_blocker_transaction_seconds",
        f"Age of the oldest transaction among blockers of the class. {_AGE}",
        label,
        found.oldest_transaction,
    )


def _make_findings(state: ServerState) -> Family:
    found = state.diagnosis.findings if state.diagnosis else ()
    numbers = dict.fromkeys(finding_kinds(), 0) | Counter(note.kind for note in found)
    return make_gauges(
        "pgdoctor_findings",
        f"Current findings by kind: problems other than lock waits (see: pgdoctor explain). {_AGE}",
        "kind",
        numbers,
    )


def _lock_strangers(state: ServerState) -> Family:
    around = state.diagnosis.snapshot.surroundings if state.diagnosis else None
    strangers = [each for each in around.lock_strangers if not each.may_signal] if around else []
    return make_gauge(
        "pgdoctor_leader_lock_strangers",
        f"Sessions other than pgdoctor that hold an advisory lock of its leader election, at most 20. {_AGE}",
        len(strangers),
    )


def _make_connections(state: ServerState) -> Iterator[Family]:
    server = state.server
    counted = server.connections_by_state if server else Connections()
    by_state = {name: getattr(counted, field) for field, name in CONNECTION_STATES.items()}
    yield make_gauges("pgdoctor_connections", f"Client connections by state. {_AGE}", "state", by_state)
    yield make_gauge(
        "pgdoctor_max_connections", f"The server's max_connections. {_AGE}", server.max_connections if server else 0
    )


def _make_actions(mitigator: Mitigator | None) -> Iterator[Family]:
    actions: Mapping[tuple[str, str, str], int] = mitigator.actions if mitigator is not None else {}
    if mitigator is not None:
        yield from _make_mitigation_status(mitigator.standing)
    yield Family(
        "counter",
        "pgdoctor_actions",
        "Signals by rule and outcome.",
        ("action", "rule", "outcome"),
        tuple(actions),
        tuple(map(float, actions.values())),
    )
    yield make_counters(
        "pgdoctor_actions_refused",
        "Actions requested by a rule and refused by a guard.",
        "reason",
        mitigator.refused if mitigator is not None else {},
    )
    yield make_counters(
        "pgdoctor_action_traces",
        "Side effects of actions: an invalid index, a session idle in an aborted transaction with its locks, or a "
        "blocker that returned.",
        "kind",
        mitigator.traces if mitigator is not None else {},
    )
    yield make_counters(
        "pgdoctor_rehearsals",
        "Actions that observe and dry_run did not send, by result. needless: the blocker ended by itself within 5 s. "
        "refused: the role may not signal the session.",
        "result",
        mitigator.rehearsals if mitigator is not None else {},
    )
    if mitigator is not None:
        yield make_counter(
            "pgdoctor_rehearsed_session_seconds",
            "Time of waiting sessions that rehearsed actions with the result helped would have saved, at least.",
            mitigator.rehearsed_session_seconds,
        )


def _make_mitigation_status(standing: MitigationStatus) -> Iterator[Family]:
    one_hot = {mode: mode == standing.mode for mode in get_args(Mode)}
    yield make_gauges(
        "pgdoctor_mitigation_mode",
        "Whether this mode is in force (1). An expired enforce counts as dry_run; after a failed reload the mode is "
        "observe.",
        "mode",
        one_hot,
    )
    yield make_gauge(
        "pgdoctor_leader",
        "Whether this agent holds the leader lock at the server (1). One agent per mode (enforce, dry_run) leads.",
        standing.leads,
    )
    yield make_gauge(
        "pgdoctor_breaker_open",
        "Whether the circuit breaker is open (1): no signals until a person resets it.",
        standing.breaker_open,
    )
    yield make_gauge(
        "pgdoctor_protections_unresolved",
        "Protections that name a role, database or relation that does not exist. While above 0, no session is "
        "signalled, unless allow_unresolved_protections is true. 0 while mode is off.",
        standing.unresolved,
    )
    yield make_gauge(
        "pgdoctor_recurrence_stops",
        "Fingerprints that returned too often: their sessions are not signalled until pgdoctor mitigate reset.",
        standing.stopped,
    )
    yield make_gauge(
        "pgdoctor_mitigation_disarmed",
        "Whether this agent, or all agents at the server, are disarmed (1): no session is signalled until they are "
        "armed.",
        standing.disarmed,
    )
    yield make_gauge(
        "pgdoctor_shared_record_up",
        "Whether the record that all pgdoctors at the server share can be read and written (1). 0: no session is "
        "signalled.",
        standing.shares,
    )
    left = {budget: standing.budgets.get(budget, 0) for budget in BUDGETS}
    yield make_gauges(
        "pgdoctor_budget_remaining",
        "Remaining actions of each budget. per_fingerprint is the smallest over all fingerprints. 0 while mode is off.",
        "budget",
        left,
    )


def _make_anomaly_scores(state: ServerState) -> Family:
    return make_gauges(
        "pgdoctor_anomaly_score",
        "Deviation of a signal above its learnt baseline, as a modified z-score (median and MAD, with a floor). 0 "
        f"until a baseline is learnt; see pgdoctor explain anomaly. {_AGE}",
        "signal",
        {signal: state.scores.get(signal, 0.0) for signal in SIGNALS},
    )
