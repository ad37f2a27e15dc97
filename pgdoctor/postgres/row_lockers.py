"""Who may have locked rows of the tables on which a session waits for a row: the server names one holder at a time."""

from collections.abc import Mapping

from pgdoctor.diagnosis.blocker.row_locks import find_wanted_tables, read_row_words
from pgdoctor.model.snapshot import RowLocker, Session
from pgdoctor.postgres.catalog import CatalogReader
from pgdoctor.postgres.rows import read_row

#: Sessions that are read, those that wait for no lock first.
MOST_LOCKERS = 200

#: Bytes of a statement that are read: enough for what an application says of rows.
_STATEMENT_BYTES = 4_096


async def fetch_row_lockers(sessions: Mapping[int, Session], evidence: CatalogReader) -> tuple[RowLocker, ...]:
    """Who may have locked rows of these tables; nothing is asked where no session waits for a row that several may
    hold."""
    tables = find_wanted_tables(sessions.values())
    if not tables:
        return ()
    rows = await evidence.fetch_rows(
        "row_lockers",
        databases=[database for database, _ in tables],
        relations=[relation for _, relation in tables],
        most=MOST_LOCKERS,
        statement_bytes=_STATEMENT_BYTES,
    )
    return tuple(
        read_row(
            RowLocker,
            row,
            others=frozenset(row.others),
            says=read_row_words((row.statement or b"").decode("utf-8", errors="replace")),
        )
        for row in rows
    )
