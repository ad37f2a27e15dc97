"""A pool whose connections are all idle in a transaction, and pools that only seem to be used up."""

import pytest
from msgspec.structs import replace

from pgdoctor.model.server_context import ClientApplication
from tests.building import ago
from tests.diagnosis.findings.observing import observer
from tests.diagnosis.findings.test_thresholds import AROUND, found


@pytest.mark.parametrize(
    ("connections", "idle_in_transaction", "seconds", "is_found"),
    [
        # One works; few; each waits for its client for a moment; none is in a transaction.
        (10, 9, 60, False),
        (4, 4, 60, False),
        (10, 10, 29, False),
        (10, 0, None, False),
        (5, 5, 30, True),
        (10, 10, 3_600, True),
    ],
)
def test_all_connections_idle_in_a_transaction_use_up_a_pool(connections, idle_in_transaction, seconds, is_found):
    since = ago(seconds) if seconds is not None else None
    client = ClientApplication(
        "shop", "app", "10.0.0.5", connections, 0, idle_in_transaction, 0, idle_in_transaction_since=since
    )
    notes = found(replace(AROUND, clients=(client,)))
    assert [(note.kind, note.severity) for note in notes] == [("pool_in_transaction", "warning")] * is_found


def test_silence_of_a_pool_is_that_of_its_last_statement(scene):
    pool = [scene.client("select 1", application_name="pool") for _ in range(2)]
    with observer(scene.dsn) as seen:
        around = seen.look().snapshot.surroundings
        assert around is not None
        [client] = [each for each in around.clients if each.application == "pool"]
        [[last]] = scene.admin.execute(
            "select max(state_change) from pg_stat_activity where pid = any(%s)", [[each.pid for each in pool]]
        ).fetchall()
        assert (client.idle_in_transaction, client.idle_in_transaction_since) == (2, last)
