"""The sessions of a server as rows: what each does, for how long, and who it is."""

import math
from collections.abc import Callable, Iterator, Mapping

import msgspec

from pgdoctor.formatting import format_duration
from pgdoctor.model.activity import ActiveSession, Activity, ProcessUsage
from pgdoctor.render.live.cells import wrap_text
from pgdoctor.render.live.view import SessionSort
from pgdoctor.render.report import show_statement

#: By state of a session: its short name, and its place in the list.
_STATES = {
    "active": ("active", 0),
    "fastpath function call": ("fastpath", 0),
    "idle in transaction (aborted)": ("aborted tx", 1),
    "idle in transaction": ("idle in tx", 1),
    "idle": ("idle", 3),
}
_OTHER_STATE = 2
_PLACES = dict(_STATES.values())

#: What each client without a request waits for: nothing to show.
_IDLE_WAIT = "ClientRead"

#: Seconds after which an idle transaction is marked.
_LONG_IDLE = 10.0


class ActivityRow(msgspec.Struct, frozen=True):
    """A session."""

    key: int
    state: str = ""
    #: Seconds in its state, and since its transaction began; None: hidden, or it has none.
    age: float | None = None
    transaction: float | None = None
    wait_event: str = ""
    application: str = ""
    user: str = ""
    database: str = ""
    client: str = ""
    statement: str = ""
    usage: ProcessUsage = ProcessUsage()
    #: One of STYLES.
    style: str = "plain"

    @property
    def pid(self) -> int:
        """The process of the session."""
        return self.key

    @property
    def words(self) -> tuple[str, ...]:
        """Every text that a filter finds the row by."""
        return (
            *(str(self.key), self.state, self.wait_event, self.application),
            *(self.user, self.database, self.client, self.statement),
        )


def list_activity(
    activity: Activity, sort: SessionSort, usage: Mapping[int, ProcessUsage] | None = None
) -> tuple[ActivityRow, ...]:
    """All rows in the chosen order; `usage` by PID, None: not known."""
    taken = usage or {}
    rows = [_build_row(activity, session, taken.get(session.pid, ProcessUsage())) for session in activity.sessions]
    return tuple(sorted(rows, key=_SORTS[sort]))


def render_activity_details(activity: Activity, pid: int, columns: int) -> list[str] | None:
    """The page of one session, in lines of at most so many cells; None where it is not among the activity."""
    found = next((session for session in activity.sessions if session.pid == pid), None)
    if found is None:
        return None
    return [line for text in _list_texts(activity, found) for line in wrap_text(text, columns)]


def _sort_by_largest(value: Callable[[ActivityRow], float | None]) -> Callable[[ActivityRow], tuple[float, int]]:
    """The largest first; unknown values last."""

    def place(row: ActivityRow) -> tuple[float, int]:
        found = value(row)
        return math.inf if found is None else -found, row.key

    return place


def _by_state(row: ActivityRow) -> tuple[int, float, int]:
    """By state, and those longest in it first."""
    return _PLACES.get(row.state, _OTHER_STATE), -(row.age or 0.0), row.key


#: Where a row belongs, by what it is sorted by.
_SORTS: Mapping[SessionSort, Callable[[ActivityRow], tuple[float, ...]]] = {
    "state": _by_state,
    "age": _sort_by_largest(lambda row: row.age),
    "transaction": _sort_by_largest(lambda row: row.transaction),
    "cpu": _sort_by_largest(lambda row: row.usage.cpu),
    "memory": _sort_by_largest(lambda row: row.usage.memory),
    "read": _sort_by_largest(lambda row: row.usage.read),
    "written": _sort_by_largest(lambda row: row.usage.written),
}


def _build_row(activity: Activity, session: ActiveSession, usage: ProcessUsage) -> ActivityRow:
    age = activity.seconds_since(session.state_change)
    is_background = session.backend_type not in (None, "client backend")
    return ActivityRow(
        key=session.pid,
        state=_STATES.get(session.state or "", (session.state or "?", 0))[0],
        age=age,
        transaction=activity.seconds_since(session.xact_start),
        wait_event="" if session.wait_event == _IDLE_WAIT else session.wait_event or "",
        application=session.application or (session.backend_type or "" if is_background else ""),
        user=session.user or "",
        database=session.database or "",
        client=session.client or ("" if session.backend_type is None or is_background else "local"),
        statement=show_statement(session.statement, show_literals=False) or "",
        usage=usage,
        style=_choose_style(session, age),
    )


def _choose_style(session: ActiveSession, age: float | None) -> str:
    if session.wait_event_type == "Lock":
        return "bad"
    if session.state in ("idle in transaction", "idle in transaction (aborted)"):
        return "warn" if (age or 0.0) >= _LONG_IDLE else "plain"
    return "dim" if session.state == "idle" else "plain"


def _list_texts(activity: Activity, session: ActiveSession) -> Iterator[str]:
    ages: Mapping[str, float | None] = {
        "connected": activity.seconds_since(session.backend_start),
        "state": activity.seconds_since(session.state_change),
        "transaction": activity.seconds_since(session.xact_start),
    }
    application = f' "{session.application}"' if session.application else ""
    place = session.client or "this machine"
    yield f"{session.pid}  {session.backend_type or 'hidden: the role may not read it (pg_monitor)'}"
    yield (
        f"{session.user or '?'}@{session.database or '?'}{application} from {place}, connected for "
        f"{format_duration(ages['connected'])}"
    )
    opened = f", its transaction open for {format_duration(ages['transaction'])}" if session.xact_start else ""
    yield f"{session.state or 'its state is hidden'} for {format_duration(ages['state'])}{opened}"
    if session.wait_event:
        yield f"wait event {session.wait_event_type}: {session.wait_event}"
    statement = show_statement(session.statement, show_literals=False)
    if statement:
        yield f"{'runs' if session.state == 'active' else 'last ran'}: {statement}"
    yield ""
    yield "It neither blocks a session nor is blocked."
