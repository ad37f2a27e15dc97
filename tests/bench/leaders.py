"""How many signals a victim gets from two agents whose leader is killed in every other incident."""

import logging
import tempfile
from contextlib import contextmanager
from pathlib import Path

from pgdoctor.demo.server import ThrowawayServer
from tests.bench.measuring import show
from tests.mitigation.competing import compete
from tests.mitigation.conftest import people
from tests.scenes import Scene

ROUNDS = 1_000


def main() -> None:
    logging.disable()
    with (
        ThrowawayServer() as server,
        Scene(server.dsn) as scene,
        contextmanager(people)(scene) as incident,
        tempfile.TemporaryDirectory() as folder,
    ):
        counted = compete(incident, Path(folder) / "journal.db", ROUNDS)
    rows = [[f"{what} signalled", counted[what]] for what in ("once", "never", "twice")]
    show(f"Two agents, {ROUNDS} incidents", [["leader killed", counted["killed"]], *rows])
