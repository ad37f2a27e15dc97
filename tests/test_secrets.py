"""Values of clients come out nowhere: planted secrets through every output that there is.

Names may be shown: roles, databases, relations, applications, identifiers of prepared transactions, keys of advisory
locks. Operators have to act on them, and none of them comes from a statement's text.
"""

import asyncio
import json
import logging
import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import psycopg
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from pgdoctor.agent.http.app import describe_health
from pgdoctor.agent.log import Lines
from pgdoctor.agent.metrics import MetricsSource
from pgdoctor.agent.metrics_page import MetricsPage
from pgdoctor.agent.polling.counters import Counters
from pgdoctor.agent.polling.state import ServerState, compute_figures
from pgdoctor.diagnosis.cause import class_names, may_be_signalled
from pgdoctor.diagnosis.cuts import find_cuts
from pgdoctor.diagnosis.diagnose import diagnose
from pgdoctor.enforcement.mitigator import Mitigator
from pgdoctor.errors import StatementFailed, Unreachable
from pgdoctor.fields import Duration
from pgdoctor.incidents.incident import Incident, IncidentEvent
from pgdoctor.incidents.incident_log import KIND
from pgdoctor.incidents.snapshot_archive import StoredSnapshot, pack_diagnosis, unpack_snapshot
from pgdoctor.journal.store import Journal
from pgdoctor.mitigation.rules import Mitigation, Rule
from pgdoctor.model.diagnosis import Diagnosis
from pgdoctor.model.snapshot import Snapshot
from pgdoctor.render.live.screen import ScreenInput, draw_screen
from pgdoctor.render.live.session_rows import list_rows
from pgdoctor.render.live.view import View
from pgdoctor.render.markdown_report import render_markdown
from pgdoctor.render.outbound_alert import describe_event
from pgdoctor.render.page import render_page
from pgdoctor.render.plan import action_text, plan_facts, plan_text
from pgdoctor.render.report import make_report, to_json
from pgdoctor.render.table import render_table
from pgdoctor.render.tree import render_tree
from pgdoctor.render.web.monitoring_status import Arming, MonitoringStatus
from tests.agent.running import RunningAgent
from tests.building import advisory, session, snapshot
from tests.diagnosis.test_labelled import ALL, IDLE, on_row, prepared
from tests.forked import pgdoctor
from tests.notify.receiving import Receiving, answer
from tests.scenes import Scene
from tests.scenes.client import wait_until

SECRET = "zq7hunter2"
CARD = "4929123456789123"

#: However little is left of the secret, this much of it may not come out.
TRACES = ("zq7", CARD[:6])


# Statements with a secret in them


def quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


FORMS: dict[str, Callable[[str], str]] = {
    "plain": quoted,
    "escaped": lambda text: "E'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'",
    "unicode": lambda text: "U&" + quoted(text.replace("\\", "\\\\")),
    "national": lambda text: "N" + quoted(text),
    "bits": lambda text: "B" + quoted(text),
    "dollar": lambda text: "$$" + text.replace("$", "") + "$$",
    "tagged": lambda text: "$a$" + text.replace("$", "$ ") + "$a$",
    "body": lambda text: "$do$ begin perform " + quoted(text.replace("$", "")) + "; end $do$",
    "comment": lambda text: "/* " + text.replace("*", "").replace("/", "") + " */ 1",
    "nested": lambda text: "/* /* " + text.replace("*", "").replace("/", "") + " */ x */ 1",
    "line": lambda text: "1 -- " + " ".join(text.split()) + "\n",
    "marginalia": lambda text: "/* action:" + text.replace("*", "").replace("/", "") + ",controller:users */ 1",
    "number": lambda _: CARD,
    "fraction": lambda _: f"-{CARD}.5e3",
    "conninfo": lambda text: quoted(f"host=h user=u password={text}"),
    "uri": lambda text: quoted(f"postgresql://u:{text}@h/d"),
}

