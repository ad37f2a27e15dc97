"""The page of a real agent that looks at a real server, in a real browser. Pictures of it go to build/pictures."""

import re
import signal
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import pairwise
from pathlib import Path

import psycopg
import pytest
from psycopg import sql
from selenium.webdriver.common.keys import Keys

from pgdoctor.demo.stage import stage_incident
from pgdoctor.demo.throwaway_server import ThrowawayServer
from tests.agent.running import RunningAgent
from tests.browser.chromium import Browser
from tests.scenes import Scene
from tests.scenes.client import wait_until

pytestmark = [pytest.mark.browser, pytest.mark.deadline(240)]

Agent = Callable[..., RunningAgent]

WIDTHS = {"wide": 1280, "tablet": 768, "phone": 360}
LEAST_CONTRAST = 4.5

#: Seconds until something has to show, on a machine that has a browser and a storm to bear, and others beside it.
PATIENCE = 60.0
MOST_BYTES = 300_000

ARMED = """
[mitigation]
mode = "enforce"
[[mitigation.rules]]
name = "queued-migrations"
class = "migration"
action = "cancel"
min_wait = "1h"
"""


def url(agent: RunningAgent, path: str = "/") -> str:
    return f"http://127.0.0.1:{agent.port}{path}"


def is_sound(browser: Browser, agent: RunningAgent) -> None:
    """It fits its window, can be read, and has neither complained nor asked another session."""
    assert browser.complaints() == []
    asked = browser.requests()
    assert asked
    assert {each.partition("//")[2].partition("/")[0] for each in asked} == {f"127.0.0.1:{agent.port}"}
    assert not browser.has_alert
    assert browser.overhang <= 0
    assert [each for each in browser.contrasts if each[0] < LEAST_CONTRAST] == []


def is_structured(browser: Browser) -> None:
    """A screen reader finds its way: one main part, headings without gaps, names for what can be used."""
    levels = browser.ask("return [...document.querySelectorAll('h1,h2,h3,h4')].map((each) => +each.tagName[1])")
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after <= before + 1 for before, after in pairwise(levels))
    assert browser.ask("return document.documentElement.lang") == "en"
    assert browser.ask("return document.querySelectorAll('main').length") == 1
    ids = browser.ask("return [...document.querySelectorAll('[id]')].map((each) => each.id)")
    assert len(ids) == len(set(ids))
    labels = browser.ask(
        "return [...document.querySelectorAll('[aria-labelledby]')].map((e) => e.ariaLabelledByElements)"
    )
    assert all(labels)
    assert browser.ask("return [...document.querySelectorAll('button, a, summary')].every((e) => e.innerText.trim())")


@pytest.fixture
def staged(scene: Scene) -> Iterator[Scene]:
    """The incident of `pgdoctor demo`."""
    with stage_incident(scene.dsn, lambda _: None):
        yield scene


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_an_incident_is_reported_on_every_screen(
    staged: Scene, agent: Agent, browser: Browser, width: str, dark: bool
) -> None:
    watching = agent(staged.dsn, more=ARMED, arguments=("--enforce",))
    watching.wait_for("blocked_sessions", 11, PATIENCE)
    browser.show(url(watching), width=WIDTHS[width], dark=dark)
    # On a loaded machine a poll may be late, and the page says so meanwhile.
    said = r"11 sessions blocked by 2 root blockers, the longest for .* s"
    wait_until(lambda: re.fullmatch(said, browser.text("h1")), PATIENCE)
    assert re.match(r"\d+ idle_in_transaction on public.orders blocks 7 · postgres “reporting”", browser.text(".who"))
    advised = r"→ cancel \d+ \(migration by postgres “deploy”\) frees 6 sessions at once; costs nothing but a retry"
    assert re.match(advised, browser.text(".do"))
    # All of that without scrolling, on a phone too.
    assert browser.ask("return document.querySelector('.verdict').getBoundingClientRect().bottom") < 640
    main = browser.text("main")
    for word in ("ARMED", "unindexed_scan", "CREATE INDEX", "ongoing", "polled"):
        assert word in main
    wait_until(lambda: '6 of "checkout"' in browser.text("main"), PATIENCE)
    is_structured(browser)
    browser.picture(f"incident-{width}-{'dark' if dark else 'light'}")
    is_sound(browser, watching)
    ground = browser.ask("return getComputedStyle(document.body).backgroundColor")
    assert (max(map(int, re.findall(r"\d+", ground)[:3])) < 60) is dark


