"""Locks as the server's messages describe them (DescribeLockTag in lmgr.c), as rows of `pg_locks`."""

import re

from pgdoctor.model.snapshot import Lock

_PATTERNS = {
    "relation": re.compile(r"relation (?P<relation>\d{1,10}) of database (?P<database>\d{1,10})"),
    "extend": re.compile(r"extension of relation (?P<relation>\d{1,10}) of database (?P<database>\d{1,10})"),
    "frozenid": re.compile(r"pg_database\.datfrozenxid of database (?P<database>\d{1,10})"),
    "page": re.compile(
        r"page (?P<page>\d{1,10}) of relation (?P<relation>\d{1,10}) of database (?P<database>\d{1,10})"
    ),
    "tuple": re.compile(
        r"tuple \((?P<page>\d{1,10}),(?P<tuple>\d{1,10})\) of relation (?P<relation>\d{1,10})"
        r" of database (?P<database>\d{1,10})"
    ),
    "transactionid": re.compile(r"transaction (?P<transactionid>\d{1,20})"),
    "virtualxid": re.compile(r"virtual transaction (?P<virtualxid>-?\d{1,10}/\d{1,10})"),
    "spectoken": re.compile(r"speculative token (?P<objid>\d{1,10}) of transaction (?P<transactionid>\d{1,20})"),
    "object": re.compile(
        r"object (?P<objid>\d{1,10}) of class (?P<classid>\d{1,10}) of database (?P<database>\d{1,10})"
    ),
    "userlock": re.compile(r"user lock \[(?P<database>\d{1,10}),(?P<classid>\d{1,10}),(?P<objid>\d{1,10})\]"),
    "advisory": re.compile(
        r"advisory lock \[(?P<database>\d{1,10}),(?P<classid>\d{1,10}),(?P<objid>\d{1,10}),(?P<objsubid>\d{1,5})\]"
    ),
    "applytransaction": re.compile(r"remote transaction (?P<transactionid>\d{1,20}) of subscription \d.*"),
}
#: What stands in an incident of a log without log_lock_waits.
_ROW = re.compile(r"a row of .*", re.DOTALL)


def parse_lock(pid: int | None, mode: str, description: str, *, granted: bool) -> Lock:
    """The lock. Its database is left out: names come from the log, and all of them are of one place."""
    kind, parts = _parse_description(description)

    def parse_number(name: str) -> int | None:
        return int(parts[name]) if name in parts else None

    return Lock(
        pid,
        kind,
        None,
        parse_number("relation"),
        parse_number("page"),
        parse_number("tuple"),
        parts.get("virtualxid"),
        parse_number("transactionid"),
        parse_number("classid"),
        parse_number("objid"),
        parse_number("objsubid"),
        None,
        mode,
        granted,
        None,
    )


def _parse_description(description: str) -> tuple[str, dict[str, str]]:
    """The type of a lock, and the parts of its description by the columns of `pg_locks`."""
    for kind, pattern in _PATTERNS.items():
        if found := pattern.fullmatch(description):
            return kind, found.groupdict()
    return "transactionid" if _ROW.fullmatch(description) else "unknown", {}


def parse_relation_oid(description: str) -> int | None:
    """The OID of the relation that a lock is about; None where it is about none."""
    found = re.search(r"\brelation (\d{1,10}) of database", description)
    return int(found[1]) if found else None
