"""A diagnosis in brief: how many sessions are blocked, the roots, the best signals, and what waits."""

from collections.abc import Iterator, Sequence

import msgspec

from pgdoctor.diagnosis.cuts import Cut
from pgdoctor.diagnosis.recommendation import Advice
from pgdoctor.model.diagnosis import Finding
from pgdoctor.render.brief.text import NOTICE, ClientText, client_text, keep_first, round_seconds
from pgdoctor.render.report import BlockerReport, Report, ServerFacts, Wait

#: Sentences of evidence, PIDs of a group, cycles and members of one.
_MOST_EVIDENCE = 2
_MOST_PIDS = 3
_MOST_CYCLES = 3
_MOST_MEMBERS = 8

#: Signals that are listed.
_MOST_CUTS = 3


class BriefServer(msgspec.Struct, frozen=True, omit_defaults=True):
    """The server that was asked."""

    version_num: int
    in_recovery: bool
    connections: int
    max_connections: int
    client_text: ClientText = ClientText()


class BriefBlocker(msgspec.Struct, frozen=True, omit_defaults=True, rename={"classification": "class"}):
    """A blocking session. `recommended`: cancel, terminate or none."""

    pid: int | None
    classification: str
    root: bool
    directly_blocked: int
    blocked_sessions: int
    recommended: str
    also: tuple[str, ...] = ()
    state: str | None = None
    transaction_seconds: float | None = None
    in_cycle: bool = False
    #: Our role may signal it; absent: not known.
    may_signal: bool | None = None
    client_text: ClientText = ClientText()


class WaitingGroup(msgspec.Struct, frozen=True, omit_defaults=True):
    """Sessions that wait for the same lock with the same statement."""

    sessions: int
    longest_wait_seconds: float | None
    lock_mode: str | None
    #: A few of them, the longest wait first.
    example_pids: tuple[int, ...]
    client_text: ClientText = ClientText()


class BriefCut(msgspec.Struct, frozen=True, omit_defaults=True):
    """A signal, what it frees and what it costs. `exact` false: a forecast."""

    action: str
    pid: int | None
    frees_at_once: int
    frees_in_turn: int
    exact: bool
    costs: str | None = None
    #: The server does not permit it to our role.
    refused: bool = False
    client_text: ClientText = ClientText()


class BriefFinding(msgspec.Struct, frozen=True, omit_defaults=True):
    """A problem other than a lock wait. `severity`: info, warning or critical."""

    kind: str
    severity: str
    client_text: ClientText = ClientText()


class BriefDiagnosis(msgspec.Struct, frozen=True, omit_defaults=True):
    """The answer of the tool `diagnose`. `…_left_out`: how many are not listed."""

    notice: str
    captured_at: str
    server: BriefServer
    blocked_sessions: int
    waits_total: int
    roots_total: int
    blockers_total: int
    recommendation: BriefCut | None
    blockers: tuple[BriefBlocker, ...]
    cuts: tuple[BriefCut, ...]
    waiting: tuple[WaitingGroup, ...]
    findings: tuple[BriefFinding, ...]
    blockers_left_out: int = 0
    cuts_left_out: int = 0
    #: Waiting sessions in no listed group.
    waiting_left_out: int = 0
    findings_left_out: int = 0
    #: Deadlocks: the PIDs of each.
    cycles: tuple[tuple[int, ...], ...] = ()
    cycles_left_out: int = 0


def make_brief_diagnosis(report: Report, most: int) -> BriefDiagnosis:
    """The report with at most so many blockers, groups of waiting sessions and findings."""
    # Those that only wait in line themselves are not the cause: of a convoy's thousand there is one to show.
    blockers, _ = keep_first([each for each in report.blockers if each.root or each.classification != "unknown"], most)
    cuts, cuts_left = keep_first(report.cuts, min(_MOST_CUTS, most))
    groups = group_waits(report.waits)
    listed, _ = keep_first(groups, most)
    findings, findings_left = keep_first(report.findings, most)
    cycles, cycles_left = keep_first(report.cycles, min(_MOST_CYCLES, most))
    return BriefDiagnosis(
        notice=NOTICE,
        captured_at=report.captured_at,
        server=make_brief_server(report.server),
        blocked_sessions=report.blocked_sessions,
        waits_total=report.waits_total,
        roots_total=sum(each.root for each in report.blockers),
        blockers_total=len(report.blockers),
        recommendation=make_brief_advice(report.recommendation),
        blockers=tuple(map(make_brief_blocker, blockers)),
        cuts=tuple(map(make_brief_cut, cuts)),
        waiting=listed,
        findings=tuple(map(make_brief_finding, findings)),
        blockers_left_out=len(report.blockers) - len(blockers),
        cuts_left_out=cuts_left,
        waiting_left_out=max(report.blocked_sessions - sum(each.sessions for each in listed), 0),
        findings_left_out=findings_left,
        cycles=tuple(cycle[:_MOST_MEMBERS] for cycle in cycles),
        cycles_left_out=cycles_left,
    )