@pytest.mark.parametrize("button", ["button[id^=best-]", "button[id^=copy-]"], ids=["at the top", "at the cut"])
def test_a_button_copies_the_sql_without_the_clipboard_interface(
    staged: Scene, agent: Agent, browser: Browser, button: str
) -> None:
    """Over plain http a page has no `navigator.clipboard`."""
    watching = agent(staged.dsn)
    watching.wait_for("blocked_sessions", 11, PATIENCE)
    browser.show(url(watching))
    browser.ask("Object.defineProperty(navigator, 'clipboard', { value: undefined })")
    pressed = browser.driver.find_element("css selector", button)
    assert re.match(r"Copy SQL: (cancel|terminate) \d+", pressed.text)
    source = pressed.get_attribute("data-copy")
    wanted = browser.text(f"#{source}")
    assert wanted.startswith("SELECT COALESCE((SELECT CASE WHEN pg_catalog.pg_")
    # The page stands still meanwhile: the button that was found is the one that is pressed.
    browser.ask("document.getElementById('pause').click()")
    browser.ask(f"document.querySelector('{button}').scrollIntoView({{ block: 'center' }})")
    browser.driver.find_element("css selector", button).click()
    wait_until(lambda: browser.driver.find_element("css selector", button).text == "Copied", PATIENCE)
    browser.ask("const field = document.createElement('textarea'); field.id = 'paste'; document.body.append(field)")
    field = browser.driver.find_element("id", "paste")
    field.send_keys(Keys.CONTROL, "v")
    assert field.get_attribute("value") == wanted
    assert browser.ask("return getSelection().isCollapsed")
    browser.picture(f"copied-{button[11:14]}")
    is_sound(browser, watching)


def test_without_a_script_there_is_no_button_that_does_nothing(staged: Scene, agent: Agent, browser: Browser) -> None:
    watching = agent(staged.dsn)
    watching.wait_for("blocked_sessions", 11, PATIENCE)
    browser.show(url(watching), script=False)
    assert not any(each.is_displayed() for each in browser.driver.find_elements("css selector", "button.copy"))
    assert browser.driver.find_element("css selector", ".sql code").is_displayed()


@pytest.mark.parametrize("width", WIDTHS)
def test_calm_is_calm(scene: Scene, agent: Agent, browser: Browser, width: str) -> None:
    watching = agent(scene.dsn)
    watching.wait_for("up", 1, PATIENCE)
    browser.show(url(watching), width=WIDTHS[width])
    assert browser.text("h1") == "No session is blocked"
    assert "None so far." in browser.text("main")
    is_structured(browser)
    browser.picture(f"calm-{width}")
    is_sound(browser, watching)


def test_down_says_so_first_and_what_to_do(agent: Agent, browser: Browser) -> None:
    watching = agent("host=127.0.0.1 port=1")
    watching.wait_for('connection_state{state="refused"}', 1, PATIENCE)
    browser.show(url(watching), width=360)
    assert browser.text("h1").startswith("DOWN: ")
    assert "is PostgreSQL running" in browser.text(".do")
    is_structured(browser)
    browser.picture("down-phone")
    is_sound(browser, watching)


def test_a_role_that_sees_little_makes_nothing_look_good(scene: Scene, agent: Agent, browser: Browser) -> None:
    scene.admin.execute("create table t ()")
    scene.client("lock table t")
    watching = agent(scene.role("watcher"))
    watching.wait_for("up", 1, PATIENCE)
    browser.show(url(watching), width=360)
    assert "cannot be seen" in browser.text("h1")
    assert browser.ask("return document.querySelectorAll('.verdict.good').length") == 0
    assert "pg_monitor" in browser.text(".do")
    scene.client().block("select from t")
    wait_until(lambda: "1 session blocked" in browser.text("h1"), PATIENCE)
    assert "BLIND" in browser.text("main .note")
    browser.picture("blind-phone")
    is_sound(browser, watching)


