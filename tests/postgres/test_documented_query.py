"""The documented query is the contract for names and meaning; where it says too much, and where too little."""

from hashlib import sha256

import pytest

from pgdoctor.postgres.queries import load_sql
from tests.postgres.test_waits import STAGES, truth
from tests.scenes import Scene

#: Of the text that was agreed upon: scripts rely on its names and its meaning.
DOCUMENTED = "ab06c8080def521da9fd33b62a4d2f905d614cc0301a2b1db8bcfc3d8f0a1e80"

#: Scenes in which it also names sessions that block no session, or that only wait on the same lock.
SAYS_TOO_MUCH = {
    "a_row_convoy": "those who queue for the same row, in both directions",
    "a_ddl_queue": "readers that queue beside each other",
    "an_index_build_behind_a_writer_with_an_innocent_reader": "a reader whose lock does not conflict",
    "a_two_part_advisory_lock_in_share_mode": "a shared request beside shared holders",
}

#: Scenes with a blocker that is no backend: it has no row in pg_stat_activity to join to.
SAYS_TOO_LITTLE = {
    "a_prepared_transaction_with_a_row": "the prepared transaction",
    "two_prepared_transactions_with_a_table_and_a_session": "the prepared transactions",
}

_LEADERS = "select pid, leader_pid from pg_stat_activity where backend_type = 'parallel worker'"


def rows(scene: Scene) -> set[tuple[int, int]]:
    """Its (blocked, blocking) pairs, parallel workers folded into their leader."""
    leader = dict(scene.admin.execute(_LEADERS).fetchall())
    found = scene.admin.execute(load_sql("documented_blocking_locks")).fetchall()
    folded = {(leader.get(row[0], row[0]), leader.get(row[3], row[3])) for row in found}
    return {(blocked, blocking) for blocked, blocking in folded if blocked != blocking}


def test_it_is_the_documented_one_word_for_word() -> None:
    assert sha256(load_sql("documented_blocking_locks").encode()).hexdigest() == DOCUMENTED


def test_its_columns_have_the_documented_names(scene: Scene) -> None:
    columns = scene.admin.execute(load_sql("documented_blocking_locks")).description or ()
    assert [column.name for column in columns] == [
        "blocked_pid",
        "blocked_user",
        "blocked_statement",
        "blocking_pid",
        "blocking_user",
        "blocking_statement",
        "lock_type",
        "blocked_application",
    ]


@pytest.mark.parametrize("name", STAGES)
def test_every_true_wait_between_two_backends_is_among_its_rows(scene: Scene, name: str) -> None:
    STAGES[name](scene)
    true = set(truth(scene))
    said = rows(scene)
    between_backends = {(waiter, blocker) for waiter, blocker in true if blocker != 0}
    assert between_backends <= said
    assert (between_backends < said) is (name in SAYS_TOO_MUCH), f"too much: {said - between_backends}"
    assert (between_backends < true) is (name in SAYS_TOO_LITTLE)
