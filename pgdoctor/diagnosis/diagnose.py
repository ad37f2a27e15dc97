"""A snapshot in, a diagnosis out. Pure: the same snapshot gives the same diagnosis, years later too."""

from pgdoctor.diagnosis import cut_in_the_middle
from pgdoctor.diagnosis.blocker.blocker_facts import YOUNG, BlockerFacts
from pgdoctor.diagnosis.blocker.coming_deadlock import describe_coming_deadlock
from pgdoctor.diagnosis.blocker.deafness import explain_deafness, explain_persistence
from pgdoctor.diagnosis.blocker.held_up_replication import describe_replication
from pgdoctor.diagnosis.blocker.lock_names import explain_lock, is_notify_queue
from pgdoctor.diagnosis.blocker.own_wait import describe_own_wait
from pgdoctor.diagnosis.blocker.remote_circle import describe_circle
from pgdoctor.diagnosis.blocker.row_lock_advice import describe_row_locks
from pgdoctor.diagnosis.cause import Cause, all_causes
from pgdoctor.diagnosis.finding import run_finding_checks
from pgdoctor.diagnosis.manual_signal import explain_refusal, write_remedy
from pgdoctor.formatting import format_duration
from pgdoctor.model import query_plan
from pgdoctor.model.diagnosis import Blocker, Diagnosis
from pgdoctor.model.remedy import Classification, Remedy
from pgdoctor.model.snapshot import RowLocker, Snapshot
from pgdoctor.model.wait_graph import Node, WaitGraph
from pgdoctor.model.waits import longest_bounds, wait_graph

#: Lock types that name what is locked in full: every holder of such a lock is known.
_TABLE_LOCKS = frozenset({"relation"})

#: Held for as long as pages are added to a file.
_MOMENTARY = frozenset({"extend"})

#: Of a row that several transactions have share-locked the server names one at a time (measured, 14 to 18).
_HIDDEN = "at least this one: {} may hold the row too, visible only after its end"

#: What a commit itself waits for. In other waits, or none, code of the client still runs before it.
_COMMIT_WAITS = frozenset({"IO", "IPC", "LWLock"})

#: Others that may hold a row too and are named; all of them are in `may_hold_too`.
_MOST_NAMED = 10

#: A cancel ends the innermost subtransaction only (measured, 14 and 18); which locks are older is not shown.
_NESTED = "it may be inside a savepoint: a cancel rolls back only to it, and earlier locks stay"


def diagnose(snapshot: Snapshot) -> Diagnosis:
    """Who blocks whom in this snapshot, and why."""
    graph = wait_graph(snapshot)
    blockers = [_diagnose_blocker(node, snapshot, graph) for node in graph.blockers]
    blockers.sort(key=lambda blocker: (not blocker.root, -blocker.blocked_sessions, blocker.node))
    found = tuple(cut_in_the_middle.recommend_cuts(blockers, graph))
    findings = run_finding_checks(snapshot, graph, found)
    return Diagnosis(snapshot=snapshot, graph=graph, blockers=found, findings=findings)


def _diagnose_blocker(node: Node, snapshot: Snapshot, graph: WaitGraph) -> Blocker:
    facts = BlockerFacts(node, snapshot, graph)
    verdicts = _list_verdicts(facts)
    cause, verdict = verdicts[0]
    maker = facts.migration_tool if any(each.has_maker for each, _ in verdicts) else None
    remedy = _choose_recommendation(facts, verdict.remedy)
    keeps_some = remedy.action == "cancel" and facts.may_be_nested
    may_go_on = remedy.action == "cancel" and facts.session is not None and bool(explain_persistence(facts.session))
    refusal = explain_refusal(facts.session) if facts.session and remedy.action != "none" else None
    others = tuple(dict.fromkeys(each for found in facts.co_holders.values() for each in found))
    names = _format_lockers(others)
    may_free_nobody = bool(others) and graph.released_at_once(frozenset({node})) <= facts.co_holders.keys()
    if may_free_nobody and remedy.action != "none":
        remedy = Remedy(remedy.action, f"not alone, because {names} may hold the row too")
    blocked = longest_bounds(snapshot, facts.sampled_waiters)
    relation = verdict.relation or (facts.blocking_table.name if facts.blocking_table else None)
    return Blocker(
        node=node,
        pid=facts.session.pid if facts.session else None,
        gid=facts.prepared.gid if facts.prepared else None,
        session=facts.session,
        classification=cause.name,
        also=tuple(
            other.name
            for other, each in verdicts[1:]
            if other.tells_more and not (verdict.changes_hands and each.is_momentary)
        ),
        root=facts.is_root,
        in_cycle=node in graph.in_cycle,
        relation=relation,
        directly_blocked=graph.directly_blocked(node),
        blocked_sessions=graph.count_blocked(node),
        transaction_seconds=facts.transaction_seconds,
        oldest_wait_seconds=blocked.least,
        is_exact=facts.contested_types == _TABLE_LOCKS and not (keeps_some or may_go_on),
        evidence=(
            *verdict.evidence,
            *_explain_locks(facts, verdict.evidence),
            *((str(maker),) if maker else ()),
            *_explain_withdrawn(facts),
            *_read_elsewhere(facts, snapshot),
            *((_HIDDEN.format(names),) if others else ()),
            *((_NESTED,) if keeps_some else ()),
            *((refusal,) if refusal else ()),
        ),
        recommendation=remedy,
        advice=verdict.advice,
        maker=maker.name if maker else None,
        not_permitted=write_remedy(remedy.action, facts.session) if facts.session and refusal else None,
        uncertain_waiters=frozenset(facts.co_holders),
        may_hold_too=tuple(sorted({each.pid for each in others if each.pid is not None})),
        release_uncertain=(
            f"several may hold the row lock ({_own_name(facts)}, {names}): ending one may free no session"
            if others
            else None
        ),
        may_free_nobody=may_free_nobody,
        changes_hands=verdict.changes_hands,
        blocked_since=snapshot.moment_before(blocked.least),
        blocked_since_earliest=snapshot.moment_before(blocked.most),
    )