def test_several_servers_the_worst_first(staged: Scene, agent: Agent, browser: Browser, tmp_path: Path) -> None:
    (tmp_path / "dsn").write_text(staged.dsn)
    shop = f'[[servers]]\nname = "shop"\ndsn_file = "{tmp_path / "dsn"}"\n'
    watching = agent(None, more=shop + '[[servers]]\nname = "dead"\ndsn = "host=127.0.0.1 port=1"')
    wait_until(lambda: "11 blocked" in watching.get("/").text, PATIENCE)
    browser.show(url(watching), width=360)
    assert browser.text("h1") == "2 servers, 1 DOWN, 11 blocked"
    is_structured(browser)
    browser.picture("servers-phone")
    is_sound(browser, watching)
    browser.ask("document.getElementById('s-shop').focus(); document.querySelector('h1').dataset.old = 'yes'")
    wait_until(lambda: browser.ask("return document.querySelector('h1').dataset.old") is None, PATIENCE)
    assert browser.ask("return document.activeElement.id") == "s-shop"
    browser.driver.find_element("partial link text", "shop").click()
    assert browser.text("h1").startswith("shop: 11 sessions blocked")
    is_sound(browser, watching)


# Hostile names

BOX = "<script>alert(1)</script>"
PICTURE = '"><img src=http://192.0.2.1/x onerror=alert(2)>'
#: Right to left, with an override that is never closed; a bell, an escape sequence, a line break.
TURNED = "‮⁧שלום‏ \x07\x1b[31m\nevil"
TALL = "Z" + "\u0301\u0350\u0363" * 10


@pytest.fixture
def hostile(own_server: Callable[..., ThrowawayServer]) -> Iterator[Scene]:
    """Everything that a client may name is hostile, and two statements have megabytes."""
    server = own_server(settings={"track_activity_query_size": "1MB"})
    with Scene(server.dsn) as scene:
        for name in (BOX, PICTURE, TURNED, TALL):
            scene.admin.execute(sql.SQL("create table {} (id int primary key, v text)").format(sql.Identifier(name)))
            scene.admin.execute(sql.SQL("insert into {} values (1, '')").format(sql.Identifier(name)))
        roles = [PICTURE, TURNED, BOX, TALL]
        for name in roles:
            scene.role(name, "pg_read_all_data", "pg_write_all_data")
        update = sql.SQL("update {} set v = {} where id = 1")
        for name, role in zip((BOX, PICTURE, TURNED, TALL), roles, strict=True):
            said = update.format(sql.Identifier(name), "x" * 900_000).as_string()
            scene.client(said, user=role, application_name=name)
            scene.client(user=role, application_name=name).block(said)
            unquoted = update.format(sql.Identifier(name), "x").as_string() + f" /* {BOX} */ and v <> '{PICTURE}'"
            scene.client(user=role, application_name=PICTURE).block(unquoted)
        yield scene


@pytest.mark.parametrize("width", WIDTHS)
def test_hostile_names_are_text_and_nothing_else(hostile: Scene, agent: Agent, browser: Browser, width: str) -> None:
    watching = agent(hostile.dsn)
    watching.wait_for("blocked_sessions", 8, PATIENCE)
    browser.show(url(watching), width=WIDTHS[width])
    browser.ask("document.querySelectorAll('details').forEach((each) => { each.open = true; })")
    main = browser.text("main")
    for word in (BOX, "<img src=http://192.0.2.1/x onerror=alert(2)>", "שלום"):
        assert word in main
    assert not re.search("[\x00-\x08\x0b-\x1f‎‏‪-‮⁦-⁩]", main)
    assert browser.ask("return document.querySelectorAll('main script, main img').length") == 0
    assert len(watching.get("/").content) < MOST_BYTES
    browser.picture(f"hostile-{width}")
    is_sound(browser, watching)


# Storms

WAITERS = 1_000
STORMS = {
    "readers": ("select from orders", "alter table orders add c int", "select from orders"),
    "convoy": ("update orders set v = 1 where id = 1", None, "update orders set v = 2 where id = 1"),
}


@pytest.fixture
def crowd(own_server: Callable[..., ThrowawayServer]) -> Iterator[Callable[[str], str]]:
    """A thousand sessions that wait, on a server that ends with them; its connection string."""
    server = own_server(max_connections=WAITERS + 20)
    sessions: list[psycopg.Connection] = []

    def say(statement: str) -> None:
        """Sent, and not waited for: no thread of its own for each."""
        sessions.append(psycopg.connect(server.dsn, autocommit=True, application_name="checkout"))
        sessions[-1].pgconn.send_query(statement.encode())

    def gather(shape: str) -> str:
        hold, queue, wait = STORMS[shape]
        with psycopg.connect(server.dsn, autocommit=True) as setup:
            setup.execute("create table orders (id int primary key, v int); insert into orders values (1, 0)")
            say(f"begin; {hold}")
            held = "select from pg_stat_activity where state = 'idle in transaction'"
            wait_until(lambda: setup.execute(held).fetchone() is not None)
            queued = "select from pg_locks where not granted"
            if queue:
                say(queue)
                wait_until(lambda: setup.execute(queued).fetchone() is not None)
        for _ in range(WAITERS):
            say(wait)
        return server.dsn

    yield gather
    for session in sessions:
        session.pgconn.finish()


