"""A triage in brief: whether clients are affected, since when, what changed, and what to do."""

import msgspec

from pgdoctor.render.brief.diagnosis import (
    BriefCut,
    BriefFinding,
    BriefServer,
    make_brief_advice,
    make_brief_finding,
    make_brief_server,
)
from pgdoctor.render.brief.text import NOTICE, ClientText, client_text, keep_first, round_seconds
from pgdoctor.render.triage import ChangeFacts, Root, TriageFacts

#: Entries of each part.
_MOST = 5
_MOST_EVIDENCE = 2


class BriefRoot(msgspec.Struct, frozen=True, omit_defaults=True, rename={"classification": "class"}):
    """A session that others wait for, and that waits for no session."""

    pid: int | None
    classification: str
    blocked_sessions: int
    client_text: ClientText = ClientText()


class BriefChange(msgspec.Struct, frozen=True):
    """Something that was not so before."""

    at: str
    kind: str
    client_text: ClientText


class BriefInternalWait(msgspec.Struct, frozen=True):
    """Sessions that wait for an internal lock of the server."""

    events: tuple[str, ...]
    sessions: float
    cause: str
    what_ends_it: str


class BriefTriage(msgspec.Struct, frozen=True, omit_defaults=True):
    """The answer of the tool `triage`. `hurt` null: nothing was found, but other sessions cannot be seen."""

    notice: str
    captured_at: str
    server: BriefServer
    hurt: bool | None
    layer: str
    since: str | None
    seconds: float | None
    blocked_sessions: int
    recommendation: BriefCut | None
    client_text: ClientText
    roots: tuple[BriefRoot, ...] = ()
    changes: tuple[BriefChange, ...] = ()
    findings: tuple[BriefFinding, ...] = ()
    internal_waits: tuple[BriefInternalWait, ...] = ()
    #: Active sessions on average, by wait event.
    wait_events: dict[str, float] = {}
    transactions_per_second: float | None = None
    rolled_back_share: float | None = None
    cache_hit_share: float | None = None
    deadlocks_counted: int = 0
    standbys: int = 0
    roots_left_out: int = 0
    changes_left_out: int = 0
    findings_left_out: int = 0


def make_brief_triage(facts: TriageFacts) -> BriefTriage:
    """The facts with a few entries of each part."""
    roots, roots_left = keep_first(facts.roots, _MOST)
    changes, changes_left = keep_first(facts.changes, _MOST)
    findings, findings_left = keep_first(facts.findings, _MOST)
    internal, _ = keep_first(facts.internal_waits, _MOST)
    return BriefTriage(
        notice=NOTICE,
        captured_at=facts.captured_at,
        server=make_brief_server(facts.server),
        hurt=facts.hurt,
        layer=facts.layer,
        since=facts.since,
        seconds=round_seconds(facts.seconds),
        blocked_sessions=facts.blocked_sessions,
        recommendation=make_brief_advice(facts.recommendation),
        client_text=client_text(sentences=(facts.summary, facts.because, *facts.next[:_MOST], *facts.unseen[:_MOST])),
        roots=tuple(map(_make_root, roots)),
        changes=tuple(map(_make_change, changes)),
        findings=tuple(map(make_brief_finding, findings)),
        internal_waits=tuple(BriefInternalWait(each.events, each.sessions, each.cause, each.end) for each in internal),
        wait_events=dict(list(facts.waits.items())[:_MOST]),
        transactions_per_second=round_seconds(facts.transactions_per_second),
        rolled_back_share=_round_share(facts.rolled_back),
        cache_hit_share=_round_share(facts.cache_hits),
        deadlocks_counted=facts.deadlocks,
        standbys=len(facts.standbys),
        roots_left_out=roots_left,
        changes_left_out=changes_left,
        findings_left_out=findings_left,
    )


def _make_root(root: Root) -> BriefRoot:
    return BriefRoot(
        root.pid,
        root.classification,
        root.blocked_sessions,
        client_text(
            user=root.user,
            database=root.database,
            application=root.application,
            relation=root.relation,
            statement=root.statement,
            prepared_gid=root.prepared_gid,
        ),
    )


def _make_change(change: ChangeFacts) -> BriefChange:
    return BriefChange(change.at, change.kind, client_text(sentences=(change.summary,)))


def _round_share(share: float | None) -> float | None:
    return None if share is None else round(share, 3)
