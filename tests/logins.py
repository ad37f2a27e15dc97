"""Clients that log in, and a lock that lets none of them in."""

import socket
import struct
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import psycopg
from psycopg.conninfo import conninfo_to_dict

from pgdoctor.demo.throwaway_server import ThrowawayServer


@contextmanager
def logging_in(server: ThrowawayServer, number: int) -> Iterator[None]:
    """So many clients that have sent who they are, and wait for an answer."""
    where = conninfo_to_dict(server.dsn)
    body = struct.pack("!i", 196608) + b"user\0postgres\0database\0postgres\0\0"
    with ExitStack() as stack:
        for _ in range(number):
            client = stack.enter_context(socket.create_connection((where["host"], int(where["port"])), 5))
            client.sendall(struct.pack("!i", len(body) + 4) + body)
        yield


@contextmanager
def locked_logins(server: ThrowawayServer, catalog: str = "pg_authid") -> Iterator[psycopg.Connection]:
    """A session that has locked a catalog that each login reads; and no session can log in."""
    with psycopg.connect(server.dsn, application_name="locker") as locker:
        locker.execute(f"lock table {catalog} in access exclusive mode")
        yield locker
        locker.rollback()
