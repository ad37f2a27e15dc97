"""The pages of recorded incidents in a real browser, served and as a file. Pictures go to build/pictures."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.agent.http.test_incidents import journal, stage, wait_for_end
from tests.agent.running import RunningAgent
from tests.browser.chromium import Browser
from tests.browser.test_page_in_chromium import LEAST_CONTRAST, WIDTHS, Agent, is_sound, proxied, url
from tests.scenes import Scene

__all__ = ["proxied"]

pytestmark = [pytest.mark.browser, pytest.mark.deadline(240)]


def test_pages_of_incidents_are_sound(scene: Scene, agent: Agent, browser: Browser, tmp_path: Path) -> None:
    path = tmp_path / "journal.db"
    watching = agent(scene.dsn, more=journal(path), prompt=30.0)
    watching.wait_for("up", 1)
    incident = stage(scene, watching)
    wait_for_end(path, incident)
    for width, pixels in WIDTHS.items():
        for is_dark in (False, True):
            name = f"{width}-{'dark' if is_dark else 'light'}"
            browser.show(url(watching, "/incidents"), width=pixels, dark=is_dark)
            browser.picture(f"incidents-{name}")
            is_sound(browser, watching)
            browser.show(url(watching, f"/incidents/{incident}"), width=pixels, dark=is_dark)
            browser.picture(f"incident-{name}")
            is_sound(browser, watching)
    assert browser.ask("return document.querySelector('svg.chart').getBoundingClientRect().height > 50")

    # From the page to the list, to one incident and back, by the links alone.
    browser.show(url(watching))
    browser.driver.find_element("id", "all-incidents").click()
    assert browser.driver.current_url == url(watching, "/incidents")
    browser.driver.find_element("css selector", "td a").click()
    assert browser.driver.current_url == url(watching, f"/incidents/{incident}")
    browser.driver.find_element("link text", "now").click()
    assert browser.driver.current_url == url(watching, "/")

    report = tmp_path / "report.html"
    report.write_bytes(watching.get(f"/incidents/{incident}/report.html").content)
    browser.show(report.as_uri())
    browser.picture("incident-report-file")
    assert browser.complaints() == []
    assert browser.requests() == [report.as_uri()]
    assert [each for each in browser.contrasts if each[0] < LEAST_CONTRAST] == []
    assert not browser.has_alert
    browser.driver.get("about:blank")


def test_links_of_incidents_work_behind_a_path_prefix(
    scene: Scene, proxied: Callable[..., tuple[str, RunningAgent]], browser: Browser, tmp_path: Path
) -> None:
    path = tmp_path / "journal.db"
    base, watching = proxied(scene.dsn, "/tools/pg/", more=journal(path), prompt=30.0)
    watching.wait_for("up", 1)
    incident = stage(scene, watching)
    wait_for_end(path, incident)
    browser.show(base)
    browser.driver.find_element("id", "all-incidents").click()
    assert browser.driver.current_url == f"{base}incidents"
    browser.driver.find_element("css selector", "td a").click()
    assert browser.driver.current_url == f"{base}incidents/{incident}"
    links = browser.ask("return [...document.querySelectorAll('a')].map((each) => each.href)")
    files = {f"{base}incidents/{incident}/report.md", f"{base}incidents/{incident}/export.json.gz"}
    assert {f"{base}incidents", base} | files <= set(links)
    browser.driver.get("about:blank")