@pytest.mark.parametrize("shape", STORMS)
def test_a_storm_of_a_thousand_is_summed_up(
    crowd: Callable[[str], str], agent: Agent, browser: Browser, shape: str, capsys: pytest.CaptureFixture[str]
) -> None:
    watching = agent(crowd(shape), deadline="30s")
    blocked = WAITERS + (shape == "readers")
    watching.wait_for("blocked_sessions", blocked, PATIENCE)
    for width in WIDTHS:
        browser.show(url(watching), width=WIDTHS[width])
        assert f"{blocked:,} sessions blocked by 1 root blocker" in browser.text("h1")
        assert re.search(r"and 9\d\d sessions more, waiting for .*orders, the longest for", browser.text("main"))
        browser.picture(f"storm-{shape}-{width}")
        is_sound(browser, watching)
    size = len(watching.get("/").content)
    elements = browser.ask("return document.querySelectorAll('*').length")
    took = browser.ask("const [n] = performance.getEntriesByType('navigation'); return n.loadEventEnd - n.startTime")
    with capsys.disabled():
        print(f"\n{shape}: {size:,} bytes, {elements:,} elements, loaded and drawn in {took:.0f} ms")
    assert size < MOST_BYTES
    assert elements < 2_000


# The script, and doing without it


def test_it_keeps_itself_up_to_date_and_everything_in_its_place(scene: Scene, agent: Agent, browser: Browser) -> None:
    scene.admin.execute("create table t ()")
    holder = scene.client("lock table t")
    waiters = [scene.client().block("select from t") for _ in range(8)]
    watching = agent(scene.dsn)
    watching.wait_for("blocked_sessions", 8, PATIENCE)
    browser.show(url(watching), width=360, height=500)
    opened = f"#w{waiters[3].pid}"
    browser.ask(f"document.querySelector('{opened} > summary').focus(); document.querySelector('{opened}').open = true")
    browser.ask(f"document.querySelector('{opened}').scrollIntoView()")
    before = browser.ask(f"return document.querySelector('{opened}').getBoundingClientRect().top")
    browser.ask("document.querySelector('h1').dataset.old = 'yes'")
    waiters.append(scene.client().block("select from t"))
    wait_until(lambda: "9 sessions blocked" in browser.text("h1"), PATIENCE)
    assert browser.ask("return document.querySelector('h1').dataset.old") is None
    assert browser.ask(f"return document.querySelector('{opened}').open")
    assert browser.ask(f"return document.activeElement.parentElement.id === '{opened[1:]}'")
    after = browser.ask(f"return document.querySelector('{opened}').getBoundingClientRect().top")
    assert abs(after - before) <= 1
    assert browser.ask("return document.title") == "9 blocked · pgdoctor"
    holder.run("commit")
    for waiter in waiters:
        waiter.finish()
    wait_until(lambda: "No session is blocked" in browser.text("h1"), PATIENCE)
    wait_until(lambda: "up to 9 sessions blocked for" in browser.text("#incidents + .card"), PATIENCE)
    is_sound(browser, watching)


def loads(browser: Browser) -> int:
    """How often the script has asked."""
    return int(browser.ask("return performance.getEntriesByType('resource').length"))


def rests(browser: Browser, agent: RunningAgent) -> bool:
    """Whether the script asks no more, but for what it had asked already."""
    asked, polls = loads(browser), agent.metric("poll_duration_seconds_count")
    # Five polls a second: so many take longer than twice the script's two seconds.
    wait_until(lambda: agent.metric("poll_duration_seconds_count") > polls + 25, PATIENCE)
    return loads(browser) <= asked + 1