def _list_verdicts(facts: BlockerFacts) -> list[tuple[Cause, Classification]]:
    """The causes that recognise a blocker, the one that gives its class first."""
    found: list[tuple[Cause, Classification]] = []
    for cause in all_causes():
        # Nothing is said of what only counts where no other cause decides.
        is_last_resort = not (cause.tells_more or cause.has_maker)
        if is_last_resort and any(verdict.decides for _, verdict in found):
            continue
        if (verdict := cause.classify_blocker(facts)) is not None:
            found.append((cause, verdict))
    found.sort(key=lambda each: not each[1].decides)
    return found


def _format_lockers(others: tuple[RowLocker, ...]) -> str:
    """Who may hold a row too, in words: `12, 13 and 4 more`."""
    pids = sorted({each.pid for each in others if each.pid is not None})
    gids = sorted({each.gid or "?" for each in others if each.pid is None})
    found = [*map(str, pids), *(f"prepared transaction '{gid}'" for gid in gids)]
    named, rest = found[:_MOST_NAMED], len(found) - _MOST_NAMED
    return ", ".join(named) + (f" and {rest} more" if rest > 0 else "")


def _own_name(facts: BlockerFacts) -> str:
    return f"prepared transaction '{facts.prepared.gid or '?'}'" if facts.prepared else str(facts.node)


def _explain_locks(facts: BlockerFacts, told: tuple[str, ...]) -> tuple[str, ...]:
    """What its locks are for, where no statement asks for them; and what it waits for, unless the cause tells it."""
    locks = (explain_lock(facts.snapshot, lock) for lock in facts.blocking_locks or facts.queued_locks)
    found = list(dict.fromkeys(each for each in locks if each is not None))
    if not any("has waited" in each for each in told):
        found += describe_own_wait(facts)
    found += describe_circle(facts)
    found += describe_coming_deadlock(facts)
    found += describe_row_locks(facts)
    found += describe_replication(facts)
    return tuple(found)


def _explain_withdrawn(facts: BlockerFacts) -> tuple[str, ...]:
    """That it is no unindexed scan though the catalogs alone say so."""
    plan, relations = facts.snapshot.plans.get(facts.node), facts.snapshot.relations
    if plan is None or not plan.finds_by_index or plan.table not in relations:
        return ()
    return (query_plan.describe_plan(plan, relations[plan.table].name),)


def _read_elsewhere(facts: BlockerFacts, snapshot: Snapshot) -> tuple[str, ...]:
    """That its names are of another database than the connected one, or why there are none."""
    if facts.snapshot is not snapshot:
        return (f"names, indexes and statistics are those of database {facts.other_database}",)
    unread = (each for each in snapshot.databases.values() if each.name == facts.database and each.unread)
    return tuple(
        f"the catalog of {f'database {each.name}' if each.name else 'its database'} was not read: {each.unread}"
        for each in unread
    )


def _choose_recommendation(facts: BlockerFacts, remedy: Remedy) -> Remedy:
    """The remedy of the cause, unless something forbids every signal whatever the cause."""
    if facts.node in facts.graph.in_cycle:
        return Remedy("none", "the server's deadlock detector resolves this cycle by itself")
    if remedy.action == "none" or facts.session is None:
        return remedy
    if facts.session.backend_type != "client backend":
        return Remedy("none", "it is not a client's session: the server's own processes are never signalled")
    if facts.session.wait_event == "SyncRep":
        return Remedy("none", "it commits and waits for a synchronous standby: a signal would break durability")
    if facts.is_running and facts.statement.ends_transaction:
        return _explain_end(facts)
    if facts.blocking_locks and all(map(is_notify_queue, facts.blocking_locks)):
        return Remedy("none", "it commits: the next transaction with NOTIFY commits as soon as it is over")
    if facts.contested_types == _MOMENTARY:
        return Remedy("none", "it is extending a file: check the disk, and load data with fewer sessions at once")
    if remedy.action == "cancel" and (deaf := explain_deafness(facts.session)):
        return Remedy("terminate", f"{deaf}; its transaction rolls back")
    if remedy.action == "cancel" and (persists := explain_persistence(facts.session)):
        return Remedy("cancel", f"{remedy.reason}; {persists}")
    return remedy


def _explain_end(facts: BlockerFacts) -> Remedy:
    """Why a session that ends its transaction is left alone."""
    seconds, session = facts.statement_seconds or 0.0, facts.session
    if seconds < YOUNG or session is None:
        return Remedy("none", "its transaction is just ending", is_over_soon=True)
    ran = f"it has been ending its transaction for {format_duration(seconds)}"
    if session.wait_event_type in _COMMIT_WAITS:
        return Remedy("none", f"{ran}, and waits for {session.wait_event_type}:{session.wait_event}")
    return Remedy("none", f"{ran}: deferred triggers run, or a cursor WITH HOLD is filled; let it finish")
