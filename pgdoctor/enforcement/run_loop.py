"""Poll, act, poll again: started by an operator, until nothing is left to do."""

import asyncio
import time
from collections.abc import AsyncIterator

from pgdoctor.enforcement.mitigator import Mitigator
from pgdoctor.mitigation.decision import Decision
from pgdoctor.mitigation.history import Action
from pgdoctor.postgres.collect import Collector
from pgdoctor.postgres.connection import Connection
from pgdoctor.postgres.server_watch import ServerWatch

#: Seconds for which it goes on by itself until a session is known to hold its lock for as long as a rule asks for.
_LONGEST_WATCH = 60.0


async def carry_out(
    mitigator: Mitigator, connection: Connection, *, most: int = 10, patience: float = 0.0, pause: float = 0.2
) -> AsyncIterator[Action]:
    """Poll, act, poll again, until nothing is left that may be done; yields each action once it is settled.

    Ends after `most` actions. What only lacks time, such as a wait that is still too short, is waited for `patience`
    seconds; `pause`: seconds between two polls. Several polls are needed to know how long a running session has held
    its lock: they go on for as long as the rule asks for, at most a minute. Raises ServerError where the server cannot
    be asked.
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
    """Whether something is left that may be done, now or within our patience."""
    now = time.monotonic()
    may_wait = now < give_up
    only = mitigator.only
    left = (each for each in mitigator.plan.decisions if each.rule and (only is None or only.is_about(each)))
    return any(each.fit or (each.pending and may_wait) or _is_being_watched(each, now - began) for each in left)


def _is_being_watched(decision: Decision, watched: float) -> bool:
    """Whether it is only to be seen for how long it holds its lock, and that is still possible."""
    if decision.rule is None or not decision.awaits_known_hold:
        return False
    return watched < min(decision.rule.min_wait, _LONGEST_WATCH) + 1
