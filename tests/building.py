"""Snapshots made by hand, from the smallest parts that a diagnosis can be made of. All of it is 60 seconds old."""

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from msgspec.structs import replace

from pgdoctor.model.snapshot import Connections, Lock, PreparedTransaction, Relation, ServerInfo, Session, Snapshot

NOW = datetime(2026, 5, 22, 23, 10, tzinfo=UTC)
ORDERS = Relation(oid=5000, name="public.orders", kind="r", is_system=False, pages=10, live_rows=1000.0)
SERVER = ServerInfo(
    version_num=180000,
    in_recovery=False,
    max_connections=100,
    connections=10,
    connections_by_state=Connections(),
    database="shop",
    database_oid=1,
    own_pid=999,
)


def ago(seconds: float) -> datetime:
    return NOW - timedelta(seconds=seconds)


def lock(pid: int | None, mode: str, *, granted: bool, seconds: float | None = 60.0, **about: Any) -> Lock:
    """A lock on orders, or about what is said; asked for `seconds` ago where it is not held."""
    usual: dict[str, Any] = {
        "locktype": "relation",
        "database": 1,
        "relation": ORDERS.oid,
        "page": None,
        "tuple": None,
        "virtualxid": None,
        "transactionid": None,
        "classid": None,
        "objid": None,
        "objsubid": None,
        "virtualtransaction": f"{pid}/1",
        "waitstart": None if granted or seconds is None else ago(seconds),
    }
    return Lock(pid=pid, mode=mode, granted=granted, **{**usual, **about})


def row(pid: int, holder: int) -> tuple[Lock, Lock]:
    """What the next in line for a row of orders holds and asks for: its place in the queue, and `holder`'s end."""
    place = lock(pid, "ExclusiveLock", granted=True, locktype="tuple", page=0, tuple=1)
    return place, transaction(pid, holder, granted=False)


def transaction(pid: int | None, of: int, *, granted: bool) -> Lock:
    """The lock on a transaction's id, here the number of its holder."""
    mode = "ExclusiveLock" if granted else "ShareLock"
    return lock(pid, mode, granted=granted, locktype="transactionid", database=None, relation=None, transactionid=of)


def advisory(pid: int, *, granted: bool, key: int = 1, **about: Any) -> Lock:
    """An application's own lock."""
    named = {"locktype": "advisory", "relation": None, "classid": 0, "objid": key, "objsubid": 1}
    return lock(pid, "ExclusiveLock", granted=granted, **{**named, **about})


def session(pid: int, **facts: Any) -> Session:
    """A client's session that runs a SELECT for a minute, unless something else is said."""
    usual: dict[str, Any] = {
        "datname": "shop",
        "usename": "app",
        "application_name": "checkout",
        "backend_type": "client backend",
        "state": "active",
        "statement": "select * from orders",
        "backend_start": ago(3600),
        "xact_start": ago(60),
        "query_start": ago(60),
        "state_change": ago(60),
        "roles": frozenset({"app"}),
    }
    return Session(pid=pid, **{**usual, **facts})


def snapshot(
    sessions: Iterable[Session],
    at: datetime = NOW,
    *,
    relations: Iterable[Relation] = (ORDERS,),
    prepared: tuple[PreparedTransaction, ...] = (),
    former_holders: Mapping[int, frozenset[int]] | None = None,
    unread: tuple[str, ...] = (),
    **server: Any,
) -> Snapshot:
    return Snapshot(
        captured_at=at,
        server=replace(SERVER, **server),
        sessions={each.pid: each for each in sessions},
        prepared=prepared,
        relations={each.oid: each for each in relations},
        former_holders=former_holders or {},
        unread=unread,
    )
