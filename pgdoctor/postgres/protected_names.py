"""What the server knows of the names that a configuration protects, and of the tables above a relation."""

from collections.abc import Iterable, Mapping, Sequence

import msgspec

from pgdoctor.postgres.connection import Connection


class KnownNames(msgspec.Struct, frozen=True):
    """Those of the asked names that there are."""

    #: Whether it may log in.
    roles: Mapping[str, bool] = {}
    databases: frozenset[str] = frozenset()
    #: By name as `quote_ident` writes it: the kind, as in `pg_class`. Of the connected database.
    relations: Mapping[str, str] = {}


async def fetch_known_names(
    connection: Connection, roles: Sequence[str], databases: Sequence[str], relations: Sequence[tuple[str, str]]
) -> KnownNames:
    """Ask for roles, databases, and relations by schema and name. Raises ServerError."""
    rows = await connection.fetch(
        "protected_names",
        roles=list(roles),
        databases=list(databases),
        schemas=[schema for schema, _ in relations],
        relations=[name for _, name in relations],
    )
    return KnownNames(
        roles={row.name: row.can_login for row in rows if row.kind == "role"},
        databases=frozenset(row.name for row in rows if row.kind == "database"),
        relations={row.name: row.relation_kind for row in rows if row.kind == "relation"},
    )


async def fetch_ancestors(connection: Connection, oids: Iterable[int]) -> Mapping[int, frozenset[str]]:
    """The names of all tables above each relation, by partition or inheritance. Raises ServerError."""
    found: dict[int, set[str]] = {}
    asked = sorted(set(oids))
    for row in await connection.fetch("ancestors", oids=asked) if asked else ():
        found.setdefault(row.oid, set()).add(row.name)
    return {oid: frozenset(names) for oid, names in found.items()}
