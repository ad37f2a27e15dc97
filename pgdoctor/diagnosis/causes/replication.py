"""A process of replication or recovery: a WAL sender, an apply worker, or the startup process of a standby.

Recognised by: its `backend_type`.
Do: look at the replication. On a standby, `max_standby_streaming_delay` decides which side yields.
Do not: signal it. A cancel of an apply worker with `disable_on_error` disables its subscription permanently. A cancel
of a WAL sender disconnects its standby.
Source: PostgreSQL documentation, "Hot Standby" and "Logical Replication"; measured on 15 to 18.
"""

from pgdoctor.diagnosis.blocker import command_status, held_locks
from pgdoctor.diagnosis.blocker.blocker_facts import BlockerFacts
from pgdoctor.diagnosis.cause import Cause
from pgdoctor.formatting import format_duration
from pgdoctor.model.remedy import Classification, Remedy

_BACKEND_TYPES = frozenset(
    {
        "walsender",
        "walreceiver",
        "startup",
        "logical replication launcher",
        "logical replication worker",
        "logical replication apply worker",
        "logical replication parallel worker",
        "logical replication tablesync worker",
        "slotsync worker",
    }
)


class Replication(Cause):
    name = "replication"
    precedence = 130
    why_untouchable = "signalling replication does more harm than the wait"

    def judge(self, facts: BlockerFacts) -> Classification | None:
        if facts.session is None or facts.session.backend_type not in _BACKEND_TYPES:
            return None
        return Classification(
            evidence=(
                f"it is a {facts.session.backend_type} process, "
                f"its transaction open for {format_duration(facts.transaction_seconds)}",
                *held_locks.describe_contested_locks(facts),
                *command_status.describe_own_wait(facts),
            ),
            remedy=Remedy("none", "signalling replication does more harm than the wait"),
        )
