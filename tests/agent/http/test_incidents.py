"""Incidents over HTTP, of a real agent with a real incident: the list, a page, files, and access."""

import gzip
import json
import re
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import msgspec
import pytest
from msgspec.structs import replace
from psycopg import sql

from pgdoctor.diagnosis.diagnose import diagnose
from pgdoctor.incidents.incident_log import KIND
from pgdoctor.incidents.snapshot_archive import pack_diagnosis
from pgdoctor.journal.store import Journal
from tests.agent.running import RunningAgent
from tests.cli.test_incidents import at, blocked, course, incidents
from tests.scenes import Scene
from tests.scenes.client import wait_until

Agent = Callable[..., RunningAgent]

#: All sessions of the tests are those of a superuser.
REFUSING = """
[mitigation]
mode = "enforce"
min_samples = 2
startup_grace = "0s"
allow_short_waits = true
[[mitigation.rules]]
name = "idle"
class = "idle_in_transaction"
action = "terminate"
min_wait = "300ms"
min_session_age = "0s"
"""

HOSTILE = '"><script>alert(1)</script><img src=x>'


def stage(scene: Scene, agent: RunningAgent) -> str:
    """An incident from its beginning to its end, with a hostile name in it; its id."""
    named = sql.Identifier(HOSTILE)
    scene.admin.execute(sql.SQL("create table {} (id int primary key, v text)").format(named))
    scene.admin.execute(sql.SQL("insert into {} values (1, 'a')").format(named))
    update = sql.SQL("update {} set v = 'zq7secret' where id = 1").format(named).as_string(None)
    holder = scene.client(update, application_name=HOSTILE)
    waiters = [scene.client().block(update) for _ in range(2)]
    agent.wait_for("blocked_sessions", 2)
    holder.run("rollback")
    for waiter in waiters:
        waiter.finish(timeout=30)
        waiter.run("rollback")
    agent.wait_for("incident_duration_seconds_count", 1, timeout=30)
    [incident] = {line["incident"] for line in agent.wait_for_lines("incident ended") if "incident" in line}
    return str(incident)


def journal(path: Path) -> str:
    return f'[journal]\npath = "{path}"\n'


def wait_for_end(path: Path, incident: str) -> None:
    """Until the journal has the end of an incident."""

    def has_end() -> bool:
        with closing(Journal.open(path)) as opened:
            return any(b'"ended"' in each.body for each in opened.fetch_records(kinds=(KIND,), subject=incident))

    wait_until(has_end, 30, "the end in the journal")


@pytest.mark.deadline(120)
def test_an_incident_over_http_is_that_of_the_journal(scene: Scene, agent: Agent, tmp_path: Path) -> None:
    path = tmp_path / "journal.db"
    watching = agent(scene.dsn, more=journal(path), prompt=20.0)
    watching.wait_for("up", 1)
    empty = watching.get("/incidents")
    assert (empty.status_code, "None was recorded." in empty.text) == (200, True)
    incident = stage(scene, watching)
    wait_for_end(path, incident)

    listed = watching.get("/incidents")
    assert f'<a href="incidents/{incident}">' in listed.text
    assert f'href="incidents/{incident}"' in watching.get("/").text
    page = watching.get(f"/incidents/{incident}")
    for words in ("Time to detect", "<svg", "Root cause", "Why it could happen", "Prevention", "2 sessions"):
        assert words in page.text
    for answer in (listed, page):
        assert answer.headers["content-type"].startswith("text/html")
        assert "default-src 'none'" in answer.headers["content-security-policy"]
        assert "<script" not in answer.text
        assert "<img" not in answer.text
        assert not re.search(r'(?:src|href)="(?:https?:)?/', answer.text)
        assert " style=" not in answer.text

    # What is downloaded is what the commands say, here and where it is imported.
    exported = watching.get(f"/incidents/{incident}/export.json.gz")
    assert exported.headers["content-disposition"] == f'attachment; filename="incident-{incident}-export.json.gz"'
    assert b"zq7secret" not in gzip.decompress(exported.content)
    file = tmp_path / "one.json.gz"
    file.write_bytes(exported.content)
    other = tmp_path / "laptop.db"
    assert incidents(other, "import", str(file)).returncode == 0
    for form, name in (("markdown", "report.md"), ("html", "report.html"), ("json", "report.json")):
        downloaded = watching.get(f"/incidents/{incident}/{name}")
        assert downloaded.status_code == 200
        at_home = incidents(path, "report", incident, "--format", form).stdout
        assert downloaded.text.strip() == at_home.strip()
        assert incidents(other, "report", "--format", form).stdout == at_home
        assert "zq7secret" not in at_home

    report = json.loads(watching.get(f"/incidents/{incident}/report.json").content)
    assert report["impact"]["peak_blocked"] == 2
    assert [each["name"] for each in report["times"]] == ["detect", "act", "recover"]
    assert report["times"][2]["seconds"] is not None
    assert len(report["whys"]) == 5
    assert report["whys"][0]["answer"]
    assert report["whys"][4]["answer"] is None


