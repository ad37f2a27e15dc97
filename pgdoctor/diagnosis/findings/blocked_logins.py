"""Clients cannot log in although the server accepts their connections.

Recognised by: processes wait for a lock before their login is complete. Or a test login of the agent (every
`login_probe_interval`) has not ended within `deadline`. Connected sessions are not affected, so the server looks
healthy.
Do: end the transaction that holds the lock. Usually it has locked a system catalog that each login reads (`pg_authid`,
`pg_database`): VACUUM FULL, REINDEX, CLUSTER or LOCK TABLE in an open transaction.
Do: if no lock is held, check the authentication service (LDAP, RADIUS, PAM, Kerberos) and the machine.
Do not: restart the server before that: an open session, or an agent that was connected before, can end the holder.
Prevent: no VACUUM FULL on system catalogs; `idle_in_transaction_session_timeout` for administrators, too.
Source: PostgreSQL documentation, "Frontend/Backend Protocol" and `pg_stat_activity` (state `starting`, since 18).
"""

from collections.abc import Iterator

from pgdoctor.diagnosis.blocker.lock_names import describe_wait
from pgdoctor.diagnosis.finding import CheckInput, FindingCheck
from pgdoctor.formatting import format_count, format_duration
from pgdoctor.model.diagnosis import Finding
from pgdoctor.model.snapshot import Session
from pgdoctor.model.waits import oldest_wait

#: Sessions that are named as holders.
_MOST_NAMED = 3

_ELSEWHERE = "no lock blocks them: check the authentication service (LDAP, PAM, Kerberos) and the machine"


class BlockedLogins(FindingCheck):
    name = "blocked_logins"

    def find_findings(self, seen: CheckInput) -> Iterator[Finding]:
        logins = [session for session in seen.snapshot.sessions.values() if session.is_starting]
        probe = seen.snapshot.login
        is_refused = probe is not None and probe.error is not None
        if not (logins or is_refused):
            return
        waited = oldest_wait(seen.snapshot, logins)
        yield Finding(
            self.name,
            "critical",
            _write_summary(seen, logins, waited),
            _write_advice(seen, logins),
            {"logins": len(logins), "seconds": max(waited or 0.0, probe.failing_for if probe else 0.0)},
            tuple(_list_evidence(seen, logins)),
        )


def _write_summary(seen: CheckInput, logins: list[Session], waited: float | None) -> str:
    probe = seen.snapshot.login
    if not logins:
        assert probe is not None
        return f"no new connection is possible: {probe.error}"
    waiting = f"{format_count(len(logins), 'login')} {'waits' if len(logins) == 1 else 'wait'} for a lock"
    longest = f", the longest for {format_duration(waited)}" if waited is not None else ""
    refused = "no client can log in: " if probe is not None and probe.error is not None else ""
    return f"{refused}{waiting}{longest}"


def _write_advice(seen: CheckInput, logins: list[Session]) -> str:
    roots = sorted({root for login in logins for root in seen.graph.roots_of(login.pid)})
    if not roots:
        return _ELSEWHERE
    named = ", ".join(_name_node(root) for root in roots[:_MOST_NAMED])
    return f"end the transaction of {named}, which holds the lock; connected sessions continue to work"


def _name_node(node: int) -> str:
    return str(node) if node > 0 else "the prepared transaction"


def _list_evidence(seen: CheckInput, logins: list[Session]) -> Iterator[str]:
    wanted = {describe_wait(seen.snapshot, login, request, None) for login in logins for request in login.requests}
    yield from (f"waited for: {each}" for each in sorted(wanted)[:_MOST_NAMED])
    probe = seen.snapshot.login
    if probe is not None and probe.error is not None:
        yield f"test login of pgdoctor: {probe.error}"
