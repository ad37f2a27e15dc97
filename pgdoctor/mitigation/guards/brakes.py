"""The brakes: what stops all of it at once, whoever the blocker is."""

from datetime import timedelta

from pgdoctor.diagnosis.words import count, duration
from pgdoctor.mitigation.candidate import Case
from pgdoctor.mitigation.guard import Guard, Heals
from pgdoctor.mitigation.history import REFUSAL_SECONDS, refused
from pgdoctor.mitigation.incident_count import count_incidents

#: When this file's guards are asked, before those of a higher one.
ORDER = 40

#: Fewer blocked sessions than this are no share of anything.
_FEW_BLOCKED = 10

#: Victims of different users that the server refused, one after the other, from which on it is not about them.
_REFUSED_USERS = 2


class KillSwitch(Guard):
    """Somebody said stop: the kill-switch file is there, or a disarm came over HTTP or as a signal to the process."""

    name = "kill_switch"
    heals = Heals.BRAKE

    def objection(self, case: Case) -> str | None:
        return case.circumstances.kill_switch

    def value(self, case: Case) -> str:
        return case.circumstances.kill_switch or "off"


class Maintenance(Guard):
    """A person has marked maintenance, and it has not expired."""

    name = "maintenance_mark"
    heals = Heals.BRAKE

    def objection(self, case: Case) -> str | None:
        until = case.circumstances.maintenance_until
        return f"maintenance until {until.isoformat()}" if until is not None and case.now < until else None

    def value(self, case: Case) -> str:
        until = case.circumstances.maintenance_until
        return f"until {until.isoformat()}" if until else "none"


class Leader(Guard):
    """Of several agents at one server only the one acts whose connection holds the leader lock, an advisory lock.

    A command that is to act needs it too: while an agent enforces, `mitigate --execute` beside it signals nobody.
    Only sessions named pgdoctor, of the same role or of one that may signal, are contenders. A stranger that takes the
    lock stops nobody; it is the finding `leader_lock`.
    """

    name = "leader"
    heals = Heals.BRAKE

    def objection(self, case: Case) -> str | None:
        if case.circumstances.leader:
            return None
        return f"this pgdoctor does not lead: {case.circumstances.rival or 'leadership is lost, or not gained yet'}"

    def value(self, case: Case) -> str:
        return "leader" if case.circumstances.leader else "follower"


class Privilege(Guard):
    """Our role may signal others. `REVOKE pg_signal_backend` is the brake that needs no code of ours."""

    name = "may_signal"
    heals = Heals.BRAKE

    def objection(self, case: Case) -> str | None:
        if case.circumstances.may_signal is False:
            return "our role may not signal others: disarmed by REVOKE pg_signal_backend, or never granted"
        users = refused(case.history, case.now)
        if case.session.usename in users:
            return f"the server refused to signal {case.session.usename} less than {duration(REFUSAL_SECONDS)} ago"
        if len(users) >= _REFUSED_USERS:
            return f"the server refused {count(len(users), 'user')} in a row: disarmed by an operator"
        return None

    def value(self, case: Case) -> str:
        return {True: "held", False: "not held", None: "not asked"}[case.circumstances.may_signal]


class Superuser(Guard):
    """An agent that acts by itself is no superuser: then the server itself keeps it away from superusers' sessions.

    Do: give it a role of its own (`pgdoctor setup --act`); or say `allow_superuser = true` under `[mitigation]`.
    """

    name = "superuser"
    heals = Heals.BRAKE

    def objection(self, case: Case) -> str | None:
        if case.circumstances.superuser and not case.settings.allow_superuser:
            return "our role is a superuser: use one of its own (pgdoctor setup --act), or allow_superuser = true"
        return None

    def value(self, case: Case) -> str:
        return "a superuser" if case.circumstances.superuser else "no superuser, or a person watches"


class Pooled(Guard):
    """Its connection is one to the server, not to a pooler: the leader lock and its settings would be another's.

    Do: connect to the server itself.
    """

    name = "pooled"
    heals = Heals.BRAKE

    def objection(self, case: Case) -> str | None:
        if case.circumstances.pooled:
            return "a pooler stands between us and the server: connect to the server itself"
        return None

    def value(self, case: Case) -> str:
        return "through a pooler" if case.circumstances.pooled else "a connection of its own"


class Audited(Guard):
    """What is done is written down first; where it cannot be, nothing is done. A dry run goes on.

    Do: see to the journal's file (`[journal]`): its folder, its rights, the room on the disk.
    """

    name = "audit"
    heals = Heals.BRAKE

    def objection(self, case: Case) -> str | None:
        why = case.circumstances.audit
        return f"what is done could not be recorded: {why}" if why is not None else None

    def value(self, case: Case) -> str:
        return case.circumstances.audit or "can be recorded, or need not be"


