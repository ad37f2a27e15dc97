"""The dashboard: whole, of one data source that can be chosen, and every panel with a word of what it says."""

import json

import pytest
import yaml

from tests.docker.shipped import DOCKER, documents, panels

DASHBOARD = json.loads((DOCKER / "dashboard.json").read_text(encoding="utf-8"))
CHOSEN = {"type": "prometheus", "uid": "${datasource}"}


def test_it_asks_for_a_data_source_and_for_whom_it_shows():
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
