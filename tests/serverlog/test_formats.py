"""One incident of a real server, as each format and prefix of its log has it."""

from collections.abc import Callable

import pytest

from pgdoctor.demo.throwaway_server import ThrowawayServer
from pgdoctor.errors import UsageError
from pgdoctor.serverlog.judgement import JudgedIncident
from pgdoctor.serverlog.prefix import KNOWN, TemplatePrefix, detect_prefix
from pgdoctor.serverlog.reading import detect_format
from tests.cli.test_read import LOG
from tests.scenes import Client, Scene
from tests.serverlog.logged import TALKATIVE, Tail, read_incidents, read_outcome, tail_of

PREFIXES = (
    "%m [%p] ",
    "%m [%p] %q%u@%d ",
    "%m [%p] %q%u@%d/%a ",
    "%t [%p]: [%l-1] user=%u,db=%d,app=%a,client=%h ",
    "%t:%r:%u@%d:[%p]:",
    "%m:%r:%u@%d:[%p]:%l:%e:%s:%v:%x:%c:%q%a:",
    "%n [%p] %q%u@%d ",
    "%t-%c-",
    "< %m > ",
)
#: Prefixes that nothing is known of.
ODD = ("%p;%m;%a;%u;%d;", "pg %m pid=%p app=%a ", "%m %b[%p] %v %x %Q %u@%d ")


def blocked(scene: Scene) -> tuple[Client, Client]:
    """A session that is idle in its transaction, and one that waits for its row inside of a function."""
    scene.admin.execute("create table orders (id int primary key, v int); insert into orders values (1, 0)")
    scene.admin.execute(
        "create function pay() returns int language plpgsql as "
        "'begin update orders set v = 4711 where id = 1; return 1; end'"
    )
    holder = scene.client("update orders set v = 1 where id = 1", application_name="checkout")
    return holder, scene.client(application_name="payment").block("select pay(),\n 'secret'")


def logged(scene: Scene, tail: Tail) -> bytes:
    """The log of such an incident."""
    holder, waiter = blocked(scene)
    tail.wait_for(scene, "still waiting for")
    holder.run("commit")
    waiter.finish()
    waiter.run("commit")
    return tail.wait_for(scene, " acquired ", "commit")


def check(found: JudgedIncident, holder: str | None = "idle_in_transaction") -> None:
    [wait] = found.incident.worst.waits
    assert (wait.mode, len(wait.holders), wait.queue) == ("ShareLock", 1, (wait.origin.pid,))
    assert wait.origin.statement == "select pay(),\n 'secret'"
    assert wait.origin.inner == "update orders set v = 4711 where id = 1"
    assert (wait.origin.function, wait.origin.relation) == ("pay", "orders")
    assert found.incident.outcomes == {"acquired": 1}
    assert found.incident.longest == pytest.approx(found.incident.session_seconds)
    if holder is not None:
        assert found.classification == holder


@pytest.fixture
def server_with(own_server: Callable[..., ThrowawayServer]) -> Callable[..., ThrowawayServer]:
    return lambda **settings: own_server(settings={**TALKATIVE, **settings})


@pytest.mark.deadline(120)
def test_every_prefix_is_found_and_read(server_with: Callable[..., ThrowawayServer]) -> None:
    server = server_with()
    classes: list[str] = []
    for prefix in (*PREFIXES, *ODD):
        with Scene(server.dsn) as scene:
            scene.admin.execute(f"alter system set log_line_prefix = '{prefix}'")
            scene.admin.execute("select pg_reload_conf()")
            scene.wait_until(lambda prefix=prefix: _shows(scene, prefix))
            tail = tail_of(server)
            data = logged(scene, tail)
        for template in (None, prefix):
            [found] = read_incidents(data, template)
            # Without a PID, or by whole seconds, it does not say what the holder did at that moment.
            check(found, None)
            if not (prefix == "< %m > " or "%t" in prefix):
                classes.append(found.classification)
            user = found.incident.worst.waits[0].origin.user
            assert user == ("postgres" if "%u" in prefix and (template or prefix in PREFIXES) else user)
    # On a busy machine two entries may have the same millisecond: then that is not known either.
    assert set(classes) <= {"idle_in_transaction", "unknown"}
    assert classes.count("idle_in_transaction") >= 0.8 * len(classes)


def _shows(scene: Scene, prefix: str) -> bool:
    client = scene.client(autocommit=True)
    return client.run("show log_line_prefix") == [(prefix,)]


@pytest.mark.parametrize("ending", ["csv", pytest.param("json", marks=pytest.mark.since(15))])
def test_records_of_the_collector_are_read(server_with: Callable[..., ThrowawayServer], ending: str) -> None:
    settings = {"logging_collector": "on", "log_filename": "pg.log", "log_destination": f"stderr,{ending}log"}
    server = server_with(**settings)
    folder = server.data / "log"
    with Scene(server.dsn) as scene:
        tails = [Tail(folder / f"pg.{each}") for each in (ending, "log")]
        logged(scene, tails[0])
        for tail in tails:
            [found] = read_incidents(tail.wait_for(scene, " acquired ", "commit"))
            check(found)


def test_size_of_the_blocks_does_not_matter(server_with: Callable[..., ThrowawayServer]) -> None:
    server = server_with(log_error_verbosity="verbose")
    with Scene(server.dsn) as scene:
        data = logged(scene, tail_of(server))
    whole = read_outcome(data)
    for size in (1, 7, 100, 1_000):
        assert (
            read_outcome(data[-20_000:], "%m [%p] %q%u@%d/%a ", size).incidents[-1].worst == whole.incidents[-1].worst
        )


@pytest.mark.parametrize(
    "wrapped",
    [
        "Nov 30 03:17:39 db1 postgres[{pid}]: [7-1] {line}",
        "2026-11-30T03:17:39.505123456Z stderr F {line}",
        "db_1  | {line}",
    ],
    ids=["syslog", "containerd", "compose"],
)
def test_lines_behind_the_mark_of_a_collector_are_read(wrapped: str) -> None:
    lines = [line for line in LOG.splitlines() if not line.startswith("\t")]
    text = "".join(wrapped.format(pid=line.partition("[")[2].partition("]")[0], line=line) + "\n" for line in lines)
    plain, found = (read_incidents(each.encode()) for each in ("\n".join(lines), text))
    for one, other in zip(plain, found, strict=True):
        assert [each.origin.pid for each in one.incident.worst.waits] == [
            each.origin.pid for each in other.incident.worst.waits
        ]
        assert (one.incident.outcomes, one.incident.session_seconds, one.classification) == (
            (other.incident.outcomes, other.incident.session_seconds, other.classification)
        )


def test_every_known_prefix_is_a_template() -> None:
    assert all(TemplatePrefix(each).template == each for each in KNOWN)


@pytest.mark.parametrize(
    ("template", "says"),
    [("[%p] ", "has no time"), ("%m %y ", "%y is not an escape"), ("%t;%p;", "fits none of its first lines")],
)
def test_wrong_prefix_is_refused_in_one_line(template: str, says: str) -> None:
    with pytest.raises(UsageError, match=says) as refused:
        detect_format(b"2026-11-30 03:17:39.505 UTC [1] LOG:  checkpoint starting: time\n", template)
    assert "\n" not in str(refused.value)


def test_text_that_is_no_log_has_no_prefix() -> None:
    assert detect_prefix([b"hello", b"ERROR:  no time", b"\xff\xfe"]) is None