def test_it_rests_while_it_is_paused_and_leaves_marked_text_alone(scene: Scene, agent: Agent, browser: Browser) -> None:
    watching = agent(scene.dsn)
    watching.wait_for("up", 1, PATIENCE)
    browser.show(url(watching))
    wait_until(lambda: loads(browser) >= 1, PATIENCE)
    button = browser.driver.find_element("id", "pause")
    button.send_keys(Keys.ENTER)
    assert (button.text, browser.text("#live span")[:9]) == ("Resume", "paused at")
    assert rests(browser, watching)
    paused = loads(browser)
    button.send_keys(Keys.ENTER)
    wait_until(lambda: loads(browser) > paused, PATIENCE)
    browser.ask(
        "document.querySelector('h1').id = 'mine'; getSelection().selectAllChildren(document.querySelector('h1'))"
    )
    marked = loads(browser)
    wait_until(lambda: loads(browser) > marked + 1, PATIENCE)
    assert browser.ask("return document.querySelectorAll('#mine').length") == 1
    browser.ask("getSelection().removeAllRanges()")
    wait_until(lambda: browser.ask("return document.querySelectorAll('#mine').length") == 0, PATIENCE)


def test_a_hidden_tab_asks_for_nothing(scene: Scene, agent: Agent, browser: Browser) -> None:
    watching = agent(scene.dsn)
    watching.wait_for("up", 1, PATIENCE)
    browser.show(url(watching))
    wait_until(lambda: loads(browser) >= 1, PATIENCE)
    browser.ask(
        "Object.defineProperty(document, 'hidden', { get: () => window.away, configurable: true });"
        "window.away = true; document.dispatchEvent(new Event('visibilitychange'));"
    )
    assert rests(browser, watching)
    hidden = loads(browser)
    browser.ask("window.away = false; document.dispatchEvent(new Event('visibilitychange'))")
    wait_until(lambda: loads(browser) > hidden, PATIENCE)


def test_a_silent_agent_makes_the_page_say_that_it_is_old(scene: Scene, agent: Agent, browser: Browser) -> None:
    watching = agent(scene.dsn)
    watching.wait_for("up", 1, PATIENCE)
    browser.show(url(watching), width=360)
    watching.send(signal.SIGSTOP)
    try:
        wait_until(lambda: browser.ask("return !document.getElementById('stale').hidden"), PATIENCE)
        assert re.match("The agent does not answer .*: this page shows the state of", browser.text("#stale"))
        # In the tab too: no user reads a page that says that no session is blocked.
        assert browser.ask("return document.title") == "NO ANSWER · pgdoctor"
        assert "d3302f" in browser.ask("return document.querySelector('link[rel=icon]').href")
        browser.picture("stale-phone")
    finally:
        watching.send(signal.SIGCONT)
    wait_until(lambda: browser.ask("return document.getElementById('stale').hidden"), PATIENCE)
    assert browser.ask("return document.title") == "0 blocked · pgdoctor"
    assert "2e9e4f" in browser.ask("return document.querySelector('link[rel=icon]').href")


def test_without_script_it_says_all_and_loads_itself(staged: Scene, agent: Agent, browser: Browser) -> None:
    watching = agent(staged.dsn)
    watching.wait_for("blocked_sessions", 11, PATIENCE)
    browser.show(url(watching), width=360, script=False)
    root = browser.command("DOM.getDocument")["root"]["nodeId"]
    drawn = browser.command("DOM.getOuterHTML", nodeId=root)["outerHTML"]
    assert "11 sessions blocked" in drawn
    assert 'id="pause"' not in drawn
    browser.picture("no-script-phone")
    asked: list[str] = []
    wait_until(lambda: asked.extend(browser.requests()) or len(asked) >= 2, PATIENCE)
    assert set(asked) == {url(watching)}
    assert browser.complaints() == []


def test_it_can_be_used_by_keyboard(staged: Scene, agent: Agent, browser: Browser) -> None:
    watching = agent(staged.dsn)
    watching.wait_for("blocked_sessions", 11, PATIENCE)
    browser.show(url(watching))
    first = browser.driver.find_element("css selector", "summary")
    stop = browser.driver.find_element("css selector", "body")
    # Before it there may be a button that copies, and SQL that scrolls.
    for _ in range(3):
        stop.send_keys(Keys.TAB)
        stop = browser.driver.switch_to.active_element
        if stop == first:
            break
    assert stop == first
    assert browser.ask("return getComputedStyle(document.activeElement).outlineStyle") == "solid"
    first.send_keys(Keys.ENTER)
    assert browser.ask("return document.querySelector('details').open")


# The last hour, a path of a reverse proxy, the keyboard, a screen reader


