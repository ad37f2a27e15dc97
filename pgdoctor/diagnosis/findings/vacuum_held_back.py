"""An old snapshot or transaction keeps vacuum from removing dead rows.

Recognised by: the oldest `backend_xmin`, prepared transaction, slot or standby with hot_standby_feedback is a million
transaction ids old. Ten thousand ids are enough if the transaction has been open for an hour, or idle or prepared for
five minutes; from one minute on it appears as information. It is critical above `autovacuum_freeze_max_age`: then
vacuum cannot freeze rows either. On a standby only hot_standby_feedback counts.
Do: end the named holder: terminate an idle transaction, finish a prepared one, restart a slot's consumer or drop the
slot. For a standby, look there for its longest query.
Do not: run vacuum repeatedly: it cannot remove anything. Do not drop a slot whose consumer will return.
Prevent: `idle_in_transaction_session_timeout`, `transaction_timeout` (17), `idle_replication_slot_timeout` (18).
Source: PostgreSQL documentation, "Routine Vacuuming"; `pg_replication_slots`, `pg_prepared_xacts`.
"""

from collections.abc import Callable, Iterator, Mapping

from pgdoctor.diagnosis.finding import SEVERITIES, CheckInput, FindingCheck
from pgdoctor.formatting import format_client, format_duration, format_name
from pgdoctor.model.diagnosis import Finding
from pgdoctor.model.server_context import HorizonHolder, ServerContext
from pgdoctor.model.snapshot import Snapshot

#: Transactions since, each of which may have left a dead row. A table of a queue has that many in minutes.
_MANY = 1_000_000
#: Enough on a server with few writes, for a transaction that has been open for an hour.
_SOME = 10_000
_LONG_SECONDS = 3_600.0
#: Seconds of an idle transaction: a warning, and an information.
_LONG_IDLE_SECONDS = 300.0
_NOTABLE_IDLE_SECONDS = 60.0

#: Tools whose first connection is idle while the others copy its snapshot.
_COPIES = ("pg_dump", "pg_dumpall")

_MOST_NAMED = 5


class VacuumHeldBack(FindingCheck):
    name = "vacuum_held_back"

    def find_findings(self, seen: CheckInput) -> Iterator[Finding]:
        around = seen.snapshot.surroundings
        if around is None or (seen.snapshot.server.in_recovery and not _tells_its_primary(around)):
            return
        holders = [each for each in around.holders if _assess_severity(each, seen.snapshot)]
        if not holders:
            return
        oldest = max(holders, key=lambda each: each.xids)
        forced = around.standing.freeze_max_age if around.standing else None
        is_critical = forced is not None and oldest.xids >= forced
        severities = [severity for each in holders if (severity := _assess_severity(each, seen.snapshot))]
        yield Finding(
            self.name,
            "critical" if is_critical else min(severities, key=SEVERITIES.index),
            f"{_describe_holder(oldest, seen.snapshot)} keeps vacuum from removing the dead rows of the last "
            f"{oldest.xids:,} transactions{', and from freezing rows' if is_critical else ''}",
            _ADVICE[oldest.kind](oldest),
            {"transactions": oldest.xids} | _measure_age(oldest, seen.snapshot),
            tuple(
                f"{_describe_holder(each, seen.snapshot)}: {each.xids:,} transactions" for each in holders[:_MOST_NAMED]
            ),
        )


def _tells_its_primary(standby: ServerContext) -> bool:
    return standby.standing is not None and standby.standing.hot_standby_feedback


def _assess_severity(holder: HorizonHolder, snapshot: Snapshot) -> str | None:
    seconds = snapshot.seconds_since(holder.since) or 0.0
    is_long = seconds >= (_LONG_IDLE_SECONDS if _does_nothing(holder) else _LONG_SECONDS)
    if holder.xids >= (_SOME if is_long else _MANY):
        return "warning"
    is_notable = _does_nothing(holder) and seconds >= _NOTABLE_IDLE_SECONDS and holder.xids >= _SOME
    return "info" if is_notable else None


def _does_nothing(holder: HorizonHolder) -> bool:
    if holder.kind == "prepared_transaction":
        return True
    return (holder.state or "").startswith("idle in transaction") and holder.application not in _COPIES


def _measure_age(holder: HorizonHolder, snapshot: Snapshot) -> dict[str, float]:
    seconds = snapshot.seconds_since(holder.since)
    return {} if seconds is None else {"seconds": seconds}


def _describe_holder(holder: HorizonHolder, snapshot: Snapshot) -> str:
    open_for = f", open for {format_duration(snapshot.seconds_since(holder.since))}" if holder.since else ""
    where = f" in {format_name(holder.database)}" if holder.database else ""
    match holder.kind:
        case "slot":
            return f"{holder.state} replication slot {format_name(holder.name)}{where}"
        case "prepared_transaction":
            return f"prepared transaction {format_name(holder.name)}{where}{open_for}"
        case "standby":
            return f"a standby with hot_standby_feedback, {format_client(holder.application, holder.user)}"
    return f"session {holder.name}{where}, {format_client(holder.application, holder.user)}, {holder.state}{open_for}"


def _advise_session(holder: HorizonHolder) -> str:
    if _does_nothing(holder):
        return f"terminate {holder.name} (idle in transaction); set idle_in_transaction_session_timeout"
    return f"check whether the statement of {holder.name} is still needed; run long reports on a standby"


_ADVICE: Mapping[str, Callable[[HorizonHolder], str]] = {
    "session": _advise_session,
    "standby": lambda _: "find the longest query on that standby, and end it there",
    "prepared_transaction": lambda holder: (
        f"COMMIT PREPARED or ROLLBACK PREPARED {format_name(holder.name)}, as its transaction manager decides"
    ),
    "slot": lambda holder: (
        f"restart the consumer of {format_name(holder.name)}; drop the slot if the consumer will not return"
    ),
}
