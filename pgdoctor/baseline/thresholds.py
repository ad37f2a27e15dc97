"""Thresholds that learn: the baselines of all signals of one server, and what is unusual now.

Nothing is learnt from an incident from the moment on in which a session has waited for five seconds. Shorter waits are
learnt: under write load some session always waits for a moment, and that is usual there.
"""

import zlib
from collections.abc import Mapping

import msgspec

from pgdoctor.baseline.baseline import Baseline
from pgdoctor.model.anomaly_signals import SIGNALS, Anomaly
from pgdoctor.model.snapshot import ServerInfo

#: A share of fewer active sessions says little: one that waits would be all of them.
_FEW_ACTIVE = 10

#: Seconds that a session must have waited, so that an incident is not learnt from.
_HURTS = 5.0

#: The score that is worth a word, and the seconds for which it has to stay.
ALARMING = 5.0
LASTING = 30.0

#: Seconds between two polls after which no score counts as unbroken.
_GAP = 300.0

#: Of what is kept. Whatever is of another format is not read.
VERSION = 1

#: Bytes of what is kept, when unpacked; it has 125,000.
_MOST_BYTES = 2_000_000


def signal_readings(
    server: ServerInfo, lock_waiters: int, blocked_sessions: int, oldest_wait: float
) -> dict[str, float]:
    """The value of each signal, from the gate of a poll and the figures of its snapshot."""
    if server.hidden_sessions:
        # Hidden counters are missing: it is not zero.
        return {"connections": float(server.connections)}
    active = server.connections_by_state.active
    return {
        "blocked_sessions": float(blocked_sessions),
        "oldest_wait": oldest_wait,
        "active_sessions": float(active),
        "connections": float(server.connections),
        "oldest_transaction": server.oldest_transaction,
        "lock_wait_share": min(lock_waiters / max(active, _FEW_ACTIVE), 1.0),
    }


class StoredThresholds(msgspec.Struct, frozen=True):
    """What survives a restart."""

    version: int
    baselines: dict[str, Baseline]


class Thresholds(msgspec.Struct, frozen=True):
    """What is known after the polls so far."""

    baselines: Mapping[str, Baseline] = msgspec.field(default_factory=lambda: dict.fromkeys(SIGNALS, Baseline()))
    #: How unusual each signal was at the last poll; 0 where not enough is known.
    scores: Mapping[str, float] = msgspec.field(default_factory=lambda: dict.fromkeys(SIGNALS, 0.0))
    anomalies: tuple[Anomaly, ...] = ()
    #: Since when a signal's score has been alarming, in Unix time.
    since: Mapping[str, float] = {}
    is_hurt: bool = False
    #: When the last poll was, in Unix time.
    at: float = 0.0

    def observe(self, values: Mapping[str, float], at: float, *, incident: bool) -> "Thresholds":
        """After one more poll, at a moment in Unix time. `incident`: one is open. A signal may be missing."""
        is_hurt = incident and (self.is_hurt or values.get("oldest_wait", 0.0) >= _HURTS)
        scores = {name: self.baselines[name].score(values.get(name, 0.0)) for name in SIGNALS}
        # It starts again after a gap, and after the clock was set back.
        since = self.since if self.at <= at <= self.at + _GAP else {}
        since = {name: since.get(name, at) for name, score in scores.items() if score >= ALARMING}
        return Thresholds(
            baselines={
                name: baseline.observe(values[name], at, SIGNALS[name], learning=not is_hurt)
                if name in values
                else baseline
                for name, baseline in self.baselines.items()
            },
            scores=scores,
            anomalies=tuple(
                Anomaly(name, values[name], usual, scores[name], at - began)
                for name, began in since.items()
                if at - began >= LASTING and (usual := self.baselines[name].usual) is not None
            ),
            since=since,
            is_hurt=is_hurt,
            at=at,
        )

    def encode_state(self) -> bytes:
        """What is to survive a restart."""
        return zlib.compress(msgspec.msgpack.encode(StoredThresholds(VERSION, dict(self.baselines))), 1)


def unpack_thresholds(body: bytes) -> Thresholds:
    """What was kept by `packed`. Raises ValueError, with a reason, for anything else."""
    unpacking = zlib.decompressobj()
    try:
        raw = unpacking.decompress(body, _MOST_BYTES)
        kept = msgspec.msgpack.decode(raw, type=StoredThresholds)
    except (zlib.error, msgspec.DecodeError) as error:
        raise ValueError(f"it is damaged, or of another format: {error}") from None
    if kept.version != VERSION:
        raise ValueError(f"it is of format {kept.version}, this pgdoctor knows {VERSION}")
    baselines = {name: baseline.narrowed() for name, baseline in kept.baselines.items()}
    if baselines.keys() != SIGNALS.keys() or not all(each.is_sound for each in baselines.values()):
        raise ValueError("it is damaged")
    return Thresholds(baselines)
