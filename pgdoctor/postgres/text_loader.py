"""Text of the server in any encoding."""

import codecs
from typing import Any

from psycopg import BaseConnection
from psycopg.abc import AdaptContext, Buffer
from psycopg.adapt import Loader
from psycopg.pq import Format


class Text(Loader):
    """Text of any bytes: read in the encoding of the database, and never an error."""

    format = Format.TEXT

    def __init__(self, oid: int, context: AdaptContext | None = None) -> None:
        super().__init__(oid, context)
        self._encoding = "utf-8"
        if self.connection is not None:
            self._encoding = python_codec(self.connection)

    def load(self, data: Buffer) -> str:
        """The text, with what is no text replaced."""
        return bytes(data).decode(self._encoding, errors="replace")


class BinaryText(Text):
    """Such text in binary results."""

    format = Format.BINARY


def python_codec(connection: BaseConnection[Any]) -> str:
    """Python's name for a server's encoding; UTF-8 for SQL_ASCII, which is none, and for what Python lacks."""
    name = (connection.pgconn.parameter_status(b"server_encoding") or b"").decode().replace("WIN", "cp")
    try:
        return "utf-8" if name == "SQL_ASCII" else codecs.lookup(name).name
    except LookupError:
        return "utf-8"