#: Statements around a value: some for each class of blocker, and those that carry passwords.
AROUND = [
    "select * from orders where v = {}",
    "update orders set v = {} where customer_id = {}",
    "delete from orders where customer_id in ({}, {})",
    "update orders set v = 1 where lower(v) = {} or customer_id = {}",
    "insert into orders values ({}, {}) on conflict (id) do update set v = {}",
    "merge into orders using other on orders.v = {} when matched then update set v = {}",
    "alter table orders add c text default {}",
    "create index concurrently on orders ((v || {})) where v <> {}",
    "lock table orders; select {}",
    "vacuum (verbose) orders; select {}",
    "autovacuum: VACUUM public.orders {}",
    "copy orders from {} with (format csv, null {})",
    "do {}",
    "call p({}, {})",
    "execute p({})",
    "explain (analyze) select {}",
    "declare c cursor for select {}",
    "commit; select {}",
    "prepare transaction {}",
    "alter role bob password {} valid until {}",
    "alter user bob with encrypted password {}",
    "create role bob login password {}",
    "create user mapping for bob server s options (user {}, password {})",
    "alter server s options (set password {})",
    "create subscription s connection {} publication p",
    "select dblink_connect({})",
    "select set_config({}, {}, false)",
    "set app.token = {}",
    "set local app.token to {}, {}",
    "alter system set primary_conninfo = {}",
    "alter database d set app.token = {}",
    "create function f() returns text language sql set app.token = {} as {}",
    "comment on table orders is {}",
    "notify c, {}",
    "security label on table orders is {}",
    "{}",
    "frobnicate {}",
]

#: A secret that is no literal, and whose place tells.
BARE = [
    "alter role bob password zq7hunter2",
    "create user bob encrypted password zq7hunter2",
    "alter server s options (set password zq7hunter2)",
    "set app.token = zq7hunter2",
    "alter role bob in database d set app.token = zq7hunter2",
    "copy orders from stdin;\n1\tzq7hunter2\n\\.\n",
    "COPY orders FROM STDIN WITH (FORMAT csv)\n1,zq7hunter2",
    'select * from orders where v = "zq7hunter2"',
    'insert into orders values (1, "zq7hunter2")',
    'update orders set v = "zq7hunter2" where v in ("zq7hunter2")',
    "postgresql://bob:zq7hunter2@h/d",
    "host=h password=zq7hunter2",
    '{"password": zq7hunter2}',
    f"select ${CARD}",
    # What migration tools write beside their statements tells the tool, and may tell no more.
    "-- changeset zq7hunter2:1\nalter table orders add c int",
    "/*framework='django:5',controller='zq7hunter2'*/ alter table orders add c int",
    "alter table orders add c int /*framework='rails',job='zq7hunter2'*/",
]

#: What servers say, with what they quote.
SAID = [
    'invalid input syntax for type integer: "{}"',
    'syntax error at or near "{}"',
    'value "{}" is out of range for type bigint',
    "unterminated quoted string '{}",
    "»{}« ist kein Wert",
    "password={} is missing",
]


@st.composite
def planted(draw: st.DrawFn) -> str:
    """A statement that hides the secret somewhere, cut after any byte or not at all."""
    noise = st.text(max_size=5)
    literal = draw(st.sampled_from(sorted(FORMS)).map(FORMS.__getitem__))(draw(noise) + SECRET + draw(noise))
    around = st.sampled_from(
        [*AROUND, *(case.snapshot.sessions[pid].statement or "" for case in ALL for pid in case.snapshot.sessions)]
    )
    text = draw(around)
    text = (
        text.replace("{}", literal)
        if "{}" in text
        else draw(st.sampled_from([f"/* {SECRET} */ {text}", f"{text} -- {SECRET}"]))
    )
    text = draw(st.sampled_from([text, *BARE]) if draw(st.integers(0, 4)) == 0 else st.just(text))
    raw = text.encode(errors="replace")
    return raw[: draw(st.sampled_from([len(raw), draw(st.integers(0, len(raw)))]))].decode(errors="replace")


