"""The dashboard of the archive: each panel's SQL runs on a real archive, and says what was archived."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from pgdoctor.journal.store import Journal
from tests.agent.test_archive import archive, copy, journal, path, record, rows
from tests.docker.shipped import DOCKER

__all__ = ["archive", "journal", "path"]

DASHBOARD = json.loads((DOCKER / "dashboard_archive.json").read_text(encoding="utf-8"))
PANELS = {panel["title"]: panel for panel in DASHBOARD["panels"]}


def fill_macros(sql: str) -> str:
    """What Grafana makes of its macros for the last month."""
    sql = sql.replace("$__timeFrom()", "now() - interval '30 days'").replace("$__timeTo()", "now()")
    sql = re.sub(r"\$__timeGroupAlias\(([\w.]+), \$__interval\)", r"date_trunc('hour', \1) AS time", sql)
    assert "$__" not in sql
    return sql


@pytest.mark.parametrize("panel", PANELS.values(), ids=PANELS.keys())
def test_each_panel_shows_an_archived_incident(panel: Any, archive: str, journal: Journal, path: Path) -> None:
    record(journal)
    copy(path, archive)
    [row] = rows(archive, fill_macros(panel["targets"][0]["rawSql"]))
    assert any(value in ("idle_in_transaction", "shop") for value in row)
    assert 120.0 in row
    assert panel["description"]


def test_panels_do_not_overlap() -> None:
    places = [
        (x, y)
        for each in (panel["gridPos"] for panel in PANELS.values())
        for x in range(each["x"], each["x"] + each["w"])
        for y in range(each["y"], each["y"] + each["h"])
    ]
    assert len(set(places)) == len(places)
    assert len({panel["id"] for panel in PANELS.values()}) == len(PANELS)
