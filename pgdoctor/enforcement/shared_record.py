"""The record that all pgdoctors of one role at a server share, as this one has read it last; and how it is written.

A change is made to the present record, so that no brake is lost by another process's write. An intent is written only
over the record that its decision was made with.
"""

import logging
import time
from collections.abc import Callable

from pgdoctor.errors import StatementFailed
from pgdoctor.mitigation.shared_record import (
    SharedRecord,
    UnreadableRecord,
    decode_record,
    encode_record,
    explain_unreadable,
)
from pgdoctor.postgres.connection import Connection
from pgdoctor.postgres.shared_record import read_record, rewrite_record

log = logging.getLogger("pgdoctor.mitigation")

#: Seconds between two reads while no session is blocked.
_IDLE_PAUSE = 5.0


class RecordChanged(Exception):
    """Another pgdoctor has written to the record meanwhile."""


class SharedRecordAccess:
    """Reads and writes the record of our role. Raises Unreachable where the connection is lost."""

    def __init__(self) -> None:
        #: The last record that could be understood; its brakes hold while the present one cannot be.
        self.shared = SharedRecord()
        #: As it is written on the server; None: nothing is.
        self.text: str | None = None
        #: Why it cannot be read, or the last write failed; None: neither.
        self.error: str | None = None
        self._door: Connection | None = None
        self._next_read = 0.0

    async def read_record(self, connection: Connection, *, is_urgent: bool) -> None:
        """Read it, if that is due; `is_urgent`: it is."""
        now = time.monotonic()
        if connection is self._door and now < self._next_read and not is_urgent:
            return
        self._door, self._next_read = connection, now + _IDLE_PAUSE
        role = "pgdoctor's role"
        try:
            role, text, _ = await read_record(connection)
            self.shared = decode_record(text)
        except StatementFailed as error:
            self._note_failure(f"the shared record cannot be read: {error}")
        except UnreadableRecord as error:
            self._note_failure(explain_unreadable(role, error))
        else:
            self.text = text
            self._note_success()

    async def write_record(
        self, connection: Connection, change: Callable[[SharedRecord], SharedRecord], *, expected: bool = False
    ) -> str | None:
        """Write what `change` makes of it; why that was not done, or None.

        `expected`: only if it is what was read last.
        """

        def change_record(text: str | None) -> str:
            if expected and text != self.text:
                raise RecordChanged
            return encode_record(change(decode_record(text)))

        try:
            self.text = (await rewrite_record(connection, change_record)).text
            self.shared = decode_record(self.text)
        except RecordChanged:
            return "another pgdoctor or an operator has changed the shared record meanwhile"
        except StatementFailed as error:
            return self._note_failure(f"the shared record cannot be written: {error}")
        except UnreadableRecord as error:
            return self._note_failure(explain_unreadable("pgdoctor's role", error))
        self._note_success()
        return None

    def _note_failure(self, why: str) -> str:
        if self.error is None:
            log.error("the shared record cannot be used: no session is signalled", extra={"error": why})
        self.error = why
        return why

    def _note_success(self) -> None:
        if self.error is not None:
            log.info("the shared record can be used again")
        self.error = None