@st.composite
def incidents(draw: st.DrawFn) -> Snapshot:
    """A situation of any class in which every session runs a statement with a secret."""
    seen = draw(st.sampled_from(ALL)).snapshot
    sessions = {
        pid: replace(each, statement=draw(planted()), truncated=draw(st.booleans()))
        for pid, each in seen.sessions.items()
    }
    return replace(seen, sessions=sessions, unread=unread(draw(st.sampled_from(SAID))))


def unread(said: str) -> tuple[str, ...]:
    return (f"names could not be read: {StatementFailed(said.replace('{}', SECRET), '22P02')}",)


# Everything that comes out

RULES = tuple(
    Rule(name=f"{name}-{action}", classification=name, action=action, min_wait=Duration(0), grace=grace)
    for name in class_names()
    if may_be_signalled(name)
    for action, grace in (("cancel", None), ("cancel_then_terminate", Duration(1)))
)
DRY_RUN = Mitigation(mode="dry_run", min_samples=1, cooldown=Duration(0), allow_short_waits=True, rules=RULES)


def outputs(seen: Diagnosis) -> Iterator[tuple[str, str]]:
    """Every output by its name."""
    facts = make_report(seen)
    yield "json", to_json(facts).decode()
    for width in (40, 100, 10_000):
        yield "tree", render_tree(facts, width)
    yield "table", render_table(facts)
    yield "markdown", render_markdown(facts)
    yield "page", render_page(MonitoringStatus(None, "connected", 1.0, 0, Arming("dry_run"), "1"), facts)
    picture = ScreenInput(seen, facts, list_rows(seen, facts, "tree"))
    for view in (View(), *(View(page="one", chosen=pid) for pid in seen.snapshot.sessions)):
        yield "live", "".join(span.text for line in draw_screen(picture, view, 400, 60) for span in line)
    with logged() as lines:
        mitigator = Mitigator(DRY_RUN)
        asyncio.run(mitigator.consider(seen, None))  # type: ignore[arg-type]
    yield "log", "\n".join(lines)
    plan = plan_facts(mitigator.plan, "dry_run", mitigator.settled, find_cuts(seen.blockers, seen.graph))
    yield "plan", plan_text(plan)
    yield "plan in JSON", msgspec.json.encode(plan).decode()
    yield from (("action", action_text(action)) for action in mitigator.settled)
    event = IncidentEvent("started", Incident("1", seen.captured_at, ("unknown",), 1), seen.captured_at)
    yield "alert", msgspec.json.encode(describe_event(event, seen, 1)).decode()
    yield "kept", repr(unpack_snapshot(pack_diagnosis(seen)))
    state = ServerState(
        connection="connected", error=None, server=seen.snapshot.server, diagnosis=seen, figures=compute_figures(seen)
    )
    yield (
        "metrics",
        MetricsPage(lambda: [MetricsSource(None, state, Counters(), mitigator)], {}, lambda: 0, dict)
        .fetch_page("")[0]
        .decode(),
    )
    yield "health", json.dumps(describe_health({None: state}, datetime.now(UTC), 0.0))


@contextmanager
def logged() -> Iterator[list[str]]:
    """The lines that pgdoctor logs meanwhile, written as the agent writes them."""
    log = logging.getLogger("pgdoctor")
    level = log.level
    lines: list[str] = []
    with tempfile.TemporaryFile() as file:
        handler = Lines(file.fileno(), per_second=1e9)
        log.addHandler(handler)
        log.setLevel(logging.INFO)
        try:
            yield lines
        finally:
            log.removeHandler(handler)
            log.setLevel(level)
        file.seek(0)
        lines += file.read().decode().splitlines()


def holds_no_secret(seen: Snapshot) -> None:
    for name, text in outputs(diagnose(seen)):
        for trace in TRACES:
            assert trace not in text, name


@pytest.mark.long
@pytest.mark.deadline(180)
@settings(max_examples=300, deadline=None)
@given(incidents())
def test_no_output_shows_a_value_of_anybodys_statement(seen: Snapshot) -> None:
    holds_no_secret(seen)


