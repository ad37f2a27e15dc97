"""Whether a session is of the kind that a rule allows, or a protection names. Unknown is an answer of its own.

What cannot be seen satisfies nothing: it is no allowed name, and it may be a protected one.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from types import MappingProxyType
from typing import NamedTuple

from pgdoctor.fields import Network, Qualified
from pgdoctor.mitigation.marker import MARKER, leading_comments
from pgdoctor.mitigation.platform_users import find_platform
from pgdoctor.model.snapshot import Lock, Relation, Session, Snapshot
from pgdoctor.statement_pattern import StatementPattern

#: What a session is known by, and the keys that name it.
KEYS = ("usename", "datname", "application_name", "state", "member_of", "client_addr", "relation", "statement")

#: Names of the shipped protections: backups, and tools that an operator uses interactively.
BACKUPS = ("pg_dump", "pg_dumpall", "pg_restore", "pg_basebackup", "pgBackRest", "barman", "wal-g")
SHIPPED_APPLICATIONS = (*BACKUPS, "psql", "pgAdmin", "DBeaver")
SHIPPED_ROLE = "pgdoctor_protected"

#: They go on with a version, or with what is open in them: `pgAdmin 4 - DB:shop`.
_SHIPPED = re.compile(rf"({'|'.join(map(re.escape, SHIPPED_APPLICATIONS))})(?![A-Za-z0-9])", re.IGNORECASE)


#: By the OID of a relation: the names of all tables that it is a partition or a child of, at any depth.
Ancestors = Mapping[int, frozenset[str]]

#: Kinds of relations whose locks are evidence about another relation, their table.
_OF_A_TABLE = ("i", "I", "t")

#: What the server shows as the state of a session that does not report what it does (`track_activities`).
_UNREPORTED = "disabled"

_BACKUP = re.compile(rf"({'|'.join(map(re.escape, BACKUPS))})(?![A-Za-z0-9])", re.IGNORECASE)


class Subject(NamedTuple):
    """A session, in the snapshot that says what its locks are about."""

    session: Session
    snapshot: Snapshot
    #: In the connected database; None: could not be read.
    ancestors: Ancestors | None = MappingProxyType({})

    @property
    def is_elsewhere(self) -> bool:
        """Its locks are on relations of another database than the connected one."""
        return any(lock.relation is not None and not self.snapshot.is_here(lock) for lock in self.session.locks)


def matches_key(key: str, wanted: tuple[str, ...], subject: Subject) -> bool | None:
    """Whether one of the values that a rule allows fits; None where that is unknown."""
    session = subject.session
    match key:
        case "member_of":
            return None if session.roles is None else not set(wanted).isdisjoint(session.roles)
        case "client_addr":
            return _comes_from(wanted, session)
        case "relation":
            return _touches_relation(wanted, subject)
        case "statement":
            return _fits_statement(wanted, session)
    value = getattr(session, key)
    return None if value is None or (key == "state" and value == _UNREPORTED) else value in wanted


def is_protected(key: str, wanted: tuple[str, ...], subject: Subject) -> bool | None:
    """Whether one of the protected values fits; None where that is unknown.

    It is as in a rule, except that a statement may fit in part, and a table also as a part of another.
    """
    match key:
        case "statement":
            return _fits_part(wanted, subject.session)
        case "relation":
            return _has_any(wanted, _relations_and_ancestors(subject))
    return matches_key(key, wanted, subject)


def find_protected_name(key: str, wanted: tuple[str, ...], subject: Subject) -> str | None:
    """Why the session may not be touched where the wanted values are protected; None where none of them fits."""
    found = is_protected(key, wanted, subject)
    if found is None:
        return f"its {key} is unknown, so it may be protected"
    return f"{_describe_match(key, wanted, subject)} is protected" if found else None


def find_marker(session: Session) -> str | None:
    """Where the session says by the marker that it wants to be left alone; None where it does not."""
    if MARKER in (session.application_name or ""):
        return f"its application_name contains {MARKER}"
    if MARKER in leading_comments(session.statement or ""):
        return f"the comment before its statement contains {MARKER}"
    return None


def is_shipped(application: str) -> bool:
    """Whether an application of this name is protected by default."""
    return _SHIPPED.match(application) is not None


def find_default_protection(session: Session) -> str | None:
    """Why the protections that come with pgdoctor object to it, or None."""
    if is_shipped(session.application_name or ""):
        return f"application_name {session.application_name} is a backup or an interactive tool"
    if platform := find_platform(session.usename):
        return f"{platform} itself works as user {session.usename}"
    if session.roles is None:
        return f"its roles are unknown, so it may be a member of {SHIPPED_ROLE}"
    if SHIPPED_ROLE in session.roles:
        return f"its user is a member of {SHIPPED_ROLE}"
    return None


def refused_by_wrapper(session: Session) -> str | None:
    """Why the functions of `pgdoctor setup --wrapper` refuse this session whatever is configured, or None."""
    if _BACKUP.match(session.application_name or ""):
        return "the functions of setup --wrapper refuse it: it is a backup"
    if session.roles is None or SHIPPED_ROLE in session.roles:
        return f"the functions of setup --wrapper refuse it: its user is, or may be, a member of {SHIPPED_ROLE}"
    return f"the functions of setup --wrapper refuse it: {said}" if (said := find_marker(session)) else None


def _describe_match(key: str, wanted: tuple[str, ...], subject: Subject) -> str:
    """What it was that fitted, without a word of its statement."""
    session = subject.session
    match key:
        case "statement":
            return "such a statement"
        case "client_addr":
            return f"client_addr {session.client_addr or 'local'}"
        case "member_of" | "relation":
            found = session.roles if key == "member_of" else filter(None, _relations_and_ancestors(subject))
            return f"{key} {', '.join(sorted(set(wanted) & set(found or ())))}"
    return f"{key} {getattr(session, key)}"


def _comes_from(wanted: tuple[str, ...], session: Session) -> bool | None:
    if not session.is_visible:
        return None
    try:
        return any(Network(each).includes_client(session.client_addr) for each in wanted)
    except ValueError:
        return None


def _touches_relation(wanted: tuple[str, ...], subject: Subject) -> bool | None:
    """Whether it holds or asks for a lock on one of the relations, as far as its locks are evidence."""
    return _has_any(wanted, _list_relations(subject))


def _has_any(wanted: tuple[str, ...], names: Iterable[str | None]) -> bool | None:
    return _any_fits(None if name is None else name in wanted for name in names)


def _any_fits(fitting: Iterable[bool | None]) -> bool | None:
    """Whether something is true; None where nothing is, and something is unknown."""
    answers = set(fitting)
    return True if True in answers else None if None in answers else False


def _list_relations(subject: Subject) -> Iterator[str | None]:
    """The relations that its locks are about, an index as its table; None for each that has no known name."""
    for lock in subject.session.locks:
        if lock.relation is not None:
            table = subject.snapshot.table_of(lock)
            yield Qualified.parse(table.name) if table and table.kind not in _OF_A_TABLE else None


def _relations_and_ancestors(subject: Subject) -> Iterator[str | None]:
    """The same, and all tables that they are partitions or children of; None for each that is not known."""
    for lock in subject.session.locks:
        if lock.relation is not None:
            table = subject.snapshot.table_of(lock)
            above = None if table is None else _find_parents(subject, lock, table)
            if table is None or table.kind in _OF_A_TABLE:
                yield from above or (None,)
            else:
                yield Qualified.parse(table.name)
                yield from (None,) if above is None else above


def _find_parents(subject: Subject, lock: Lock, table: Relation) -> Iterable[str] | None:
    """The names of the tables above the one of a lock; None where they could not be read in its database."""
    if subject.snapshot.is_here(lock):
        return None if subject.ancestors is None else subject.ancestors.get(table.oid, ())
    other = subject.snapshot.databases.get(lock.database or 0)
    found = None if other is None or other.ancestors is None else other.ancestors.get(table.oid)
    return None if found is None else frozenset(map(Qualified.parse, found))


def _fits_statement(wanted: tuple[str, ...], session: Session) -> bool | None:
    """Whether all of its statement fits one of the patterns."""
    statement = _current_statement(session)
    if statement is None or session.truncated:
        return None
    return _any_fits(StatementPattern(each).matches_all(statement) for each in wanted)


def _fits_part(wanted: tuple[str, ...], session: Session) -> bool | None:
    """Whether some part of its statement fits one of the patterns."""
    statement = _current_statement(session)
    if statement is None:
        return None
    found = _any_fits(StatementPattern(each).is_in(statement) for each in wanted)
    return None if session.truncated and not found else found


def _current_statement(session: Session) -> str | None:
    return None if session.state == _UNREPORTED else session.statement
