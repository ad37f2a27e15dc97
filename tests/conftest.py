"""What every test can ask for: a real server, a scene on it, a server of its own.

    pytest                               the embedded Postgres 18
    pytest --pg-version=14               another version, fetched once
    pytest --postgres=docker             a container of the official image
    pytest --postgres="host=… user=…"    a server that is there already (superuser)

`@pytest.mark.since(16)` and `@pytest.mark.until(15)` skip a test on other versions, with the reason.
`@pytest.mark.deadline(240)` lets a test take longer than two minutes; no test may hang the run.
`@pytest.mark.long` is for what takes many seconds, alone or as a file: `make test` leaves it to `make test-long`,
plain `pytest` runs both.
`--quick` runs the tests that need no server and no other process; so does `make quick`.
`--server` runs the tests that need a server: those that can differ between versions of Postgres.
`@pytest.mark.browser` is for what needs Chromium; `make test-page` runs it.
`@pytest.mark.packages` is for what needs tools of Kubernetes, systemd or Debian; `make test-packages` runs it.
"""

import gc
import itertools
import os
import signal
import sys
import tempfile
from collections.abc import Callable, Generator, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import FrameType

import psutil
import pytest
from hypothesis import HealthCheck, settings

from pgdoctor.demo.throwaway_server import ThrowawayServer
from pgdoctor.errors import PgdoctorError
from tests.binaries import VERSIONS, NotFetched
from tests.evil import Decoys
from tests.scenes import Scene
from tests.servers import CopiedServer, Embedded, Given, NoServer, Running, Source, Template, source

# No test is timed: what takes 5 ms here takes 500 on a busy machine. And every run tries the same examples, so that
# a red one is about the change; PGDOCTOR_TEST_RANDOM=1 looks further.
settings.register_profile(
    "steady",
    deadline=None,
    derandomize="PGDOCTOR_TEST_RANDOM" not in os.environ,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("steady")
settings.register_profile("quick", settings.get_profile("steady"), max_examples=25)

# Each worker imports all tests, and without a cache it compiles them, which costs more than to run a tenth of them.
sys.dont_write_bytecode = False
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)

# Imports and syntax trees make many objects and little garbage: the usual 700 doubles the CPU time of both.
gc.set_threshold(50_000, 20, 20)

_MEMORY = Path("/dev/shm")
#: What the clusters of four workers take at most, with room to spare, in bytes.
_MEMORY_BYTES = 4 * 1024**3
_state_numbers = itertools.count(1)

_SOURCE = pytest.StashKey[Source]()
_DEADLINE_SECONDS = 120.0

#: The fixtures that start a server, or say where its programs are.
_SERVERS = {"server", "bindir"}


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("postgres")
    group.addoption(
        "--postgres",
        default="embedded",
        metavar="embedded|docker|DSN",
        help="where the server comes from: a Python package (default), a container, or a superuser's DSN",
    )
    group.addoption(
        "--pg-version",
        type=int,
        choices=VERSIONS,
        help="major version of the embedded server or the container (default: 18)",
    )
    group.addoption("--quick", action="store_true", help="only tests that need no server and no other process")
    group.addoption("--server", action="store_true", help="only tests that need a server")


@pytest.hookimpl(tryfirst=True)
def pytest_cmdline_main(config: pytest.Config) -> None:
    """A server that is there already is only one: tests beside each other would see each other's sessions."""
    if config.getoption("--postgres") not in ("embedded", "docker"):
        config.option.numprocesses = 0


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "since(major): only on PostgreSQL of this version or newer")
    config.addinivalue_line("markers", "until(major): only on PostgreSQL of this version or older")
    config.addinivalue_line("markers", "long: takes many seconds; run by make test-long, not by make test")
    config.addinivalue_line("markers", "browser: needs Chromium; run by make test-page, not by make test or test-long")
    config.addinivalue_line("markers", "packages: needs tools of Kubernetes or Debian; run by make test-packages")
    config.addinivalue_line("markers", "deadline(seconds): may take this long instead of two minutes")
    if config.getoption("--quick"):
        settings.load_profile("quick")
    if "TMPDIR" not in os.environ and _memory_has_room():
        os.environ["TMPDIR"] = tempfile.tempdir = str(_MEMORY)
    try:
        config.stash[_SOURCE] = source(config.getoption("--postgres"), config.getoption("--pg-version"))
    except (NoServer, NotFetched, PgdoctorError) as problem:
        raise pytest.UsageError(str(problem)) from problem
    _forget_settings(isinstance(config.stash[_SOURCE], Given))


def _memory_has_room() -> bool:
    """Whether temporary files may lie in memory: to make a database on a disk takes two to ten times the CPU.

    Programs are run from there too. Docker's `/dev/shm` is small and has none of them run.
    """
    if not _MEMORY.is_dir():
        return False
    mounted = os.statvfs(_MEMORY)
    free = min(mounted.f_bavail * mounted.f_frsize, psutil.virtual_memory().available)
    return free >= _MEMORY_BYTES and not mounted.f_flag & os.ST_NOEXEC


