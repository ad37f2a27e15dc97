"""Records of a journal as rows of the archive, each with the names that its statement has for the values."""

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime

import msgspec

from pgdoctor.incidents.blocking_patterns import BlockerShare, BlockingSide, WaitingSide
from pgdoctor.incidents.incident_log import KIND, IncidentRecord, read_entries

#: Statement of `sql/archive/` and its parameters.
Row = tuple[str, Mapping[str, object]]

_decode_waiting = msgspec.json.Decoder(tuple[WaitingSide, ...]).decode


def list_record_rows(server: str, kind: str, subject: str, at: datetime, body: bytes) -> Iterator[Row]:
    """The rows of one record. An incident's latest observation takes the place of the one before."""
    entry = _read_entry(body) if kind == KIND else None
    digest = entry.event if entry is not None else hashlib.sha256(body).hexdigest()[:16]
    about = {"server": clean_text(server), "subject": clean_text(subject), "at": at}
    if digest == "observed":
        yield "forget_observation", about
    yield "archive_record", {**about, "kind": kind, "digest": digest, "body": body}
    if entry is not None:
        yield "archive_incident", _list_columns(server, entry)


def list_blocker_rows(server: str, last: IncidentRecord, shares: Iterable[BlockerShare]) -> Iterator[Row]:
    """The rows of what blocked in one incident, in place of those that are there."""
    about = {"server": server, "incident": last.id, "started": last.started}
    place = -1
    for place, share in enumerate(shares):
        blocker = share.blocker
        yield (
            "archive_blocker",
            {
                **about,
                "place": place,
                "name": clean_text(blocker.server),
                "class": blocker.classification,
                "relation": clean_text(blocker.relation),
                "application": clean_text(blocker.application),
                "statement": clean_text(blocker.statement),
                "blocked_seconds": share.blocked_seconds,
                "peak_blocked": share.peak,
                "advice": clean_text(share.advice) or "",
                "waiting": msgspec.json.encode(share.waiting),
            },
        )
    yield "forget_blockers", {**about, "count": place + 1}


def read_share(
    name: str | None,
    classification: str,
    relation: str | None,
    application: str | None,
    statement: str | None,
    *,
    blocked_seconds: float,
    peak: int,
    advice: str,
    waiting: bytes,
) -> BlockerShare:
    """A row of `blockers` as it was written; damaged waiting statements are left out."""
    try:
        sides = _decode_waiting(waiting)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        sides = ()
    side = BlockingSide(name, classification, relation, application, statement)
    return BlockerShare(side, blocked_seconds, peak, sides, advice)


def clean_text(text: str | None) -> str | None:
    """The text as PostgreSQL takes it: without NUL, and without halves of surrogate pairs."""
    if text is None:
        return None
    return text.replace("\0", "\N{REPLACEMENT CHARACTER}").encode("utf-8", "replace").decode("utf-8")


def _read_entry(body: bytes) -> IncidentRecord | None:
    entries, _ = read_entries((body,))
    return entries[0] if entries else None


def _list_columns(server: str, entry: IncidentRecord) -> Mapping[str, object]:
    return {
        "server": server,
        "incident": entry.id,
        "started": entry.started,
        "last_seen": entry.at,
        "is_over": entry.is_over,
        "name": clean_text(entry.server),
        "database": clean_text(entry.database),
        "host": clean_text(entry.host),
        "port": entry.port,
        "cluster_name": clean_text(entry.cluster_name),
        "class": entry.classes[-1] if entry.classes else "unknown",
        "classes": list(entry.classes),
        "relation": clean_text(entry.relation),
        "peak_blocked": entry.peak,
        "blocked": entry.blocked,
        "seconds": entry.seconds,
        "blocked_seconds": entry.blocked_seconds,
        "longest_wait_seconds": entry.longest_wait,
        "attempts": entry.attempts,
        "recommendation": clean_text(entry.recommendation) or "",
    }
