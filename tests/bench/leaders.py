"""How many of several contenders lead, and how many signals a victim gets from two agents whose leader is killed."""

import asyncio
import logging
import tempfile
from pathlib import Path

from psycopg.conninfo import make_conninfo

from pgdoctor.demo.throwaway_server import ThrowawayServer
from tests.bench.measuring import show
from tests.mitigation.competing import compete
from tests.mitigation.conftest import people
from tests.mitigation.contending import elect
from tests.scenes import Scene

ELECTIONS = 1_000
INCIDENTS = 300


def main() -> None:
    logging.disable()
    with ThrowawayServer() as server, Scene(server.dsn) as scene, tempfile.TemporaryDirectory() as folder:
        dsns = [scene.dsn, *(make_conninfo(scene.dsn, dbname=scene.database()) for _ in range(3))]
        elected = asyncio.run(elect([*dsns, *dsns[:2]], ELECTIONS))
        # Without the end of it, at which the bystanders are looked at: it comes long after theirs.
        staged = people(scene)
        counted = compete(next(staged), (Path(folder) / "one.db", Path(folder) / "other.db"), INCIDENTS)
    show(f"Two to six contenders in four databases, {ELECTIONS} elections", sorted([*each] for each in elected.items()))
    rows = [[f"{what} signalled", counted[what]] for what in ("once", "never", "twice")]
    show(f"Two agents with a journal each, {INCIDENTS} incidents", [["leader killed", counted["killed"]], *rows])
    logging.disable(logging.NOTSET)