class StartupGrace(Guard):
    """The agent has watched this server for a while, over this connection and as leader, before its first action."""

    name = "startup_grace"
    heals = Heals.PACE

    def objection(self, case: Case) -> str | None:
        watched, least = case.seconds_since(case.circumstances.watching_since), case.settings.startup_grace
        if watched is not None and watched < least:
            return f"it has watched for {duration(watched)}; the first action needs {duration(least)}"
        return None

    def value(self, case: Case) -> str:
        watched = case.seconds_since(case.circumstances.watching_since)
        if watched is None:
            return "a person watches"
        return f"has watched for {duration(watched)}, at least {duration(case.settings.startup_grace)}"


class SampleAge(Guard):
    """The look that is acted upon is not an old one: the agent may have been stopped in between."""

    name = "sample_age"
    heals = Heals.TIME

    def objection(self, case: Case) -> str | None:
        age, most = case.circumstances.sample_age, case.settings.max_sample_age
        return f"the look is {duration(age)} old, allowed are {duration(most)}" if age > most else None

    def value(self, case: Case) -> str:
        return f"{duration(case.circumstances.sample_age)} of at most {duration(case.settings.max_sample_age)}"


class Systemic(Guard):
    """Many independent incidents at once, or most clients blocked: then it is not about single sessions.

    A slow disk looks like that, and no signal helps against it. Where most clients are blocked one action may be
    tried; then a person decides. All incidents in which one user blocks only itself count as one, unless that user
    has a part in the incident that is judged: no user switches mitigation off for others.
    """

    name = "systemic"
    heals = Heals.BRAKE

    def objection(self, case: Case) -> str | None:
        diagnosis, settings = case.candidate.diagnosis, case.settings
        incidents = count_incidents(case)
        if incidents.total > settings.max_roots:
            return (
                f"{incidents.total} independent incidents at once, allowed are {settings.max_roots}{incidents.origin}"
            )
        blocked, share = diagnosis.blocked_sessions, _share(case)
        if blocked < _FEW_BLOCKED or share <= settings.max_blocked_fraction or not _has_acted(case):
            return None
        return f"{share:.0%} of all clients are blocked, and one action was tried: a person decides"

    def value(self, case: Case) -> str:
        incidents, most = count_incidents(case).total, case.settings.max_roots
        return f"{incidents} of at most {most} incidents, {_share(case):.0%} of clients blocked"


class Broken(Guard):
    """The breaker is open: what was done did not help, was refused, made it worse, or three different ones come back.

    Do: look at what happened, then `pgdoctor mitigate reset --reason "…"`. Nothing else closes it, no restart either.
    """

    name = "breaker"

    def objection(self, case: Case) -> str | None:
        return f"the breaker is open: {case.opening.reason}" if case.opening else None

    def value(self, case: Case) -> str:
        return "open" if case.opening else "closed"


class Recurring(Guard):
    """The same came back too often after signals: class, relation or statement, user and application are the same.

    Only that is stopped; three different ones open the breaker, which stops all of it. Do: mend what comes back, then
    `pgdoctor mitigate reset --reason "…"`. Nothing else lifts it, no restart either.
    """

    name = "recurrence"
    #: Others may go; but not the session that stands in front of it, in its stead.
    heals = Heals.PERSON

    def objection(self, case: Case) -> str | None:
        return case.stop.reason if case.stop else None

    def value(self, case: Case) -> str:
        return "came back too often" if case.stop else "did not come back too often"


class SharedRecord(Guard):
    """What all pgdoctors at this server have told each other can be read and written: brakes, and what was done.

    It is a setting of pgdoctor's own role at the server. Do: as the objection says; with
    `ALTER ROLE pgdoctor RESET application_name` a person begins it anew.
    """

    name = "shared_record"
    heals = Heals.BRAKE

    def objection(self, case: Case) -> str | None:
        return case.circumstances.shared

    def value(self, case: Case) -> str:
        return case.circumstances.shared or "can be read and written"


def _share(case: Case) -> float:
    """Blocked sessions as a share of all client connections."""
    diagnosis = case.candidate.diagnosis
    return min(diagnosis.blocked_sessions / max(diagnosis.snapshot.server.connections, 1), 1.0)


def _has_acted(case: Case) -> bool:
    """Whether something was done in the last hour that no person has looked at since."""
    reset = case.history.reset
    return any(
        case.now - action.at < timedelta(hours=1) and (reset is None or action.at > reset.at)
        for action in case.history.spent
    )
