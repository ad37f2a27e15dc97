"""Rehearsed actions: what a rule would have signalled in `observe` or `dry_run`, judged by what happened without it.

    rehearsed ─▶ helped       its blocker went on for longer: the signal would have released sessions earlier
              ├▶ needless     its blocker released all sessions by itself within NEEDLESS_SECONDS
              ├▶ wrong_class  for most of the time afterwards its blocker had another class
              ├▶ refused      the server does not permit our role to signal this session
              └▶ unknown      it was not followed for NEEDLESS_SECONDS

Seconds are lower bounds: only the time between two polls counts that both saw the blocker. Times are the server's.
"""

from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime, timedelta
from typing import Literal

import msgspec
from msgspec.structs import replace

from pgdoctor.mitigation.history import Action, Signal, decision_id
from pgdoctor.mitigation.rules import Mode
from pgdoctor.model.diagnosis import Blocker, Diagnosis
from pgdoctor.model.identity import Identity

#: The kind of the journal's records; their subject is the decision, their body a score in JSON.
KIND = "rehearsal"

#: A blocker that ends by itself so soon needs no signal.
NEEDLESS_SECONDS = 5.0

#: Seconds between two polls above which the time between them is not counted: nothing was observed in it.
_LONGEST_GAP = 60.0

RehearsalResult = Literal["helped", "needless", "wrong_class", "refused", "unknown"]


class Rehearsal(msgspec.Struct, frozen=True):
    """A rehearsed action whose blocker still blocks, as of the latest poll."""

    action: Action
    mode: Mode
    #: Sessions that the signal would have released.
    frees: int
    #: When the blocker was last seen, and the sessions that its end would have released then.
    seen: datetime
    releasable: int
    #: Time of those sessions together, in seconds.
    session_seconds: float = 0.0
    #: Seconds that it was seen in each class.
    classes: Mapping[str, float] = {}

    @property
    def seconds(self) -> float:
        """How long the blocker was seen to go on after the rehearsed signal."""
        return max((self.seen - self.action.at) / timedelta(seconds=1), 0.0)


class RehearsalScore(
    msgspec.Struct, frozen=True, tag="rehearsal", tag_field="kind", rename={"classification": "class"}
):
    """The verdict on a rehearsed action. `seconds`: how much earlier its waiters would have been released."""

    at: datetime
    decision: str
    decided_at: datetime
    mode: Mode
    rule: str
    signal: Signal
    classification: str
    relation: str | None
    usename: str | None
    datname: str | None
    #: Sessions that the signal would have released.
    frees: int
    result: RehearsalResult
    seconds: float = 0.0
    #: Time of all sessions that it would have released, together.
    session_seconds: float = 0.0
    #: The class that the blocker had for most of the time; None: the class of the decision.
    later_class: str | None = None


_decode = msgspec.json.Decoder(RehearsalScore).decode


def read_scores(bodies: Iterable[bytes]) -> Iterator[RehearsalScore]:
    """The scores of the bodies of records, one a decision; bodies that cannot be read are left out."""
    known: set[tuple[str, datetime]] = set()
    for body in bodies:
        try:
            score = _decode(body)
        except (msgspec.MsgspecError, UnicodeDecodeError):
            continue
        if (score.decision, score.decided_at) not in known:
            known.add((score.decision, score.decided_at))
            yield score


def begin_rehearsal(action: Action, mode: Mode, frees: int) -> Rehearsal:
    """A rehearsal of an action that was decided and not sent."""
    return Rehearsal(action, mode, frees, action.at, frees)


def continue_rehearsal(
    rehearsal: Rehearsal, diagnosis: Diagnosis, *, longest_gap: float | None = _LONGEST_GAP
) -> Rehearsal | RehearsalScore:
    """The rehearsal after one more poll, or its score if the blocker no longer blocks.

    `longest_gap`: seconds between two polls above which the time between them does not count; None: it always counts.
    """
    blocker = _find_blocker(rehearsal.action, diagnosis)
    if blocker is None:
        return _score_rehearsal(rehearsal, diagnosis.captured_at)
    gap = (diagnosis.captured_at - rehearsal.seen) / timedelta(seconds=1)
    observed = gap if gap > 0 and (longest_gap is None or gap <= longest_gap) else 0.0
    name = blocker.classification
    return replace(
        rehearsal,
        seen=max(diagnosis.captured_at, rehearsal.seen),
        releasable=_count_releasable(blocker, diagnosis),
        session_seconds=rehearsal.session_seconds + rehearsal.releasable * observed,
        classes={**rehearsal.classes, name: rehearsal.classes.get(name, 0.0) + observed},
    )


def score_refusal(action: Action, mode: Mode, frees: int) -> RehearsalScore:
    """The score of an action that the server would have refused to carry out."""
    return _make_score(begin_rehearsal(action, mode, frees), action.at, "refused")


def end_rehearsal(rehearsal: Rehearsal) -> RehearsalScore:
    """The score of a rehearsal as of the last poll that saw its blocker."""
    return _score_rehearsal(rehearsal, rehearsal.seen, if_short="unknown")


def _score_rehearsal(rehearsal: Rehearsal, at: datetime, if_short: RehearsalResult = "needless") -> RehearsalScore:
    if rehearsal.seconds < NEEDLESS_SECONDS:
        return _make_score(rehearsal, at, if_short)
    later = _find_later_class(rehearsal)
    return _make_score(rehearsal, at, "helped" if later is None else "wrong_class", later)


def _make_score(
    rehearsal: Rehearsal, at: datetime, result: RehearsalResult, later: str | None = None
) -> RehearsalScore:
    action = rehearsal.action
    return RehearsalScore(
        at=at,
        decision=decision_id(action.victim, action.signal),
        decided_at=action.at,
        mode=rehearsal.mode,
        rule=action.rule,
        signal=action.signal,
        classification=action.classification,
        relation=action.relation,
        usename=action.usename,
        datname=action.datname,
        frees=rehearsal.frees,
        result=result,
        seconds=round(rehearsal.seconds, 3),
        session_seconds=round(rehearsal.session_seconds, 3),
        later_class=later,
    )


def _find_later_class(rehearsal: Rehearsal) -> str | None:
    """The class of the blocker for most of the time, if that is another one than the decision's."""
    total = sum(rehearsal.classes.values())
    name, seconds = max(rehearsal.classes.items(), key=lambda each: each[1], default=("", 0.0))
    return name if seconds > total / 2 and name != rehearsal.action.classification else None


def _find_blocker(action: Action, diagnosis: Diagnosis) -> Blocker | None:
    """The victim in the transaction that was judged, if it still blocks."""
    found = (each for each in diagnosis.blockers if each.pid == action.victim.pid and each.session is not None)
    return next((each for each in found if _is_victim(action, each)), None)


def _is_victim(action: Action, blocker: Blocker) -> bool:
    """It is the same transaction; a session whose facts are hidden now may be another one."""
    identity = Identity.of(blocker.session) if blocker.session is not None else None
    return identity is not None and action.victim.same_lasting_transaction(identity)


def _count_releasable(blocker: Blocker, diagnosis: Diagnosis) -> int:
    """The sessions that the end of the blocker would release now."""
    cut, graph = frozenset({blocker.node}), diagnosis.graph
    return len(graph.released_in_turn(cut) if blocker.root else graph.released_at_once(cut))
