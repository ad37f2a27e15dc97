"""Scenes of one shape, as data: what they are set up with, what runs, what waits, and the verdict of a DBA."""

from typing import NamedTuple

ORDERS = "public.orders"


class Row(NamedTuple):
    """Statements of a transaction, which then sleeps, or is idle where the class says so; one session waits for it.

    `setup` is run before; `before` in the transaction, the last of it outside of one where it is `autocommit`.
    """

    name: str
    classification: str
    before: tuple[str, ...]
    waits: str
    also: tuple[str, ...] = ()
    relation: str | None = ORDERS
    setup: str = ""
    wrong: str = ""
    application_name: str = ""
    autocommit: bool = False
    #: The waiter is in no transaction: CREATE INDEX CONCURRENTLY.
    waits_outside: bool = False
    #: Empty: what the class asks for.
    action: str = ""


class Search(NamedTuple):
    """A statement on a table that is big, and whether its rows are looked for without an index."""

    name: str
    statement: str
    is_unindexed: bool
    setup: str = ""
    wrong: str = ""
    #: As a statement names it.
    table: str = "jobs"
