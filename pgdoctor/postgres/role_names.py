"""The names behind the OIDs of roles and databases."""

import asyncio
from collections.abc import Iterable
from typing import Any

from pgdoctor.postgres.catalog import CatalogReader


class RoleNames:
    """Role and database names by OID, learnt once and again when an OID is new."""

    def __init__(self) -> None:
        self.roles: dict[int, str | None] = {}
        self.databases: dict[int, str | None] = {}
        self.superusers: set[int] = set()
        self._turn = asyncio.Lock()

    async def learn_names(self, rows: Iterable[Any], evidence: CatalogReader) -> None:
        """Look up the names of all roles and databases if one of `rows` has an unknown one."""
        async with self._turn:
            await self._learn_names(rows, evidence)

    async def _learn_names(self, rows: Iterable[Any], evidence: CatalogReader) -> None:
        roles = {row.role_oid for row in rows} - {None} - self.roles.keys()
        databases = {row.database_oid for row in rows} - {None} - self.databases.keys()
        if (roles or databases) and await self.fetch_all(evidence):
            # Dropped meanwhile: not asked for at every poll.
            self.roles = dict.fromkeys(roles) | self.roles
            self.databases = dict.fromkeys(databases) | self.databases

    async def fetch_all(self, evidence: CatalogReader) -> bool:
        """Look up the names of all roles and databases; False where that fails."""
        found = await evidence.fetch_rows("role_names")
        for row in found:
            known = self.roles if row.kind == "role" else self.databases
            known[row.oid] = row.name
            if row.is_superuser:
                self.superusers.add(row.oid)
        return bool(found)