def _forget_settings(keep_libpq: bool) -> None:
    """The environment of the tests may have a PGHOST or PGDOCTOR_DSN set: no test may reach that server."""
    for name in list(os.environ):
        ours = name.startswith("PGDOCTOR_") and not name.startswith("PGDOCTOR_TEST_")
        libpq = name.startswith("PG") and not name.startswith("PGDOCTOR_")
        if ours or (libpq and not keep_libpq):
            del os.environ[name]


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """With `--quick`, leave out each test with a fixture that asks for a server; with `--server`, all others."""
    if not config.getoption("--quick") and not config.getoption("--server"):
        return
    needing = {item for item in items if _SERVERS & set(getattr(item, "fixturenames", ()))}
    left_out = needing if config.getoption("--quick") else set(items) - needing
    config.hook.pytest_deselected(items=[item for item in items if item in left_out])
    items[:] = [item for item in items if item not in left_out]


@pytest.fixture(scope="session", autouse=True)
def no_processes(pytestconfig: pytest.Config) -> None:
    """With `--quick`, skip a test where it starts a process: hundreds do, and each start costs half a second."""

    def refuse(event: str, _: object) -> None:
        if event in ("subprocess.Popen", "os.fork", "os.posix_spawn"):
            pytest.skip("starts a process")

    if pytestconfig.getoption("--quick"):
        sys.addaudithook(refuse)


@pytest.hookimpl(trylast=True)
def pytest_collection_finish() -> None:
    """Let the garbage collector leave out what lives until the end: it read all modules and tests again and again."""
    gc.collect()
    gc.freeze()


def pytest_report_header(config: pytest.Config) -> str:
    return f"postgres: {config.stash[_SOURCE].label}"


def pytest_runtest_setup(item: pytest.Item) -> None:
    version = item.config.stash[_SOURCE].version
    major = int(version.partition(".")[0])
    for mark in item.iter_markers("since"):
        if major < mark.args[0]:
            pytest.skip(f"needs PostgreSQL {mark.args[0]} or newer, this is {version}")
    for mark in item.iter_markers("until"):
        if major > mark.args[0]:
            pytest.skip(f"needs PostgreSQL {mark.args[0]} or older, this is {version}")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, None, None]:
    with _deadline(item):
        return (yield)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_teardown(item: pytest.Item) -> Generator[None, None, None]:
    with _deadline(item):
        return (yield)


@contextmanager
def _deadline(item: pytest.Item) -> Iterator[None]:
    """Break off what takes too long, wherever it hangs: a signal gets through to the main thread's waits."""
    mark = item.get_closest_marker("deadline")
    seconds = mark.args[0] if mark else _DEADLINE_SECONDS

    def break_off(number: int, frame: FrameType | None) -> None:
        pytest.fail(f"not done within {seconds:g} s")

    former = signal.signal(signal.SIGALRM, break_off)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, former)


@pytest.fixture(autouse=True)
def own_state(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """A journal of its own for each test: budgets that another one has spent are not this one's."""
    # A numbered folder of pytest's is found by reading all of them, thousands in the end.
    folder = tmp_path_factory.mktemp(f"state-{next(_state_numbers)}", numbered=False)
    monkeypatch.setenv("XDG_STATE_HOME", str(folder))
    monkeypatch.delenv("STATE_DIRECTORY", raising=False)


@pytest.fixture(scope="session")
def server(pytestconfig: pytest.Config) -> Iterator[ThrowawayServer | Running]:
    """The one server of the test run: `dsn` (superuser, database `postgres`) and `version_num`."""
    with pytestconfig.stash[_SOURCE].open() as running:
        yield running


@pytest.fixture
def scene(server: ThrowawayServer | Running) -> Iterator[Scene]:
    """A fresh database on the server, and clients in it that really block; see `tests.scenes`.

    It is gone at the end, with every session, prepared transaction and role that the test has left.
    """
    with Scene(server.dsn) as staged:
        yield staged


@pytest.fixture
def decoys(scene: Scene, server: ThrowawayServer | Running) -> Decoys:
    """Objects in the scene's database that shadow the server's, and say in its log that they were called."""
    if not isinstance(server, ThrowawayServer):
        pytest.skip("needs the server's log: run with --postgres=embedded")
    return Decoys(scene, server)


@pytest.fixture(scope="session")
def bindir(pytestconfig: pytest.Config) -> Path:
    """Where the programs of the version under test lie: `postgres`, `initdb`, `psql`, `pg_dump`, …"""
    origin = pytestconfig.stash[_SOURCE]
    if not isinstance(origin, Embedded):
        pytest.skip("needs a server that it may start and stop: run with --postgres=embedded")
    return origin.bindir


@pytest.fixture(scope="session")
def template(bindir: Path) -> Iterator[Template]:
    """The cluster that `own_server` copies."""
    with Template(bindir=bindir) as made:
        yield made


@pytest.fixture
def own_server(template: Template) -> Iterator[Callable[..., ThrowawayServer]]:
    """Start a server for this test alone, to be stopped, restarted or starved; takes a quarter of a second.

    Takes the options of `ThrowawayServer`; `Scene(own_server(max_connections=10).dsn)` is a scene on it.
    """
    with ExitStack() as stack:
        yield lambda **options: stack.enter_context(CopiedServer(template, **options))
