"""The facts about the agent itself that a plan needs: whether it leads, and which brakes are on.

The shell fills it in right before each plan; with the defaults no guard objects. Each brake is a guard. `lapsed` gives
the reasons that only turn `enforce` into a dry run: a plan is the same in every mode.
"""

from collections.abc import Mapping
from datetime import datetime

import msgspec

from pgdoctor.mitigation.match import Ancestors
from pgdoctor.mitigation.rules import Mitigation, Mode


class AgentState(msgspec.Struct, frozen=True):
    """The agent's own state at the moment of a plan. Moments are on the server's clock."""

    #: It holds the leader lock, on the connection that would signal.
    leader: bool = True
    #: The other pgdoctor that leads or contends, in words. None: none was seen.
    rival: str | None = None
    #: Why no session is to be signalled: a file, a request over HTTP, a signal to the process. None: no such order.
    kill_switch: str | None = None
    #: A person has marked maintenance until then.
    maintenance_until: datetime | None = None
    #: It was started with the flag that `enforce` needs as its second key.
    armed: bool = True
    #: Our role may signal others. None: not asked.
    may_signal: bool | None = None
    #: By PID, of sessions whose waits do not count where the rule names no waiters: why.
    uncounted: Mapping[int, str] = {}
    #: It signals by the functions of `pgdoctor setup --wrapper`, which refuse some sessions whatever is configured.
    has_wrapper: bool = False
    #: It acts unattended as a superuser, to which the server refuses nothing.
    superuser: bool = False
    #: Something stands between it and the server, and gives it now this session, now that one.
    pooled: bool = False
    #: Why what is done could not be recorded. None: it can be, or nothing would be done.
    audit: str | None = None
    #: Why what pgdoctors at this server share could not be read or written. None: it can be, or nothing would be done.
    shared: str | None = None
    #: When it began to watch this server, or to lead. None: a person is watching, as of a one-shot command.
    watching_since: datetime | None = None
    #: Seconds since the sample was read, on the monotonic clock.
    sample_age: float = 0.0
    #: Names of protections that the server does not have, or why that could not be looked up; in words.
    unresolved: tuple[str, ...] = ()
    #: The tables above those that blockers hold; read where a relation is protected. None: could not be read.
    ancestors: Ancestors | None = {}


def find_lapse(settings: Mitigation, circumstances: AgentState, now: datetime) -> str | None:
    """Why `enforce` is no more than a dry run at `now`, the server's clock; None where it is in force."""
    if not circumstances.armed:
        return "the agent was started without --enforce"
    if settings.armed_until is not None and now >= settings.armed_until:
        return f"armed_until was {settings.armed_until.isoformat()}"
    return None


def mode_in_force(settings: Mitigation, circumstances: AgentState, now: datetime) -> Mode:
    """The configured mode, or dry_run where enforce has lapsed."""
    if settings.mode == "enforce" and find_lapse(settings, circumstances, now):
        return "dry_run"
    return settings.mode
