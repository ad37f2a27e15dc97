"""A subscription whose changes a session blocks."""

import pytest

from pgdoctor.diagnosis.blocker.held_up_replication import APPLIERS
from pgdoctor.diagnosis.causes.replication import _BACKEND_TYPES
from pgdoctor.diagnosis.diagnose import diagnose
from tests.building import lock, session, snapshot


def told(backend_type: str) -> bool:
    held, wanted = lock(10, "AccessExclusiveLock", granted=True), lock(20, "RowExclusiveLock", granted=False)
    waiter = session(20, blockers=(10,), locks=(wanted,), backend_type=backend_type)
    [blocker] = diagnose(snapshot([session(10, locks=(held,)), waiter])).blockers
    return any("20 applies changes of a subscription: it is blocked" in each for each in blocker.evidence)


@pytest.mark.parametrize("backend_type", ["client backend", "autovacuum worker", "walsender", "parallel worker"])
def test_other_waiters_apply_no_changes(backend_type: str) -> None:
    assert not told(backend_type)


@pytest.mark.parametrize("backend_type", sorted(APPLIERS))
def test_replication_that_waits_is_said_at_its_blocker(backend_type: str) -> None:
    assert told(backend_type)


def test_each_process_that_applies_changes_is_one_of_replication() -> None:
    assert APPLIERS <= _BACKEND_TYPES
