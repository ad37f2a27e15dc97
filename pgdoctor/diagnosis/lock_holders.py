"""How long a listed lock is held, as bounds that are certain; and advisory keys as people type them."""

import re
from datetime import datetime
from typing import NamedTuple

from pgdoctor.model.advisory_key import AdvisoryKey
from pgdoctor.model.lock_holders import ListedLock, LockHolders
from pgdoctor.model.snapshot import PreparedTransaction, Session

_NUMBER = r"[+-]?(?:0x[0-9a-f]{1,16}|[0-9]{1,20})"
_BIGINT = re.compile(rf"\s*({_NUMBER})\s*", re.IGNORECASE)
_PAIR = re.compile(rf"\s*\(?\s*({_NUMBER})\s*,\s*({_NUMBER})\s*\)?\s*", re.IGNORECASE)


class HoldBounds(NamedTuple):
    """For how many seconds a lock is held: for `least` with certainty, for `most` at most; None: not known."""

    least: float | None
    most: float | None


def bound_hold(held: ListedLock, found: LockHolders) -> HoldBounds:
    """Since when a lock is held: nothing at the server says when it was granted.

    An idle or waiting session got what it holds before. No lock is older than its transaction, but an advisory
    lock may be as old as its session.
    """
    session = found.sessions.get(held.pid) if held.pid is not None else None
    if session is None:
        prepared = find_prepared(held.gid, found)
        return HoldBounds(_measure_seconds(found, prepared.prepared if prepared else None), None)
    is_advisory = held.lock.locktype == "advisory"
    most = _measure_seconds(found, session.backend_start if is_advisory else session.xact_start)
    return HoldBounds(_measure_idle_seconds(session, found), most)


def find_prepared(gid: str | None, found: LockHolders) -> PreparedTransaction | None:
    """The prepared transaction of that name."""
    return next((each for each in found.prepared if gid is not None and each.gid == gid), None)


def read_advisory_key(text: str) -> AdvisoryKey | None:
    """A key as `pg_locks` has it: of `42`, `-1`, `0x2a`, or of two integers, `1,2`. None where it is none."""
    if match := _BIGINT.fullmatch(text):
        value = _parse_unsigned(match[1], 64)
        return None if value is None else (value >> 32, value & 0xFFFFFFFF, 1)
    if match := _PAIR.fullmatch(text):
        high, low = _parse_unsigned(match[1], 32), _parse_unsigned(match[2], 32)
        return None if high is None or low is None else (high, low, 2)
    return None


def _parse_unsigned(text: str, bits: int) -> int | None:
    """A number as an unsigned one of so many bits; hexadecimal is taken as it stands. None where it does not fit."""
    is_hex = "x" in text.lower()
    value = int(text, 16 if is_hex else 10)
    highest = (1 << bits) - 1 if is_hex else (1 << (bits - 1)) - 1
    return value & ((1 << bits) - 1) if -(1 << (bits - 1)) <= value <= highest else None


def _measure_idle_seconds(session: Session, found: LockHolders) -> float | None:
    """For how long it has done nothing that could get a lock."""
    does_nothing = session.state == "idle" or session.in_transaction_idle
    since = session.state_change if does_nothing else None
    waits = [each.lock.waitstart for each in found.locks if each.pid == session.pid and not each.lock.granted]
    return _measure_seconds(found, min((each for each in (since, *waits) if each is not None), default=None))


def _measure_seconds(found: LockHolders, moment: datetime | None) -> float | None:
    return None if moment is None else max((found.captured_at - moment).total_seconds(), 0.0)
