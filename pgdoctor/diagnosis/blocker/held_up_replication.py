"""Logical replication that waits for a blocker: its changes are not applied, and WAL piles up elsewhere.

Source: PostgreSQL documentation, "Logical Replication", "Conflicts" and "Replication Slots".
"""

from collections.abc import Iterator

from pgdoctor.diagnosis.blocker.blocker_facts import BlockerFacts

#: What applies the changes of a subscription, by the names of 14 to 18.
APPLIERS = frozenset(
    {
        "logical replication worker",
        "logical replication apply worker",
        "logical replication parallel worker",
        "logical replication tablesync worker",
    }
)


def describe_replication(facts: BlockerFacts) -> Iterator[str]:
    """Says of a root blocker that it blocks the changes of a subscription."""
    if not facts.is_root:
        return
    for waiter in facts.sampled_waiters:
        if waiter.backend_type in APPLIERS:
            yield (
                f"{waiter.pid} applies changes of a subscription: it is blocked, so replication lags, "
                "and the publisher retains WAL"
            )
            return
