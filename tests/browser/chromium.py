"""A headless Chromium of the system, and what it says of a page: pictures, complaints, requests, measures."""

import base64
import json
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from selenium import webdriver
from selenium.common.exceptions import NoAlertPresentException
from selenium.webdriver.chrome.options import Options
from selenium.webdriver.chrome.service import Service

#: Where pictures go, to be looked at.
PICTURES = Path("build/pictures")

#: Pixels of a picture.
_TALLEST = 8_000

_FLAGS = (
    *("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--hide-scrollbars"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync", "--disable-dev-shm-usage"),
    "--window-size=1280,1000",
)
_NAMES = ("chromium", "chromium-browser", "google-chrome")

#: Of each text that shows, its ratio to the ground it stands on, by the formula of WCAG 2.
_CONTRASTS = """
const rgb = (text) => text.match(/[\\d.]+/g).map(Number);
const luminance = ([r, g, b]) => [r, g, b].map((c) => (c /= 255) <= .03928 ? c / 12.92 : ((c + .055) / 1.055) ** 2.4)
    .reduce((sum, c, place) => sum + c * [.2126, .7152, .0722][place], 0);
function ground(element) {
    for (; element; element = element.parentElement) {
        const found = rgb(getComputedStyle(element).backgroundColor);
        if (found.length < 4 || found[3] === 1) return found;
    }
    return [255, 255, 255];
}
const texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
const found = [];
while (texts.nextNode()) {
    const text = texts.currentNode, element = text.parentElement;
    if (!text.data.trim() || !element.checkVisibility() || element.closest("script, noscript")) continue;
    const [one, other] = [rgb(getComputedStyle(element).color), ground(element)].map(luminance);
    found.push([(Math.max(one, other) + .05) / (Math.min(one, other) + .05), text.data.trim().slice(0, 60)]);
}
return found;
"""


class Missing(Exception):
    """There is no Chromium here, or no driver of it; the text says what to install."""


class Browser:
    """One window."""

    def __init__(self, driver: webdriver.Chrome) -> None:
        self.driver = driver
        self._measures: dict[str, Any] = {}

    def show(self, url: str, *, width: int = 1280, height: int = 1000, dark: bool = False, script: bool = True) -> None:
        """Load a page into a window of that size; what was said and asked for before is forgotten."""
        self._measures = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 500}
        self.command("Emulation.setDeviceMetricsOverride", **self._measures)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.command("Emulation.setEmulatedMedia", features=[scheme])
        self.command("Emulation.setScriptExecutionDisabled", value=not script)
        self.driver.get("about:blank")
        self.complaints()
        self.requests()
        self.driver.get(url)

    def command(self, name: str, **parameters: Any) -> Any:
        """A command of Chromium's own protocol."""
        return self.driver.execute_cdp_cmd(name, parameters)

    def ask(self, script: str) -> Any:
        """The value of a script in the page."""
        return self.driver.execute_script(script)

    def picture(self, name: str) -> None:
        """Keep the whole page, however long, as a picture."""
        # As tall as the page: what sticks to the window's edge would else lie across it.
        height = int(min(self.command("Page.getLayoutMetrics")["cssContentSize"]["height"], _TALLEST))
        measures = self._measures | {"height": max(height, self._measures["height"])}
        self.command("Emulation.setDeviceMetricsOverride", **measures)
        PICTURES.mkdir(parents=True, exist_ok=True)
        shot = self.command("Page.captureScreenshot")
        (PICTURES / f"{name}.png").write_bytes(base64.b64decode(shot["data"]))
        self.command("Emulation.setDeviceMetricsOverride", **self._measures)

    def complaints(self) -> list[str]:
        """What the console says: errors, and whatever the policy has kept from happening."""
        return [entry["message"] for entry in self.driver.get_log("browser")]

    def requests(self) -> list[str]:
        """The addresses that were asked for, but for what the page has in itself."""
        events = (json.loads(entry["message"])["message"] for entry in self.driver.get_log("performance"))
        asked = (
            event["params"]["request"]["url"] for event in events if event["method"] == "Network.requestWillBeSent"
        )
        return [url for url in asked if not url.startswith("data:")]

    @property
    def overhang(self) -> int:
        """Pixels by which the page is wider than the window."""
        return int(self.ask("return document.documentElement.scrollWidth - innerWidth"))

    @property
    def contrasts(self) -> list[tuple[float, str]]:
        """The contrast of each text that shows, and the text."""
        return [tuple(each) for each in self.ask(_CONTRASTS)]

    @property
    def has_alert(self) -> bool:
        """A script of the page's has opened a box."""
        try:
            self.driver.switch_to.alert.dismiss()
        except NoAlertPresentException:
            return False
        return True

    def text(self, selector: str) -> str:
        """What an element says."""
        return str(self.ask(f"return document.querySelector({json.dumps(selector)}).textContent"))


@contextmanager
def chromium() -> Iterator[Browser]:
    """A window that knows nothing of any other. Raises Missing."""
    program = next(filter(None, map(shutil.which, _NAMES)), None)
    driver = shutil.which("chromedriver")
    if program is None or driver is None:
        raise Missing("these tests need Chromium and its driver (Debian: apt-get install chromium chromium-driver)")
    options = Options()
    options.binary_location = program
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        for flag in (*_FLAGS, f"--user-data-dir={profile}"):
            options.add_argument(flag)
        window = webdriver.Chrome(options=options, service=Service(driver))
        try:
            yield Browser(window)
        finally:
            window.quit()