def test_missing_path_is_404(lone_agent: RunningAgent) -> None:
    for path in ("/incidents/20260522T231000000", "/incidents/x%0d%0ay", "/incidents/x/report.md", "/incidents/a/b.c"):
        answer = lone_agent.get(path)
        assert answer.status_code == 404, path
        assert answer.json()["error"].startswith("no such ")
    assert lone_agent.get("/incidents?server=x").status_code == 404
    assert lone_agent.ask("POST", "/incidents").status_code == 405


def test_incidents_need_the_token_as_the_page_does(scene: Scene, agent: Agent, tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text("t0ken-of-the-test-0123456789")
    token.chmod(0o600)
    watching = agent(scene.dsn, more=f'{journal(tmp_path / "j.db")}[http]\ntoken_file = "{token}"\n')
    for path in ("/incidents", "/incidents/20260522T231000000", "/incidents/20260522T231000000/export.json.gz"):
        assert watching.get(path).status_code == 401
        found = watching.get(path, authorization="Bearer t0ken-of-the-test-0123456789")
        assert found.status_code == (200 if path == "/incidents" else 404)


def test_incidents_of_several_servers_name_theirs(scene: Scene, agent: Agent, tmp_path: Path) -> None:
    path = tmp_path / "journal.db"
    password_file = tmp_path / "dsn"
    password_file.write_text(scene.dsn)
    password_file.chmod(0o600)
    servers = "".join(f'[[servers]]\nname = "{name}"\ndsn_file = "{password_file}"\n' for name in ("shop", "ledger"))
    watching = agent(None, more=f"{journal(path)}{servers}", prompt=20.0)
    wait_until(lambda: watching.metrics().get('pgdoctor_up{server="shop"}') == 1, 30, "shop is up")
    scene.admin.execute("create table t ()")
    holder = scene.client("lock table t")
    waiter = scene.client().block("select from t")
    found = wait_until(
        lambda: re.search(r"incidents/(\w+)\?server=shop", watching.get("/incidents").text), 30, "an incident of shop"
    )
    incident = found[1]
    wait_until(lambda: "?server=ledger" in watching.get("/incidents").text, 30, "the incident of ledger")
    assert "?server=ledger" not in watching.get("/incidents?server=shop").text
    assert watching.get(f"/incidents/{incident}").status_code == 400
    page = watching.get(f"/incidents/{incident}?server=shop")
    assert page.status_code == 200
    assert f'href="{incident}/report.md?server=shop"' in page.text
    assert 'href="../?server=shop"' in page.text
    assert watching.get(f"/incidents/{incident}/report.md?server=shop").status_code == 200
    holder.run("rollback")
    waiter.finish(timeout=30)


@pytest.mark.deadline(120)
def test_refused_signals_are_part_of_the_incident(scene: Scene, agent: Agent, tmp_path: Path) -> None:
    path = tmp_path / "journal.db"
    watching = agent(scene.dsn, more=journal(path) + REFUSING, arguments=("--enforce",), prompt=20.0)
    watching.wait_for("up", 1)
    scene.admin.execute("create table t ()")
    holder = scene.client("lock table t")
    waiter = scene.client().block("select from t")
    found = wait_until(lambda: re.search(r"incidents/(\w+)", watching.get("/incidents").text), 30, "an incident")
    refused = wait_until(
        lambda: json.loads(watching.get(f"/incidents/{found[1]}/report.json").content)["refused"], 30, "a refusal"
    )
    assert [(each["signal"], each["pid"], each["rule"]) for each in refused] == [("terminate", holder.pid, "idle")]
    assert any(each.startswith("superuser: ") for each in refused[0]["reasons"]), refused
    page = watching.get(f"/incidents/{found[1]}").text
    assert f"terminate {holder.pid} by rule idle: " in page
    assert f"refused: terminate {holder.pid} by rule idle: " in incidents(path, "report").stdout
    holder.run("rollback")
    waiter.finish(timeout=30)


def test_recurring_blockers_are_on_the_page(scene: Scene, agent: Agent, tmp_path: Path) -> None:
    path = tmp_path / "journal.db"
    [(identifier,)] = scene.admin.execute("select system_identifier::text from pg_control_system()").fetchall()
    with closing(Journal.open(path)) as opened:
        for number in (1, 2):
            for each in course(f"{number:018}", relation=f"public.{HOSTILE}"):
                entry = replace(each, server=None, blocked_seconds=60.0 * number)
                opened.append(identifier, KIND, each.id, msgspec.json.encode(entry), each.at)
            opened.keep(identifier, f"{number:018}", pack_diagnosis(diagnose(blocked(61, HOSTILE))), at(61))
        for each in course(f"{3:018}"):
            opened.append(identifier, KIND, each.id, msgspec.json.encode(replace(each, server=None)), each.at)
        opened.keep(identifier, f"{3:018}", b"1damaged", at(61))
    watching = agent(scene.dsn, more=journal(path))
    watching.wait_for("up", 1)
    listed = watching.get("/incidents").text
    section = listed.partition("Recurring blockers")[2]
    for words in ("3 min 0 s", "idle_in_transaction", "reporting", "update orders set v = ?"):
        assert words in section
    assert "idle_in_transaction_session_timeout" in section
    assert "<script>alert" not in listed
