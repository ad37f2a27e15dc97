"""A stored snapshot: without values of users, compressed, with the verdict of its time beside it.

Of a statement is left what `redact.outlined` leaves, from which the same verdict follows; comments are not, so the
tool behind a migration may not be known again where nothing but a comment gave it away.
"""

import zlib
from collections.abc import Callable, Mapping
from datetime import datetime
from functools import cache, lru_cache
from types import NoneType
from typing import Any

import msgspec
from msgspec.structs import replace

from pgdoctor.diagnosis.diagnose import diagnose
from pgdoctor.errors import JournalError
from pgdoctor.model.diagnosis import Blocker, Diagnosis
from pgdoctor.model.snapshot import Lock, Session, Snapshot
from pgdoctor.model.wait_graph import Node
from pgdoctor.sqltext.redact import outline_statement

#: The first byte of what is kept.
_FORMAT = b"1"

#: Bytes that one takes at most. A convoy of a thousand takes a tenth of that (measured).
MOST_BYTES = 512 * 1024

#: Sessions that are tried to be kept where it would take more.
_FEWER = (2_000, 500, 100, 20)

#: Bytes that it may become when it is unpacked: nothing of ours is bigger.
_MOST_UNPACKED = 256 * 1024 * 1024

#: Blockers whose verdict is kept, the widest reach first.
_MOST_JUDGED = 50


class StoredVerdict(msgspec.Struct, frozen=True, rename={"classification": "class"}):
    """What was said of a blocker."""

    node: Node
    classification: str
    also: tuple[str, ...]
    root: bool
    relation: str | None
    blocked_sessions: int
    action: str
    evidence: tuple[str, ...]
    advice: str = ""

    @classmethod
    def of(cls, blocker: Blocker) -> "StoredVerdict":
        """The verdict of a blocker, as it is kept."""
        return cls(
            node=blocker.node,
            classification=blocker.classification,
            also=blocker.also,
            root=blocker.root,
            relation=blocker.relation,
            blocked_sessions=blocker.blocked_sessions,
            action=blocker.recommendation.action,
            evidence=blocker.evidence,
            advice=blocker.advice,
        )


class StoredSnapshot(msgspec.Struct, frozen=True):
    """What is kept of one poll."""

    snapshot: Snapshot
    #: How many sessions were blocked, and how many waits there were; the snapshot may have fewer.
    blocked: int
    waits: int
    judged: tuple[StoredVerdict, ...]


#: Characters of a statement whose outline is remembered: of all of them 2 MB at the very most.
_LONGEST_REMEMBERED = 1_024

#: What has no statement in it, and is most of a snapshot.
_PLAIN = (Lock, str, int, float, datetime, NoneType)

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(StoredSnapshot).decode


def pack_diagnosis(diagnosis: Diagnosis) -> bytes:
    """What to keep of a diagnosis, in at most MOST_BYTES."""
    kept = StoredSnapshot(
        # Those who wait for the same row often say the same.
        snapshot=_without_values(diagnosis.snapshot, cache(_outline)),
        blocked=diagnosis.blocked_sessions,
        waits=diagnosis.graph.wait_count,
        judged=tuple(map(StoredVerdict.of, diagnosis.blockers[:_MOST_JUDGED])),
    )
    packed = pack_stored(kept)
    for most in _FEWER:
        if len(packed) <= MOST_BYTES:
            break
        packed = pack_stored(replace(kept, snapshot=_keep_fewer(kept.snapshot, diagnosis, most)))
    return packed


def _outline(text: str) -> str:
    return _outline_short(text) if len(text) <= _LONGEST_REMEMBERED else outline_statement(text)


#: The next snapshot of an incident has the same statements.
_outline_short = lru_cache(maxsize=1_024)(outline_statement)


def unpack_snapshot(body: bytes) -> StoredSnapshot:
    """What was kept. Raises JournalError where it is of another format, or damaged."""
    if body[:1] != _FORMAT:
        raise JournalError(f"a stored snapshot has format {body[:1]!r}; this pgdoctor knows {_FORMAT!r}")
    try:
        unzip = zlib.decompressobj()
        return _decode(unzip.decompress(body[1:], _MOST_UNPACKED))
    except (zlib.error, msgspec.MsgspecError, UnicodeDecodeError):
        raise JournalError("a stored snapshot cannot be read: it is damaged, or of another version") from None


def diagnose_again(kept: StoredSnapshot) -> Diagnosis:
    """The diagnosis that the present code makes of it."""
    return diagnose(kept.snapshot)


def pack_stored(kept: StoredSnapshot) -> bytes:
    """A snapshot that was stored before, as it is stored."""
    return _FORMAT + zlib.compress(_encode(kept))


def _without_values(value: Any, outline: Callable[[str], str]) -> Any:
    """The same with every statement outlined, wherever in it one stands."""
    if isinstance(value, _PLAIN):
        return value
    if isinstance(value, msgspec.Struct):
        changed: dict[str, object] = {}
        # Not by `msgspec.structs.fields`, which works out the types of all fields each time.
        for name in value.__struct_fields__:
            own = getattr(value, name)
            is_statement = name == "statement" and isinstance(own, str)
            part = outline(own) if is_statement else _without_values(own, outline)
            if part is not own:
                changed[name] = part
        return replace(value, **changed) if changed else value
    if isinstance(value, Mapping):
        return {key: _without_values(part, outline) for key, part in value.items()}
    if isinstance(value, tuple) and any(isinstance(part, msgspec.Struct) for part in value):
        return tuple(_without_values(part, outline) for part in value)
    return value


def _keep_fewer(snapshot: Snapshot, diagnosis: Diagnosis, most: int) -> Snapshot:
    """The snapshot with so many sessions: the blockers, the widest reach first, then others who wait."""
    order = dict.fromkeys([each.node for each in diagnosis.blockers if each.node in snapshot.sessions])
    order |= dict.fromkeys(snapshot.sessions)
    kept = set(list(order)[:most])
    there = kept | {each.node for each in snapshot.prepared}
    sessions = {pid: _keep_blockers(snapshot.sessions[pid], there) for pid in snapshot.sessions if pid in kept}
    unread = f"{len(snapshot.sessions) - len(kept):,} sessions were left out: the snapshot would be too large to store"
    return replace(snapshot, sessions=sessions, unread=(*snapshot.unread, unread))


def _keep_blockers(session: Session, there: set[Node]) -> Session:
    return replace(session, blockers=tuple(node for node in session.blockers if node in there))
