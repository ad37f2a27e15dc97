"""Brakes: conditions that stop all signals, for every blocker."""

from datetime import timedelta

from pgdoctor.formatting import format_count, format_duration
from pgdoctor.mitigation.candidate import Case
from pgdoctor.mitigation.guard import ClearedBy, Guard
from pgdoctor.mitigation.history import REFUSAL_SECONDS, refused_users
from pgdoctor.mitigation.incident_count import count_incidents

#: When this file's guards are asked, before those of a higher one.
ORDER = 40

#: With fewer blocked sessions their share is not judged.
_FEW_BLOCKED = 10

#: Refusals for different users in a row; from this number on our role has lost the privilege.
_REFUSED_USERS = 2


class KillSwitchGuard(Guard):
    """The kill-switch file exists, or mitigation was disarmed by a command, over HTTP or by a signal to the process."""

    name = "kill_switch"
    heals = ClearedBy.BRAKE

    def find_objection(self, case: Case) -> str | None:
        return case.circumstances.kill_switch

    def format_value(self, case: Case) -> str:
        return case.circumstances.kill_switch or "off"


class MaintenanceGuard(Guard):
    """A maintenance window is set and has not expired."""

    name = "maintenance_mark"
    heals = ClearedBy.BRAKE

    def find_objection(self, case: Case) -> str | None:
        until = case.circumstances.maintenance_until
        return f"maintenance until {until.isoformat()}" if until is not None and case.now < until else None

    def format_value(self, case: Case) -> str:
        until = case.circumstances.maintenance_until
        return f"until {until.isoformat()}" if until else "none"


class LeaderGuard(Guard):
    """Another agent is the leader. At each server only the agent acts whose connection holds the leader lock.

    The leader lock is an advisory lock. A command that acts needs it too: while an agent enforces, `mitigate --execute`
    sends no signals. Candidates are sessions named pgdoctor, of the same role or of a role that may signal. Any other
    session that takes the lock stops no agent; it is the finding `leader_lock`.
    """

    name = "leader"
    heals = ClearedBy.BRAKE

    def find_objection(self, case: Case) -> str | None:
        if case.circumstances.leader:
            return None
        return f"this pgdoctor is not the leader: {case.circumstances.rival or 'leadership is lost, or not gained yet'}"

    def format_value(self, case: Case) -> str:
        return "leader" if case.circumstances.leader else "follower"


class Privilege(Guard):
    """Our role may not signal other sessions. `REVOKE pg_signal_backend` is a brake at the server itself."""

    name = "may_signal"
    heals = ClearedBy.BRAKE

    def find_objection(self, case: Case) -> str | None:
        if case.circumstances.may_signal is False:
            return "our role may not signal other sessions: pg_signal_backend was revoked, or never granted"
        users = refused_users(case.history, case.now)
        if case.session.usename in users:
            return (
                f"the server refused to signal {case.session.usename} less than {format_duration(REFUSAL_SECONDS)} ago"
            )
        if len(users) >= _REFUSED_USERS:
            return f"the server refused signals to {format_count(len(users), 'user')} in a row: probably revoked"
        return None

    def format_value(self, case: Case) -> str:
        return {True: "held", False: "not held", None: "not asked"}[case.circumstances.may_signal]


class Superuser(Guard):
    """The agent's role is a superuser. An ordinary role cannot signal the sessions of superusers.

    Do: use a role without superuser rights (`pgdoctor setup --act`); or set `allow_superuser = true` under
    `[mitigation]`.
    """

    name = "superuser"
    heals = ClearedBy.BRAKE

    def find_objection(self, case: Case) -> str | None:
        if case.circumstances.superuser and not case.settings.allow_superuser:
            return "our role is a superuser: use another one (pgdoctor setup --act), or allow_superuser = true"
        return None

    def format_value(self, case: Case) -> str:
        return "a superuser" if case.circumstances.superuser else "no superuser, or a command with an operator"


class Pooled(Guard):
    """The agent is connected to a pooler, which shares connections: leader lock and settings would be unreliable.

    Do: connect to the server itself.
    """

    name = "pooled"
    heals = ClearedBy.BRAKE

    def find_objection(self, case: Case) -> str | None:
        if case.circumstances.pooled:
            return "the connection goes through a pooler: connect to the server itself"
        return None

    def format_value(self, case: Case) -> str:
        return "through a pooler" if case.circumstances.pooled else "a direct connection"


class Audited(Guard):
    """The audit record cannot be written. Each signal is recorded before it is sent. A dry run continues without.

    Do: check the journal's file (`[journal]`): its directory, its permissions, the free space of the disk.
    """

    name = "audit"
    heals = ClearedBy.BRAKE

    def find_objection(self, case: Case) -> str | None:
        why = case.circumstances.audit
        return f"the action could not be recorded: {why}" if why is not None else None

    def format_value(self, case: Case) -> str:
        return case.circumstances.audit or "can be recorded, or does not need to be"