@pytest.mark.long
@pytest.mark.parametrize("statement", [*BARE, *(text.replace("{}", quoted(SECRET)) for text in AROUND)])
def test_no_output_shows_it_wherever_the_text_is_cut(statement: str) -> None:
    for length in range(0, len(statement) + 1, 3):
        holds_no_secret(on_row(statement=statement[:length], truncated=True))


@pytest.mark.parametrize("said", SAID)
def test_no_output_shows_what_a_server_quotes(said: str) -> None:
    holds_no_secret(replace(on_row(**IDLE), unread=unread(said)))
    error = str(Unreachable(said.replace("{}", SECRET)))
    state = ServerState(connection="error", error=error)
    down = render_page(MonitoringStatus(error, "error", None, 0, Arming("off"), "1"), None)
    with logged() as lines:
        logging.getLogger("pgdoctor.agent").warning("server cannot be polled", extra={"error": error})
        logging.getLogger("pgdoctor.agent").warning(
            "x", extra={"error": ValueError(SECRET)}, exc_info=ValueError(SECRET)
        )
    for text in (down, json.dumps(describe_health({None: state}, datetime.now(UTC), 0.0)), "\n".join(lines)):
        assert "zq7" not in text


def test_the_literals_are_there_where_they_are_asked_for() -> None:
    """Else the tests above would prove nothing."""
    seen = diagnose(on_row(statement=f"update orders set v = '{SECRET}' where id = 7", **IDLE))
    assert SECRET in to_json(make_report(seen, show_literals=True)).decode()


def test_names_are_shown_for_operators_have_to_act_on_them() -> None:
    gid = to_json(make_report(diagnose(prepared(gid="order 7 of bob")))).decode()
    assert "order 7 of bob" in gid
    holder = session(10, application_name="checkout-7", usename="bob", locks=(advisory(10, granted=True, key=4711),))
    waiter = session(20, blockers=(10,), locks=(advisory(20, granted=False, key=4711),))
    named = to_json(make_report(diagnose(snapshot([holder, waiter])))).decode()
    for name in ("checkout-7", "bob", "advisory lock 4711"):
        assert name in named


# A real server

PLANTED = [
    f"select 1 from orders where v = '{SECRET}' and id = {CARD}",
    f"select 1 from orders where v = E'it\\'s {SECRET}'",
    f"select 1 from orders where v = U&'{SECRET}'",
    f"select 1 from orders where v = $${SECRET}$$",
    f"select 1 from orders /* user:{SECRET} */ -- {SECRET}",
    f"do $do$ begin perform '{SECRET}'; end $do$",
    f"set app.token = {SECRET}",
    f"select set_config('app.token', '{SECRET}', false)",
    f"alter role secret_bob password '{SECRET}'",
    f"create subscription s connection 'host=h password={SECRET}' publication p with (connect = false)",
    f"comment on table orders is '{SECRET}'",
    f"insert into orders values (30000, '{SECRET}', {CARD[:9]})",
    f"notify c, '{SECRET}'",
    f"delete from orders where customer_id = {CARD} and v = '{'x' * 3_000}{SECRET}'",
]

#: Fails at once, and its session is idle on, with the text in view and the locks of before the savepoint.
FAILING = f'select 1 from orders where v = "{SECRET}"'

CONFIG = """
[mitigation]
mode = "dry_run"
min_samples = 1
startup_grace = "0s"
allow_short_waits = true
allow_superuser = true
max_roots = 1000
[[mitigation.rules]]
name = "all"
class = ["idle_in_transaction", "migration", "long_query", "unindexed_scan", "explicit_lock"]
action = "terminate"
min_wait = "0s"
min_session_age = "0s"
"""


TOLD = """
[[notify]]
name = "oncall"
url = "{}"
"""


