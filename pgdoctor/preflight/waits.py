"""What a statement waits for besides the locks that it takes: the ends of transactions."""

from typing import NamedTuple

from pgdoctor.preflight.rule import AE, S


class WaitForEnds(NamedTuple):
    """`mode`: transactions with a lock on the table that conflicts with it are waited for, one after the other.

    `for_snapshots`: each transaction of the database is waited for that has an older snapshot.
    """

    mode: str
    for_snapshots: bool
    says: str


WAITS = {
    "writers": WaitForEnds(
        S, True, "waits for each transaction that has changed the table, then for each with an older snapshot"
    ),
    "users": WaitForEnds(AE, False, "waits for each transaction that has used the table"),
    "users_and_snapshots": WaitForEnds(
        AE, True, "waits for each transaction that has used the table, and for each with an older snapshot"
    ),
}
