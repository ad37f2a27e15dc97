"""Carry a plan out, started by an operator: one action a poll, until no further action is allowed."""

import asyncio
import time
from collections.abc import AsyncIterator

from pgdoctor.enforcement.mitigator import Mitigator
from pgdoctor.mitigation.decision import Decision
from pgdoctor.mitigation.history import Action
from pgdoctor.postgres.collect import Collector
from pgdoctor.postgres.connection import Connection
from pgdoctor.postgres.server_watch import ServerWatch

#: Seconds for which it polls at most until a session has been seen to hold its lock for as long as a rule requires.
_LONGEST_WATCH = 60.0


async def carry_out(
    mitigator: Mitigator, connection: Connection, *, most: int = 10, patience: float = 0.0, pause: float = 0.2
) -> AsyncIterator[Action]:
    """Poll and act until no action is allowed; yields each action once its effect is known.

    `most`: the maximum number of actions. `patience`: seconds to wait for decisions that time alone can allow, such as
    a wait that is still too short. `pause`: seconds between two polls. A rule may require that a running session has
    held its lock for some time: only several polls show that, so they continue for that time, at most a minute. Raises
    ServerError if the server cannot be queried.
    """
    watch = ServerWatch(Collector(connection))
    began = time.monotonic()
    give_up = began + patience
    done = 0
    while done < most:
        await mitigator.consider(await watch.diagnose_server(), connection, watch.read_at)
        for action in mitigator.settled:
            done += 1
            yield action
        if mitigator.history.under_way is None and not (mitigator.may_act and _goes_on(mitigator, began, give_up)):
            return
        await asyncio.sleep(pause)


def _goes_on(mitigator: Mitigator, began: float, give_up: float) -> bool:
    """Whether an action may be allowed now, or before `give_up`."""
    now = time.monotonic()
    may_wait = now < give_up
    only = mitigator.only
    left = (each for each in mitigator.plan.decisions if each.rule and (only is None or only.is_about(each)))
    return any(each.fit or (each.pending and may_wait) or _is_being_watched(each, now - began) for each in left)


def _is_being_watched(decision: Decision, watched: float) -> bool:
    """Whether further polls may show that the session has held its lock long enough."""
    if decision.rule is None or not decision.awaits_known_hold:
        return False
    return watched < min(decision.rule.min_wait, _LONGEST_WATCH) + 1
