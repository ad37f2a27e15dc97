"""What a script would lock and wait for: as one JSON object for programs."""

from collections.abc import Iterator, Sequence

import msgspec

from pgdoctor.diagnosis.blocker.lock_names import format_advisory_key
from pgdoctor.escape import encode_json
from pgdoctor.model.lock_modes import modes_conflict
from pgdoctor.model.preflight import Catalog, LiveState, Rate
from pgdoctor.preflight.effect import NeededLock
from pgdoctor.preflight.judge import STOPPING, Judged, Verdict
from pgdoctor.preflight.object_scopes import NeededObject
from pgdoctor.preflight.obstacles import Obstacle, final_verdict, find_obstacles
from pgdoctor.preflight.rule import AS, RE
from pgdoctor.preflight.waits import WAITS
from pgdoctor.render.holders import HolderFacts, LockFacts, build_lock_facts, build_prepared_facts, build_session_facts
from pgdoctor.render.report import ServerFacts, server_facts, show_statement

#: What is advised in front of a statement that needs a strong lock and has no limit for the wait.
LOCK_TIMEOUT = "SET lock_timeout = '3s'; -- in front of it: where it fails, try again after a pause"


class NeededLockFacts(msgspec.Struct, frozen=True):
    """A lock that a statement takes. `blocks`: reads, writes, both or neither."""

    relation: str
    mode: str
    blocks_reads: bool
    blocks_writes: bool


class NeededObjectFacts(msgspec.Struct, frozen=True):
    """A type, function, schema, role or advisory key that a statement locks, or (`mode` null) whose row it changes."""

    object: str
    mode: str | None


class WorkFacts(msgspec.Struct, frozen=True):
    """What is read or written under the locks. Sizes are those of the last VACUUM or ANALYZE; null: not known."""

    kind: str
    relation: str
    bytes: int | None
    rows: int | None


class ObstacleFacts(msgspec.Struct, frozen=True):
    """What a statement would wait for now. `counts`: it is older than --max-blocker-age, and does not give way.

    `locks` empty: it is waited for because of `reason`: its snapshot, rows that it has changed, or the row of an object
    in a catalog. `gives_way`: the server cancels it for the statement.
    """

    pid: int | None
    prepared_gid: str | None
    transaction_seconds: float | None
    counts: bool
    gives_way: bool
    locks: tuple[LockFacts, ...]
    reason: str | None


class QueueFacts(msgspec.Struct, frozen=True):
    """The use of a relation, as measured now, that would queue behind a statement while it waits or works.

    A statement begins one scan or several, and changes any number of rows. Only what the locks block is counted.
    """

    relation: str
    scans_per_second: float
    changes_per_second: float


class PreflightStatement(msgspec.Struct, frozen=True):
    """One statement of the script. `line` counts from 1.

    `exact`: it takes exactly these locks on relations that are there already; otherwise at most these.
    `transaction`: the number of its transaction; null: it commits by itself.
    """

    number: int
    line: int
    statement: str
    verdict: str
    transaction: int | None
    locks: tuple[NeededLockFacts, ...]
    exact: bool
    #: Objects that are no relations: locks on them, and (`mode` null) changes of their rows in catalogs.
    #: AccessShareLock on all that DDL uses is left out.
    objects: tuple[NeededObjectFacts, ...]
    work: tuple[WorkFacts, ...]
    waits_for: tuple[str, ...]
    reasons: tuple[str, ...]
    safe_form: tuple[str, ...]
    has_lock_timeout: bool
    #: What the script sets, in seconds; null: it sets none, and what the role or database has is not known.
    lock_timeout: float | None
    statement_timeout: float | None
    #: Statements before it whose locks are held while it runs.
    after_statements: tuple[int, ...]
    blocked_by: tuple[ObstacleFacts, ...]
    #: Null: not measured, for there is no server, or it blocks no reader and no writer.
    queue: tuple[QueueFacts, ...] | None


class PreflightReport(msgspec.Struct, frozen=True):
    """The object of `preflight --format json`. `server` null: no server was asked."""

    schema_version: int
    source: str
    captured_at: str | None
    server: ServerFacts | None
    #: The major version that the statements are judged for.
    version: int
    verdict: str
    #: Exit status 1: a statement would block, or cannot be judged.
    would_block: bool
    #: Only sessions block it: waiting for their ends helps.
    waiting_helps: bool
    max_blocker_age_seconds: float
    small_bytes: int
    statements: tuple[PreflightStatement, ...]
    sessions: tuple[HolderFacts, ...]
    #: What is not known, and what else to know of the script as a whole.
    notes: tuple[str, ...]


class Limits(msgspec.Struct, frozen=True):
    """What the caller accepts: blockers that are younger (seconds), sizes (bytes), statements that are dangerous."""

    max_blocker_age: float | None = None
    small_bytes: int = 10 << 20
    allows_dangerous: bool = False