def two_servers(scene: Scene, folder: Path) -> str:
    (folder / "dsn").write_text(scene.dsn)
    shop = f'[[servers]]\nname = "shop"\ndsn_file = "{folder / "dsn"}"\n'
    return f'{shop}[[servers]]\nname = "ledger"\ndsn_file = "{folder / "dsn"}"\n'


@pytest.mark.parametrize("width", WIDTHS)
def test_last_hour_shows_what_is_over(scene: Scene, agent: Agent, browser: Browser, width: str) -> None:
    scene.admin.execute("create table t ()")
    holder = scene.client("lock table t")
    waiters = [scene.client().block("select from t") for _ in range(3)]
    watching = agent(scene.dsn)
    watching.wait_for("blocked_sessions", 3, PATIENCE)
    holder.run("commit")
    for waiter in waiters:
        waiter.finish()
    watching.wait_for("blocked_sessions", 0, PATIENCE)
    browser.show(url(watching), width=WIDTHS[width], dark=width == "tablet")
    assert "Blocked sessions: at most 3, " in browser.text("#hour + .card")
    assert re.search(r"Connections: at most \d+ of \d+, ", browser.text("#hour + .card"))
    drawn = browser.ask("return [...document.querySelectorAll('.spark path')].map((p) => p.getBBox().height)")
    assert len(drawn) == 2
    assert all(height > 0 for height in drawn)
    is_structured(browser)
    browser.picture(f"last-hour-{width}")
    is_sound(browser, watching)


