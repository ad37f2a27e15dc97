"""How many signals a victim gets from two agents whose leader is killed in every other incident."""

import logging
import tempfile
from pathlib import Path

from pgdoctor.demo.server import ThrowawayServer
from tests.bench.measuring import show
from tests.mitigation.competing import compete
from tests.mitigation.conftest import people
from tests.scenes import Scene

ROUNDS = 1_000


def main() -> None:
    logging.disable()
    with ThrowawayServer() as server, Scene(server.dsn) as scene, tempfile.TemporaryDirectory() as folder:
        # Without the end of it, at which the bystanders are looked at: it comes long after theirs.
        staged = people(scene)
        counted = compete(next(staged), Path(folder) / "journal.db", ROUNDS)
    rows = [[f"{what} signalled", counted[what]] for what in ("once", "never", "twice")]
    show(f"Two agents, {ROUNDS} incidents", [["leader killed", counted["killed"]], *rows])
    logging.disable(logging.NOTSET)