class StartupGrace(Guard):
    """The agent has not watched this server long enough, on this connection and as leader, for its first action."""

    name = "startup_grace"
    heals = ClearedBy.PACE

    def find_objection(self, case: Case) -> str | None:
        watched, least = case.seconds_since(case.circumstances.watching_since), case.settings.startup_grace
        if watched is not None and watched < least:
            return (
                f"the agent has watched for {format_duration(watched)}; the first action needs {format_duration(least)}"
            )
        return None

    def format_value(self, case: Case) -> str:
        watched = case.seconds_since(case.circumstances.watching_since)
        if watched is None:
            return "a command with an operator"
        return f"has watched for {format_duration(watched)}, at least {format_duration(case.settings.startup_grace)}"


class SampleAge(Guard):
    """The snapshot is too old to act on: the agent may have been stopped in the meantime."""

    name = "sample_age"
    heals = ClearedBy.TIME

    def find_objection(self, case: Case) -> str | None:
        age, most = case.circumstances.sample_age, case.settings.max_sample_age
        return (
            f"the snapshot is {format_duration(age)} old, the maximum is {format_duration(most)}"
            if age > most
            else None
        )

    def format_value(self, case: Case) -> str:
        return (
            f"{format_duration(case.circumstances.sample_age)} of at "
            f"most {format_duration(case.settings.max_sample_age)}"
        )


class Systemic(Guard):
    """There are many independent incidents at once, or most clients are blocked: single sessions are not the cause.

    A slow disk has this effect, and no signal helps against it. If most clients are blocked, one action may be tried;
    then a person decides. All incidents in which a user blocks only itself count as one, unless that user takes part in
    the judged incident. So no user can switch mitigation off for others.
    """

    name = "systemic"
    heals = ClearedBy.BRAKE

    def find_objection(self, case: Case) -> str | None:
        diagnosis, settings = case.candidate.diagnosis, case.settings
        incidents = count_incidents(case)
        if incidents.total > settings.max_roots:
            return (
                f"{incidents.total} independent incidents at once; the limit is {settings.max_roots}{incidents.origin}"
            )
        blocked, share = diagnosis.blocked_sessions, _blocked_share(case)
        if blocked < _FEW_BLOCKED or share <= settings.max_blocked_fraction or not _has_acted(case):
            return None
        return f"{share:.0%} of all clients are blocked, and one action has been tried: a person decides"

    def format_value(self, case: Case) -> str:
        incidents, most = count_incidents(case).total, case.settings.max_roots
        return f"{incidents} of at most {most} incidents, {_blocked_share(case):.0%} of clients blocked"


class Broken(Guard):
    """The circuit breaker is open: actions had no effect, were refused, made it worse, or three blockers returned.

    Do: read `pgdoctor mitigate audit`, then use `pgdoctor mitigate reset --reason "…"`. Nothing else closes the
    breaker; a restart does not either.
    """

    name = "breaker"

    def find_objection(self, case: Case) -> str | None:
        return f"the breaker is open: {case.opening.reason}" if case.opening else None

    def format_value(self, case: Case) -> str:
        return "open" if case.opening else "closed"


class Recurring(Guard):
    """The same blocker returned too often after signals: same class, relation or statement, user and application.

    Only this blocker is stopped; three different ones open the breaker, which stops all signals. Do: repair the cause,
    then use `pgdoctor mitigate reset --reason "…"`. Nothing else lifts the stop; a restart does not either.
    """

    name = "recurrence"
    #: Other blockers may be signalled; but not a session in its place that queues with it.
    heals = ClearedBy.PERSON

    def find_objection(self, case: Case) -> str | None:
        return case.stop.reason if case.stop else None

    def format_value(self, case: Case) -> str:
        return "returned too often" if case.stop else "did not return too often"


class SharedRecordGuard(Guard):
    """The record that all pgdoctors at this server share cannot be read or written. It holds brakes and past actions.

    The record is a setting of pgdoctor's own role at the server. Do: follow the objection. To start a new record, use
    `ALTER ROLE pgdoctor RESET application_name`.
    """

    name = "shared_record"
    heals = ClearedBy.BRAKE

    def find_objection(self, case: Case) -> str | None:
        return case.circumstances.shared

    def format_value(self, case: Case) -> str:
        return case.circumstances.shared or "can be read and written"


def _blocked_share(case: Case) -> float:
    """Blocked sessions as a share of all client connections."""
    diagnosis = case.candidate.diagnosis
    return min(diagnosis.blocked_sessions / max(diagnosis.snapshot.server.connections, 1), 1.0)


def _has_acted(case: Case) -> bool:
    """Whether there was an action in the last hour, and no reset after it."""
    reset = case.history.reset
    return any(
        case.now - action.at < timedelta(hours=1) and (reset is None or action.at > reset.at)
        for action in case.history.spent
    )
