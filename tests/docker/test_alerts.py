"""The alerts: right by promtool's word where it is there, of metrics that exist, and each with something to do."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

import pgdoctor.cli as pgdoctor_cli
from pgdoctor.diagnosis.cause import class_names
from pgdoctor.diagnosis.finding import finding_kinds
from pgdoctor.mitigation.guards import all_guards
from pgdoctor.render.manual import read_parts
from pgdoctor.topics import ALERT_FILES
from tests.docker.shipped import DOCKER, alert_pages, documents, panels, rules
from tests.forked import pgdoctor

CLI = Path(pgdoctor_cli.__file__).parent

TESTS = ("alerts_test.yml", "alerts_fast_test.yml")

#: What Prometheus itself writes.
_NOT_OURS = {"ALERTS", "up"}

needs_promtool = pytest.mark.skipif(shutil.which("promtool") is None, reason="no promtool on this machine")


def promtool(*arguments):
    done = subprocess.run(["promtool", *arguments], cwd=DOCKER, capture_output=True, text=True, check=False, timeout=50)
    return done.returncode, done.stdout + done.stderr


@needs_promtool
def test_promtool_takes_the_rules():
    status, said = promtool("check", "rules", "--lint-fatal", *ALERT_FILES)
    assert status == 0, said
    assert sum(map(int, re.findall(r"(\d+) rules found", said))) == len(rules())


@needs_promtool
@pytest.mark.parametrize("name", TESTS)
def test_alert_fires_for_its_cases_only(name):
    status, said = promtool("test", "rules", name)
    assert status == 0, said


def test_every_alert_is_tested():
    tested = "".join((DOCKER / name).read_text() for name in TESTS)
    assert [rule["alert"] for rule in rules() if rule["alert"] not in tested] == []


def names(expression):
    """The metrics that an expression asks for: what stands before a selector, or alone among no function's names."""
    bare = re.sub(r"\"[^\"]*\"|'[^']*'|\{[^}]*\}|\[[^]]*\]", "", expression)
    bare = re.sub(r"\b(by|on|ignoring|without)\s*\([^)]*\)", "", bare)
    words = re.findall(r"\b[a-zA-Z_:][\w:]*\b(?!\s*\()", bare)
    return set(words) - {"and", "or", "unless", "by", "on", "ignoring", "without", "bool"} - _NOT_OURS


def test_names_are_found_in_expressions():
    expression = 'max by (job) (rate(a_total{x="b_c"}[5m])) > 2 and ignoring (mode) up == 1 unless absent(d_e) or f'
    assert names(expression) == {"a_total", "d_e", "f"}


def selected(expression):
    """Which values of which labels of ours an expression asks for by name."""
    for metric, inside in re.findall(r"(pgdoctor_\w+)\{([^}]*)\}", expression):
        for label, operator, wanted in re.findall(r"(\w+)(=~|=)\"([^\"]*)\"", inside):
            if not wanted.startswith("$"):
                yield from ((metric, label, value) for value in (wanted.split("|") if operator == "=~" else [wanted]))


ASKED = [rule["expr"] for rule in rules()] + [target["expr"] for panel in panels() for target in panel["targets"]]


def test_every_metric_and_every_value_of_a_label_exists_on_a_running_agent(agent, scene):
    receiver = '[[notify]]\nname = "oncall"\nurl = "http://127.0.0.1:1/"\n'
    running = agent(scene.dsn, more=f'[http]\nexternal_url = "http://127.0.0.1/"\n{receiver}')
    running.wait_for("up", 1.0)
    page = running.get("/metrics").text
    shown = {line.partition(" ")[0].partition("{")[0] for line in page.splitlines() if not line.startswith("#")}
    # Nothing was done yet, and of rules there are none: its series come with the first rule.
    declared = set(re.findall(r"^# TYPE (pgdoctor_actions\w+)", page, re.MULTILINE))
    wanted = {name for expression in ASKED for name in names(expression)}
    assert {name for name in wanted if name not in shown | declared} == set()
    assert {"pgdoctor_up", "pgdoctor_blocked_session_seconds_total", "process_cpu_seconds_total"} <= wanted
    values = {each for expression in ASKED for each in selected(expression)}
    assert {each for each in values if not re.search(rf'^{each[0]}\{{[^}}]*{each[1]}="{each[2]}"', page, re.M)} == set()
    assert ("pgdoctor_findings", "kind", "sync_standby_lost") in values