@pytest.fixture
def proxied(agent: Agent) -> Iterator[Callable[..., tuple[str, RunningAgent]]]:
    """An agent behind a reverse proxy that serves it below a path of its own; the address there."""
    servers: list[ThreadingHTTPServer] = []

    def start(dsn: str | None, prefix: str, **options: str) -> tuple[str, RunningAgent]:
        watching = agent(dsn, **options)

        class Proxy(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                if not self.path.startswith(prefix):
                    self.send_error(404, "outside of the prefix")
                    return
                answer = watching.get(f"/{self.path.removeprefix(prefix)}")
                self.send_response(answer.status_code)
                for name, value in answer.headers.items():
                    if name not in ("connection", "transfer-encoding", "date", "server"):
                        self.send_header(name, value)
                self.end_headers()
                self.wfile.write(answer.content)

            def log_message(self, *_: object) -> None:
                pass

        servers.append(ThreadingHTTPServer(("127.0.0.1", 0), Proxy))
        threading.Thread(target=servers[-1].serve_forever, daemon=True).start()
        return f"http://127.0.0.1:{servers[-1].server_port}{prefix}", watching

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


def test_links_work_behind_a_path_prefix(
    scene: Scene, proxied: Callable[..., tuple[str, RunningAgent]], browser: Browser, tmp_path: Path
) -> None:
    base, watching = proxied(None, "/tools/pg/", more=two_servers(scene, tmp_path))
    wait_until(lambda: watching.metrics()['pgdoctor_up{server="shop"}'] == 1, PATIENCE)
    browser.show(base)
    browser.driver.find_element("id", "s-shop").click()
    wait_until(lambda: browser.text("h1").startswith("shop: "), PATIENCE)
    assert browser.driver.current_url == f"{base}?server=shop"
    links = browser.ask("return [...document.querySelectorAll('a')].map((each) => each.href)")
    assert {f"{base}diagnosis?server=shop", f"{base}metrics", base} <= set(links)
    for link in links:
        assert link.startswith(base)
        browser.driver.get(link)
        assert "outside of the prefix" not in browser.driver.page_source
    browser.driver.get(f"{base}?server=shop")
    # The script asks below the prefix too.
    wait_until(lambda: loads(browser) >= 1, PATIENCE)
    assert browser.ask("return document.getElementById('stale').hidden")
    browser.driver.find_element("id", "all").click()
    wait_until(lambda: browser.text("h1").startswith("2 servers"), PATIENCE)
    assert browser.complaints() == []
    browser.driver.get("about:blank")


def focusable(browser: Browser) -> list[str]:
    """What the Tab key stops at, in its order: each with its text, and whether a frame shows where it is."""
    stops: list[str] = []
    browser.ask("document.body.focus()")
    for _ in range(100):
        browser.driver.switch_to.active_element.send_keys(Keys.TAB)
        found = browser.ask(
            "const e = document.activeElement; if (e === document.body) return null;"
            "const box = e.getBoundingClientRect(), style = getComputedStyle(e);"
            "return [e.innerText.trim(), style.outlineStyle !== 'none' && parseFloat(style.outlineWidth) >= 2,"
            " box.width > 0 && box.height > 0]"
        )
        if found is None:
            break
        text, has_frame, is_visible = found
        assert has_frame, text
        assert is_visible, text
        stops.append(text)
    return stops


def test_keyboard_reaches_everything_in_order_and_sees_where_it_is(
    staged: Scene, agent: Agent, browser: Browser
) -> None:
    watching = agent(staged.dsn)
    watching.wait_for("blocked_sessions", 11, PATIENCE)
    browser.show(url(watching), width=1280)
    browser.ask("document.getElementById('pause').click()")
    in_page = browser.ask(
        "return [...document.querySelectorAll('a, button, summary, code')]"
        ".filter((e) => e.checkVisibility() && (e.tagName !== 'CODE' || e.scrollHeight > e.clientHeight + 1))"
        ".map((e) => e.innerText.trim())"
    )
    assert focusable(browser) == in_page
    assert in_page[-1] == "Resume"


def spoken(browser: Browser) -> list[tuple[str, str]]:
    """What a screen reader finds: role and name of each part of the page."""
    browser.command("Accessibility.enable")
    nodes = browser.command("Accessibility.getFullAXTree")["nodes"]
    return [
        (node["role"]["value"], node.get("name", {}).get("value", ""))
        for node in nodes
        if not node.get("ignored") and "role" in node
    ]


def test_screen_reader_finds_parts_by_their_names(
    staged: Scene, agent: Agent, browser: Browser, tmp_path: Path
) -> None:
    watching = agent(None, more=two_servers(staged, tmp_path))
    wait_until(lambda: "11 blocked" in watching.get("/?server=shop").text, PATIENCE)
    browser.show(url(watching, "/?server=shop"))
    # Headings are shown, and so spoken, in capitals.
    found = [(role, name.lower()) for role, name in spoken(browser)]
    roles = [role for role, _ in found]
    assert roles.count("main") == 1
    assert roles.count("contentinfo") == 1
    headings = [name for role, name in found if role == "heading"]
    assert headings[0].startswith("shop: 11 sessions blocked")
    assert "last hour" in headings
    assert {"last hour", "connections", "mitigation", "last incidents"} <= {n for r, n in found if r == "region"}
    assert all(name for role, name in found if role in ("link", "button", "heading", "region", "DisclosureTriangle"))
    # Pictures say nothing: their figures stand beside them.
    assert not {"image", "img", "graphics-document", "SvgRoot"} & set(roles)
    assert any("blocked sessions: at most 11" in name for role, name in found if role == "StaticText")
    assert "status" in roles


def test_screen_reader_is_notified_what_changes(scene: Scene, agent: Agent, browser: Browser) -> None:
    scene.admin.execute("create table t ()")
    watching = agent(scene.dsn)
    watching.wait_for("up", 1, PATIENCE)
    browser.show(url(watching))
    wait_until(lambda: loads(browser) >= 2, PATIENCE)
    assert browser.text("#news") == ""
    holder = scene.client("lock table t")
    waiter = scene.client().block("select from t")
    wait_until(lambda: browser.text("#news") == "1 blocked · pgdoctor", PATIENCE)
    holder.run("commit")
    waiter.finish()
    wait_until(lambda: browser.text("#news") == "0 blocked · pgdoctor", PATIENCE)
    is_sound(browser, watching)


def test_all_servers_have_their_last_hour(staged: Scene, agent: Agent, browser: Browser, tmp_path: Path) -> None:
    dead = '[[servers]]\nname = "dead"\ndsn = "host=127.0.0.1 port=1"\n'
    watching = agent(None, more=two_servers(staged, tmp_path) + dead)
    wait_until(lambda: watching.get("/").text.count("11 blocked, the longest") == 2, PATIENCE)
    for width in WIDTHS:
        browser.show(url(watching), width=WIDTHS[width], dark=width == "phone")
        # Of a server that was never reached there is nothing to draw.
        assert browser.ask("return document.querySelectorAll('.servers .spark').length") == 4
        assert browser.ask("return document.querySelectorAll('.servers li').length") == 3
        is_structured(browser)
        browser.picture(f"all-servers-{width}")
        is_sound(browser, watching)
