"""What a server does while it holds a lock: how long that takes, as far as it can be known before."""

from typing import NamedTuple


class Work(NamedTuple):
    """A kind of work. `rank`: how much of it there is, 0 the least; `says`: in words, behind the name of a table."""

    rank: int
    says: str


#: By name. No duration is given: it depends on disks, caches and rows that no text knows.
WORK = {
    "instant": Work(0, "changes catalogs only"),
    "rows": Work(1, "locks every row until the transaction ends"),
    "scan": Work(2, "reads the whole table"),
    "build": Work(3, "reads the whole table and builds an index"),
    "rewrite": Work(4, "rewrites the whole table and its indexes"),
    "unknown": Work(5, "may do anything"),
}
