"""Whom a signal hits whose victim runs statements of 4 ms back to back, 0 to 50 ms after the poll at it."""

import asyncio

from pgdoctor.demo.throwaway_server import ThrowawayServer
from tests.bench.measuring import show
from tests.postgres.racing import LONGEST_DELAY, Tally, race
from tests.postgres.terminate_racing import race_terminates

RACES = 10_000

#: About a third of them send a terminate: most transactions are over by then.
TERMINATE_RACES = 6_000


def main() -> None:
    with ThrowawayServer() as server:
        _show("0 to 50 ms", asyncio.run(race(server.dsn, RACES, longest_delay=LONGEST_DELAY)))
        # Most signals are sent at once, and most of what can go wrong goes wrong there.
        _show("at once", asyncio.run(race(server.dsn, RACES, longest_delay=0.0)))
        counters = asyncio.run(race_terminates(server.dsn, TERMINATE_RACES))
        show("Whose transaction a terminate ends", [[*counters]], ("races", "sent", "right", "wrong"))


def _show(when: str, tallies: dict[str, Tally]) -> None:
    rows = [[way, *counters] for way, counters in tallies.items()]
    show(f"Who is hit, {when} after the look", rows, ("checked by", "races", "sent", "right", "wrong"))