def make_preflight_report(
    judged: Sequence[Judged],
    catalog: Catalog | None,
    live: LiveState | None,
    *,
    source: str,
    version: int,
    limits: Limits,
    notes: Sequence[str] = (),
    show_literals: bool = False,
) -> PreflightReport:
    """The answer as it may be shown: no statement with its values."""
    obstacles = find_obstacles(judged, live) if live else ()
    verdicts = [final_verdict(each, obstacles, limits.max_blocker_age) for each in judged]
    by_number: dict[int, list[Obstacle]] = {}
    for obstacle in obstacles:
        by_number.setdefault(obstacle.number, []).append(obstacle)
    statements = tuple(
        _build_statement(each, verdict, by_number.get(each.number, []), catalog, live, limits, show_literals)
        for each, verdict in zip(judged, verdicts, strict=True)
    )
    worst = min(verdicts, key=list(Verdict).index, default=Verdict.HARMLESS)
    stopping = [each for each in STOPPING if not (limits.allows_dangerous and each is Verdict.DANGEROUS)]
    pids = {each.pid for each in obstacles}
    return PreflightReport(
        schema_version=1,
        source=source,
        captured_at=live.captured_at.isoformat(timespec="microseconds") if live else None,
        server=server_facts(live.holders.server) if live else None,
        version=version,
        verdict=worst.value,
        would_block=any(each in stopping for each in verdicts),
        waiting_helps=not any(each.verdict in stopping for each in judged),
        max_blocker_age_seconds=limits.max_blocker_age or 0.0,
        small_bytes=limits.small_bytes,
        statements=statements,
        sessions=tuple(_build_sessions(live, pids, show_literals)) if live else (),
        notes=(*notes, *_describe_end(judged), *(live.holders.unread if live else ())),
    )


def preflight_to_json(report: PreflightReport) -> bytes:
    """The report as one JSON object."""
    return encode_json(report)


def _build_statement(
    judged: Judged,
    verdict: Verdict,
    obstacles: Sequence[Obstacle],
    catalog: Catalog | None,
    live: LiveState | None,
    limits: Limits,
    show_literals: bool,
) -> PreflightStatement:
    effect = judged.effect
    locks = tuple(_build_lock(lock) for lock in effect.locks)
    is_strong = any(lock.blocks_reads or lock.blocks_writes for lock in locks)
    advice = (LOCK_TIMEOUT,) if is_strong and judged.timeouts.find("lock_timeout") is None else ()
    return PreflightStatement(
        number=judged.number,
        line=judged.part.line,
        statement=judged.part.command or show_statement(judged.part.sentence.text, show_literals) or "",
        verdict=verdict.value,
        transaction=judged.transaction,
        locks=locks,
        exact=effect.is_known and not effect.is_at_most and not effect.is_unknown,
        objects=tuple(
            NeededObjectFacts(_name_object(each), each.mode or None) for each in effect.objects if each.mode != AS
        ),
        work=tuple(_build_work(each.kind, each.oid, each.name, catalog) for each in effect.work),
        waits_for=tuple(dict.fromkeys(f"{WAITS[wait].says} ({name})" for wait, _, name in effect.waits)),
        reasons=judged.reasons,
        safe_form=(*judged.safe, *advice),
        has_lock_timeout=judged.timeouts.find("lock_timeout") is not None,
        lock_timeout=judged.timeouts.find("lock_timeout"),
        statement_timeout=judged.timeouts.find("statement_timeout"),
        after_statements=tuple(sorted({held.number for held in judged.held})),
        blocked_by=tuple(_build_obstacle(each, live, limits) for each in obstacles) if live else (),
        queue=tuple(_build_queue(effect.locks, live)) if live and is_strong else None,
    )


def _build_lock(lock: NeededLock) -> NeededLockFacts:
    return NeededLockFacts(lock.name, lock.mode, modes_conflict(lock.mode, AS), modes_conflict(lock.mode, RE))


def _name_object(needed: NeededObject) -> str:
    is_advisory = needed.key[2] != 0
    return f"{needed.name} {format_advisory_key(needed.key)}" if is_advisory else needed.name


def _build_work(kind: str, oid: int | None, name: str, catalog: Catalog | None) -> WorkFacts:
    facts = catalog.relations.get(oid) if catalog is not None and oid is not None else None
    is_known = facts is not None and facts.is_measured
    return WorkFacts(
        kind, name, facts.bytes if facts and is_known else None, int(facts.rows) if facts and is_known else None
    )


def _build_obstacle(obstacle: Obstacle, live: LiveState, limits: Limits) -> ObstacleFacts:
    return ObstacleFacts(
        pid=obstacle.pid,
        prepared_gid=obstacle.gid,
        transaction_seconds=obstacle.age,
        counts=obstacle.counts(limits.max_blocker_age),
        gives_way=obstacle.gives_way,
        locks=tuple(build_lock_facts(each, live.holders) for each in obstacle.locks),
        reason=obstacle.reason or None,
    )


def _build_queue(locks: Sequence[NeededLock], live: LiveState) -> Iterator[QueueFacts]:
    """The traffic on each relation whose readers or writers the locks block."""
    modes: dict[int, list[str]] = {}
    names = {lock.oid: lock.name for lock in locks}
    for lock in locks:
        if lock.oid is not None:
            modes.setdefault(lock.oid, []).append(lock.mode)
    for oid, all_modes in modes.items():
        rate: Rate | None = live.rates.get(oid)
        if rate is None or not any(modes_conflict(mode, RE) for mode in all_modes):
            continue
        blocks_reads = any(modes_conflict(mode, AS) for mode in all_modes)
        yield QueueFacts(names[oid], rate.scans if blocks_reads else 0.0, rate.changes)


def _describe_end(judged: Sequence[Judged]) -> Iterator[str]:
    if judged and judged[-1].is_left_open:
        yield "the script ends inside of a transaction: without a COMMIT psql rolls it back"


def _build_sessions(live: LiveState, pids: set[int | None], show_literals: bool) -> Iterator[HolderFacts]:
    for session in live.holders.sessions.values():
        if session.pid in pids:
            yield build_session_facts(session, live.holders, listed=True, show_literals=show_literals)
    yield from build_prepared_facts(live.holders)