@pytest.fixture
def crime(scene: Scene) -> Scene:
    """Sessions whose last statement has a secret in it and which hold a row, each with one that waits for it."""
    scene.role("secret_bob")
    scene.admin.execute("create table orders (id int primary key, v text, customer_id int)")
    scene.admin.execute("insert into orders select g, 'x', g from generate_series(1, 20000) g")
    scene.admin.execute("analyze orders")
    for number, statement in enumerate([*PLANTED, FAILING], start=1):
        holder = scene.client(f"update orders set v = '{SECRET}' where id = {number}", "savepoint a")
        if statement == FAILING:
            with pytest.raises(psycopg.Error):
                holder.run(statement)
        else:
            holder.run(statement)
        scene.client().block(f"update orders set v = E'\\'{SECRET}' where id = {number} and v <> '{CARD}'")
    scanning = scene.client("update orders set v = 'y' where id = 100")
    scanning.start(f"update orders set v = '{SECRET}' where customer_id = 7 and pg_sleep(0.01) is null")
    scene.client().block("update orders set v = 'z' where id = 100")
    return scene


def _kept(journal: Path) -> list[StoredSnapshot]:
    """The snapshots of all incidents, unpacked."""
    with closing(Journal.open(journal)) as opened:
        incidents = {record.subject for record in opened.fetch_records(kinds=(KIND,))}
        return [unpack_snapshot(kept.body) for incident in incidents for kept in opened.fetch_kept(incident)]


@pytest.mark.long
@pytest.mark.deadline(120)
def test_h40_nothing_that_runs_against_a_real_server_shows_it(crime: Scene, tmp_path: Path) -> None:
    config = tmp_path / "rules.toml"
    config.write_text(CONFIG)
    dsn = ("--dsn", crime.dsn)
    shown = {
        command: pgdoctor(*command, *dsn)
        for command in (
            *(("diagnose", "--format", form) for form in ("tree", "table", "json", "markdown")),
            ("diagnose", "--all-waits"),
            ("locks",),
            *(("triage", "--format", form) for form in ("text", "json")),
            *(("mitigate", "--config", str(config), "--format", form) for form in ("table", "json")),
        )
    }
    texts = {" ".join(command): result.stdout + result.stderr for command, result in shown.items()}
    with (
        Receiving(answer(200)) as receiver,
        RunningAgent(crime.dsn, tmp_path / "pgdoctor.toml", more=CONFIG + TOLD.format(receiver.url)) as agent,
    ):
        wait_until(lambda: agent.metric("blocked_sessions") >= len(PLANTED) + 2, 20)
        wait_until(lambda: any(line["event"] == "mitigation outcome" for line in agent.lines), 20)
        for path in ("/", "/metrics", "/health", "/health/deep", "/diagnosis", f"/{SECRET}"):
            texts[path] = agent.get(path).text
        texts["log"] = json.dumps(agent.lines)
        wait_until(lambda: receiver.bodies, 20)
        texts["told"] = json.dumps(receiver.bodies)
        journal = Path(os.environ["XDG_STATE_HOME"], "pgdoctor", "journal.db")
        wait_until(lambda: _kept(journal), 20)
        for command in ("show", "report", "replay"):
            texts[command] = pgdoctor("incidents", command).stdout
    texts["kept"] = repr(_kept(journal))
    texts["journal"] = "".join(file.read_bytes().decode("latin-1") for file in journal.parent.iterdir())
    pid = json.loads(shown["diagnose", "--format", "json"].stdout)["blockers"][0]["pid"]
    texts["pid"] = pgdoctor("mitigate", "--pid", str(pid), "--config", str(config), *dsn).stdout
    texts |= {f"audit {form}": pgdoctor("mitigate", "audit", "--format", form).stdout for form in ("table", "json")}
    for name, text in texts.items():
        assert text, name
        for trace in TRACES:
            assert trace not in text, name
    found = json.loads(shown["diagnose", "--format", "json"].stdout)
    assert len([each for each in found["blockers"] if each["root"]]) == len(PLANTED) + 2
    assert any("?" in (each["statement"] or "") for each in found["blockers"])
    for command in ("diagnose", "locks"):
        assert SECRET in pgdoctor(command, "--show-literals", *dsn).stdout
