"""Whether a session is of the kind that a rule allows, or a protection names. Unknown is an answer of its own.

What cannot be seen satisfies nothing: it is no allowed name, and it may be a protected one.
"""

import re
from collections.abc import Iterator
from typing import NamedTuple

from pgdoctor.diagnosis.snapshot import Session, Snapshot
from pgdoctor.mitigation.written import Network, Pattern, Qualified

#: In an SQL comment (at the beginning: a long statement is cut) or in application_name it protects a session.
MARKER = "pgdoctor:protect"

#: What a session is known by, and the keys that name it.
KEYS = ("usename", "datname", "application_name", "state", "member_of", "client_addr", "relation", "statement")

#: What a shipped protection names: backups, and tools behind which somebody sits and watches.
BACKUPS = ("pg_dump", "pg_dumpall", "pg_restore", "pg_basebackup", "pgBackRest", "barman", "wal-g")
SHIPPED_APPLICATIONS = (*BACKUPS, "psql", "pgAdmin", "DBeaver")
SHIPPED_ROLE = "pgdoctor_protected"

#: They go on with a version, or with what is open in them: `pgAdmin 4 - DB:shop`.
_SHIPPED = re.compile(rf"({'|'.join(map(re.escape, SHIPPED_APPLICATIONS))})(?![A-Za-z0-9])", re.IGNORECASE)


class Subject(NamedTuple):
    """A session, in the snapshot that says what its locks are about."""

    session: Session
    snapshot: Snapshot


def matches(key: str, wanted: tuple[str, ...], subject: Subject) -> bool | None:
    """Whether one of the wanted values fits; None where that cannot be told."""
    session = subject.session
    match key:
        case "member_of":
            return None if session.roles is None else not set(wanted).isdisjoint(session.roles)
        case "client_addr":
            return _comes_from(wanted, session)
        case "relation":
            return _touches(wanted, subject)
        case "statement":
            return _says(wanted, session)
    value = getattr(session, key)
    return None if value is None else value in wanted


def named(key: str, wanted: tuple[str, ...], subject: Subject) -> str | None:
    """Why the session may not be touched where the wanted values are protected; None where none of them fits."""
    found = matches(key, wanted, subject)
    if found is None:
        return f"its {key} is unknown, so it may be protected"
    return f"{_said(key, wanted, subject)} is protected" if found else None


def marked(session: Session) -> str | None:
    """Where the session says by the marker that it wants to be left alone; None where it does not."""
    if MARKER in (session.application_name or ""):
        return f"its application_name says {MARKER}"
    if MARKER in (session.statement or ""):
        return f"its statement says {MARKER}"
    return None


def is_shipped(application: str) -> bool:
    """Whether an application of this name is protected by default."""
    return _SHIPPED.match(application) is not None


def shipped(session: Session) -> str | None:
    """Why the protections that come with pgdoctor speak against it, or None."""
    if is_shipped(session.application_name or ""):
        return f"application_name {session.application_name} is a backup, or a tool that somebody sits in front of"
    if session.roles is None:
        return f"its roles are unknown, so it may be a member of {SHIPPED_ROLE}"
    if SHIPPED_ROLE in session.roles:
        return f"its user is a member of {SHIPPED_ROLE}"
    return None


def _said(key: str, wanted: tuple[str, ...], subject: Subject) -> str:
    """What it was that fitted, without a word of its statement."""
    session = subject.session
    match key:
        case "statement":
            return "such a statement"
        case "client_addr":
            return f"client_addr {session.client_addr or 'local'}"
        case "member_of" | "relation":
            found = session.roles if key == "member_of" else [each for each in _relations(subject) if each]
            return f"{key} {', '.join(sorted(set(wanted) & set(found or ())))}"
    return f"{key} {getattr(session, key)}"


def _comes_from(wanted: tuple[str, ...], session: Session) -> bool | None:
    if not session.is_visible:
        return None
    try:
        return any(Network(each).has(session.client_addr) for each in wanted)
    except ValueError:
        return None


def _touches(wanted: tuple[str, ...], subject: Subject) -> bool | None:
    """Whether it holds or asks for a lock on one of the relations, as far as its locks are evidence."""
    relations = list(_relations(subject))
    if any(each in wanted for each in relations):
        return True
    return None if None in relations else False


def _relations(subject: Subject) -> Iterator[str | None]:
    """The relations that its locks are about, an index as its table; None for each that has no known name."""
    for lock in subject.session.locks:
        if lock.relation is not None:
            table = subject.snapshot.table_of(lock)
            yield Qualified.parse(table.name) if table else None


def _says(wanted: tuple[str, ...], session: Session) -> bool | None:
    if session.statement is None or session.truncated:
        return None
    return any(Pattern(each).fits(session.statement) for each in wanted)
