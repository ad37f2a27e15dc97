"""What would have prevented an incident: the exact setting or index, and who does it."""

import re
from collections.abc import Iterator, Mapping, Sequence

import msgspec

from pgdoctor.render.incident_view import IncidentView
from pgdoctor.render.report import BlockerReport, Report

#: Blockers that something is said about.
_MOST_BLOCKERS = 5

_INDEX = re.compile(r"CREATE (?:UNIQUE )?INDEX CONCURRENTLY .+", re.DOTALL)
_PLAIN = re.compile(r"[a-z_][a-z0-9_]{0,62}")


class Prevention(msgspec.Struct, frozen=True):
    """One thing to do. `exact`: the SQL; null: it is a change of a program, or there is no SQL for it."""

    #: index, setting, code or general.
    kind: str
    what: str
    exact: str | None
    #: Who does it.
    who: str


#: By class of the blocker: what a setting does, the SQL (`{}` is the role), and who sets it.
_SETTINGS: Mapping[str, tuple[tuple[str, str, str], ...]] = {
    "idle_in_transaction": (
        (
            "The server ends transactions that stay idle",
            "ALTER ROLE {} SET idle_in_transaction_session_timeout = '30s';",
            "database administrator",
        ),
    ),
    "migration": (
        ("The change gives up its place in the queue and is tried again", "SET lock_timeout = '3s';", "author"),
    ),
    "explicit_lock": (("The request gives up its place in the queue", "SET lock_timeout = '3s';", "author"),),
    "maintenance": (("The request gives up its place in the queue", "SET lock_timeout = '3s';", "author"),),
    "long_query": (
        ("The server ends statements that take too long", "ALTER ROLE {} SET statement_timeout = '60s';", "author"),
    ),
    "unindexed_scan": (
        ("The server ends statements that take too long", "ALTER ROLE {} SET statement_timeout = '60s';", "author"),
    ),
}

_WAITING = "A waiting session gives up, so that waits do not use up all connections"
_WAITING_SQL = "ALTER ROLE {} SET lock_timeout = '10s';"


def find_prevention(
    story: IncidentView, facts: Report | None, pages: Mapping[str, str], deadlock_advice: Sequence[str]
) -> Iterator[Prevention]:
    """What would have prevented it, the most specific first, each once."""
    found = [
        *_list_for_blockers(facts),
        *(
            Prevention("code", f"deadlock: {advice}", None, "authors of the members' statements")
            for advice in deadlock_advice
        ),
        *_list_for_waiters(facts),
        *_list_pages(story, pages, is_deadlock=bool(deadlock_advice)),
    ]
    seen = set[tuple[str, str | None]]()
    for each in found:
        if (each.what, each.exact) not in seen:
            seen.add((each.what, each.exact))
            yield each


def _list_for_blockers(facts: Report | None) -> Iterator[Prevention]:
    told = [each for each in facts.blockers if each.root or each.classification != "unknown"] if facts else []
    for each in told[:_MOST_BLOCKERS]:
        owner = _name_owner(each)
        index = find_index(each)
        if index is not None:
            yield Prevention(
                "index",
                f"With an index, the statement on {each.place or 'the table'} finds its rows without reading all of it",
                index,
                owner,
            )
        for what, sql, who in _SETTINGS.get(each.classification, ()):
            exact = _fill_role(sql, each.user)
            yield Prevention("setting", what, exact, owner if who == "author" else who)
        if each.advice and index is None:
            yield Prevention("code", f"{each.classification}, {name_session(each)}: {each.advice}", None, owner)


def name_session(blocker: BlockerReport) -> str:
    """`PID 4242`, or the prepared transaction."""
    return f"PID {blocker.pid}" if blocker.pid is not None else f"the prepared transaction {blocker.prepared_gid}"


def find_index(blocker: BlockerReport) -> str | None:
    """The index that its advice names; None: it names none."""
    for text in (blocker.advice or "", blocker.recommendation.reason):
        if named := _INDEX.search(text):
            return f"{named[0].rstrip(' .;')};"
    return None


def _list_for_waiters(facts: Report | None) -> Iterator[Prevention]:
    """A limit for the role with the most waiting sessions."""
    users = [wait.blocked_user for wait in facts.waits if wait.blocked_user] if facts else []
    if users:
        most = max(sorted(set(users)), key=users.count)
        yield Prevention("setting", _WAITING, _fill_role(_WAITING_SQL, most), "database administrator")


def _list_pages(story: IncidentView, pages: Mapping[str, str], *, is_deadlock: bool) -> Iterator[Prevention]:
    for name in story.last.classes:
        # The members of a cycle are of this class.
        if name in pages and not (is_deadlock and name == "unknown"):
            yield Prevention("general", f"{name}: {pages[name]}", None, "database administrator")


def _name_owner(blocker: BlockerReport) -> str:
    role = f"role {blocker.user}" if blocker.user else "its role"
    return f'owner of "{blocker.application}" ({role})' if blocker.application else f"owner of the sessions of {role}"


def _fill_role(sql: str, role: str | None) -> str | None:
    """The SQL for a role; None where its name is not known, or cannot be written on one line."""
    if "{}" not in sql:
        return sql
    if role is None or not role.isprintable():
        return None
    return sql.format(role if _PLAIN.fullmatch(role) else '"' + role.replace('"', '""') + '"')