@pytest.mark.parametrize("rule", rules(), ids=lambda rule: rule["alert"])
def test_each_alert_has_severity_session_and_advice(rule):
    assert rule["alert"].startswith("Pgdoctor")
    assert rule["labels"]["severity"] in ("critical", "warning")
    summary, description = rule["annotations"]["summary"], rule["annotations"]["description"]
    assert re.search(r"\$labels\.(server|instance)", summary)
    commands = re.findall(r"`pgdoctor (\w+)", description)
    assert commands
    assert [command for command in commands if not (CLI / f"{command}.py").exists()] == []


@pytest.mark.parametrize("rule", rules(), ids=lambda rule: rule["alert"])
def test_alert_links_to_its_manual_page_and_the_server_page(rule):
    annotations = rule["annotations"]
    assert f"/explain/{rule['alert']}" in re.sub(r"\{\{.*?\}\}", "", annotations["runbook_url"].replace("\n", " "))
    # The page of an agent that is gone does not answer.
    assert ("page" in annotations) is (rule["alert"] != "PgdoctorAgentGone")


def test_metrics_in_annotations_exist_on_a_running_agent(agent, scene):
    link = '[http]\nexternal_url = "https://ops.example/pg"\n'
    running = agent(scene.dsn, more=link)
    running.wait_for("up", 1.0)
    shown = {name.partition("{")[0] for name in running.metrics()}
    said = [text for rule in rules() for text in rule["annotations"].values()]
    # Within a string of a template stands a query; elsewhere names of files and words.
    queried = {name for text in said for string in re.findall(r'"([^"]*)"', text) for name in names(string)}
    wanted = {name for name in queried if name.startswith("pgdoctor_")}
    assert {"pgdoctor_page_info", "pgdoctor_blocked_sessions_by_class"} <= wanted
    assert wanted - shown == set()
    assert 'pgdoctor_page_info{manual="https://ops.example/pg/explain/",url="https://ops.example/pg/"}' in str(
        running.metrics()
    )
    for rule in rules():
        page = running.get(f"/explain/{rule['alert']}")
        assert page.text.startswith(f"{rule['alert']} (alert)\n")
        assert page.headers["content-type"] == "text/plain; charset=utf-8"


PAGES = alert_pages()


def test_all_have_a_page_and_are_in_the_list():
    assert list(PAGES) == [rule["alert"] for rule in rules()]
    listed = pgdoctor("explain").stdout
    assert all(f"  {name} " in listed for name in PAGES)


@pytest.mark.parametrize("name", PAGES)
def test_each_page_says_how_it_is_recognised_and_what_to_do(name):
    found = read_parts(PAGES[name])
    assert all(found[part] for part in ("", "Recognised by", "Do", "Source"))
    explained = {*class_names(), *finding_kinds(), *(guard.name for guard in all_guards())}
    asked = re.findall(r"`pgdoctor explain (\w+)`", PAGES[name])
    assert [other for other in asked if other not in explained and not other.startswith("pgdoctor_")] == []


def test_the_page_of_an_alert():
    shown = pgdoctor("explain", "PgdoctorServerNotSeen").stdout
    assert shown.startswith("PgdoctorServerNotSeen (alert)\n")
    assert "/health/deep" in shown


def test_prometheus_of_the_compose_file_has_them():
    (prometheus,) = documents("prometheus.yml")
    (compose,) = documents("compose.yml")
    mounted = compose["services"]["prometheus"]["volumes"]
    assert prometheus["rule_files"] == list(ALERT_FILES)
    assert {f"./{name}:/etc/prometheus/{name}:ro" for name in ALERT_FILES} <= set(mounted)
    assert prometheus["scrape_configs"][0]["static_configs"] == [{"targets": ["pgdoctor:9899"]}]