def make_brief_server(server: ServerFacts) -> BriefServer:
    """The server, with the names that an operator or a client gave it set apart."""
    where = f"{server.host}:{server.port}" if server.host and server.port else server.host
    return BriefServer(
        server.version_num,
        server.in_recovery,
        server.connections,
        server.max_connections,
        client_text(database=server.database, sentences=(where, server.cluster_name)),
    )


def make_brief_blocker(blocker: BlockerReport) -> BriefBlocker:
    """A blocker of a report."""
    return BriefBlocker(
        pid=blocker.pid,
        classification=blocker.classification,
        root=blocker.root,
        directly_blocked=blocker.directly_blocked,
        blocked_sessions=blocker.blocked_sessions,
        recommended=blocker.recommendation.action,
        also=blocker.also,
        state=blocker.state,
        transaction_seconds=round_seconds(blocker.transaction_seconds),
        in_cycle=blocker.in_cycle,
        may_signal=blocker.may_signal,
        client_text=client_text(
            user=blocker.user,
            database=blocker.database,
            application=blocker.application,
            relation=blocker.relation,
            statement=blocker.statement,
            prepared_gid=blocker.prepared_gid,
            sentences=(*blocker.evidence[:_MOST_EVIDENCE], blocker.recommendation.reason),
        ),
    )


def make_brief_cut(cut: Cut) -> BriefCut:
    """A signal of a report."""
    return BriefCut(
        action=cut.action,
        pid=cut.pid,
        frees_at_once=cut.frees_at_once,
        frees_in_turn=cut.frees_in_turn,
        exact=cut.exact,
        costs=cut.loses,
        refused=cut.not_permitted is not None,
        client_text=client_text(sentences=(cut.reason, cut.release_uncertain)),
    )


def make_brief_advice(advice: Advice | None) -> BriefCut | None:
    """The one thing to do; None where no session is blocked."""
    if advice is None:
        return None
    return BriefCut(
        action=advice.action,
        pid=advice.pid,
        frees_at_once=advice.frees_at_once,
        frees_in_turn=advice.frees_in_turn,
        exact=advice.exact,
        costs=advice.loses,
        refused=advice.not_permitted is not None,
        client_text=client_text(prepared_gid=advice.prepared_gid, sentences=(advice.reason,)),
    )


def make_brief_finding(finding: Finding) -> BriefFinding:
    """A finding of a report."""
    return BriefFinding(
        finding.kind,
        finding.severity,
        client_text(sentences=(finding.summary, finding.advice, *finding.evidence[:_MOST_EVIDENCE])),
    )


def group_waits(waits: Sequence[Wait]) -> list[WaitingGroup]:
    """Waiting sessions by what they run and wait for, the most first; each session counts once."""
    groups: dict[tuple[str | None, ...], list[Wait]] = {}
    for wait in _first_of_each(waits):
        about = (wait.blocked_application, wait.blocked_user, wait.place, wait.lock_mode, wait.blocked_statement)
        groups.setdefault(about, []).append(wait)
    found = [_make_group(each) for each in groups.values()]
    return sorted(found, key=lambda each: (-each.sessions, -(each.longest_wait_seconds or 0.0)))


def _first_of_each(waits: Sequence[Wait]) -> Iterator[Wait]:
    known: set[int] = set()
    for wait in waits:
        if wait.blocked_pid not in known:
            known.add(wait.blocked_pid)
            yield wait


def _make_group(waits: list[Wait]) -> WaitingGroup:
    waits = sorted(waits, key=lambda each: -(each.wait_seconds or 0.0))
    first = waits[0]
    return WaitingGroup(
        len(waits),
        round_seconds(first.wait_seconds),
        first.lock_mode,
        tuple(each.blocked_pid for each in waits[:_MOST_PIDS]),
        client_text(
            user=first.blocked_user,
            database=first.database if first.in_other_database else None,
            application=first.blocked_application,
            relation=first.relation,
            statement=first.blocked_statement,
            waits_for=first.waits_for,
        ),
    )
