"""The dashboard: whole, of one data source that can be chosen, and every panel with a word of what it says."""

import json
import re
import shutil
import subprocess

import pytest
import yaml

from tests.docker.shipped import DOCKER, documents, panels

DASHBOARD = json.loads((DOCKER / "dashboard.json").read_text(encoding="utf-8"))
CHOSEN = {"type": "prometheus", "uid": "${datasource}"}


def test_dashboard_asks_for_a_data_source_and_a_server():
    variables = {each["name"]: each for each in DASHBOARD["templating"]["list"]}
    assert list(variables) == ["datasource", "instance", "server"]
    assert variables["datasource"]["query"] == "prometheus"
    # An agent of one server has no label `server`; `.*` fits that too, where the list of all names would not.
    assert {variables[name]["allValue"] for name in ("instance", "server")} == {".*"}


@pytest.mark.parametrize("panel", panels(), ids=lambda panel: panel["title"])
def test_each_panel_says_what_it_shows_from_the_chosen_source(panel):
    assert panel["description"]
    assert panel["datasource"] == CHOSEN
    assert panel["targets"]
    for target in panel["targets"]:
        assert target["datasource"] == CHOSEN
        assert "$instance" in target["expr"] or "ALERTS" in target["expr"]


def test_no_panel_lies_upon_another():
    places = [
        (x, y)
        for each in (panel["gridPos"] for panel in panels())
        for x in range(each["x"], each["x"] + each["w"])
        for y in range(each["y"], each["y"] + each["h"])
    ]
    assert len(set(places)) == len(places)
    assert max(x for x, _ in places) == 23
    assert len({panel["id"] for panel in panels()}) == len(panels())


def test_grafana_of_the_compose_file_shows_it_from_its_prometheus():
    (compose,) = documents("compose.yml")
    grafana = compose["services"]["grafana"]
    assert grafana["profiles"] == ["grafana"]
    home = grafana["environment"]["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"]
    assert f"./dashboard.json:{home}:ro" in grafana["volumes"]
    provided = {
        each["source"]: yaml.safe_load(compose["configs"][each["source"]]["content"]) for each in grafana["configs"]
    }
    (source,) = provided["datasource"]["datasources"]
    assert source["type"] == "prometheus"
    assert source["url"] == "http://prometheus:9090"
    (provider,) = provided["dashboards"]["providers"]
    assert home.startswith(provider["options"]["path"])


@pytest.mark.skipif(shutil.which("promtool") is None, reason="no promtool on this machine")
def test_promtool_reads_every_expression(tmp_path):
    expressions = [target["expr"] for panel in panels() for target in panel["targets"]]
    plain = [re.sub(r"\$__(range|rate_interval)", "5m", each).replace("$instance", ".*") for each in expressions]
    rules = [{"record": f"panel:{number}", "expr": each} for number, each in enumerate(plain)]
    (tmp_path / "rules.yml").write_text(yaml.safe_dump({"groups": [{"name": "dashboard", "rules": rules}]}))
    checked = subprocess.run(
        ["promtool", "check", "rules", tmp_path / "rules.yml"], capture_output=True, text=True, check=False
    )
    assert checked.returncode == 0, checked.stderr


def test_panels_of_lock_waits_leave_servers_out_that_are_not_seen():
    for panel in panels():
        for target in panel["targets"]:
            if re.search(r"pgdoctor_(blocked_sessions|oldest_wait|budget|leader|breaker)", target["expr"]):
                assert "pgdoctor_up{" in target["expr"], panel["title"]
