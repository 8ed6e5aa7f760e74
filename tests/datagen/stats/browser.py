"""A headless Chromium for the pages that the toolkit writes; nothing is downloaded, nothing leaves
the machine.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

CHROMIUM, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")


@contextmanager
def browser() -> Iterator[Any]:
    """A driver of Chromium; the test is skipped where Chromium or its driver is absent."""
    if not (CHROMIUM and DRIVER):
        pytest.skip(
            "chromium and chromedriver are not installed (Debian: chromium, chromium-driver)"
        )
    from selenium.webdriver import Chrome, ChromeOptions
    from selenium.webdriver.chrome.service import Service

    options = ChromeOptions()
    options.binary_location = CHROMIUM
    for word in ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"):
        options.add_argument(word)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = Chrome(options=options, service=Service(executable_path=DRIVER))
    try:
        yield driver
    finally:
        driver.quit()


@dataclass(frozen=True)
class Browser:
    """What a person does with a page, and sees."""

    driver: Any

    def visit(self, page: Path, width: int = 1440, dark: bool = False) -> None:
        """Open a page from its file in a window `width` px wide, and check it."""
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [scheme]})
        self.resize(width)
        self.driver.get("about:blank")
        self.complaints()
        self.driver.get(page.resolve().as_uri())
        self.check()

    def resize(self, width: int, height: int = 1000) -> None:
        """The size of the page's own area in px; Chromium's window cannot be narrower than 500
        px.
        """
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)

    def complaints(self) -> list[str]:
        """What the console has said since it was asked last: errors, warnings, refused requests."""
        return [entry["message"] for entry in self.driver.get_log("browser")]

    def run(self, script: str, *words: Any) -> Any:
        """What the body of a function returns in the page."""
        return self.driver.execute_script(script, *words)

    def wait(self, script: str) -> Any:
        """What the body of a function gives to its last argument, a function."""
        return self.driver.execute_async_script(script)

    def one(self, selector: str) -> Any:
        return self.driver.find_element("css selector", selector)

    def count(self, selector: str) -> int:
        return self.run("return document.querySelectorAll(arguments[0]).length", selector)

    def texts(self, selector: str) -> list[str]:
        """What is written in each element, seen or not."""
        script = (
            "return [...document.querySelectorAll(arguments[0])].map(one => one.textContent.trim())"
        )
        return self.run(script, selector)

    def check(self) -> None:
        """No complaint in the console, every picture is one, and the page does not scroll
        sideways.
        """
        script = """const done = arguments[0], all = [...document.images];
            all.forEach(one => one.loading = "eager");
            Promise.all(all.map(one => one.decode()))
                .then(() => done(all.map(one => one.naturalWidth)), () => done([0]))"""
        assert all(self.wait(script))
        assert self.run("return document.documentElement.scrollWidth <= window.innerWidth")
        assert self.complaints() == []


class Table(Browser):
    """The table of all clips."""

    def column(self, title: str) -> list[str]:
        """The cells of a column, of the rows that are shown."""
        return self.texts(f"#all-clips tbody td:nth-child({self._titles().index(title) + 1})")

    def sort(self, title: str) -> None:
        """Click the column's title."""
        script = "document.querySelectorAll('#all-clips th .dt-column-title')[arguments[0]].click()"
        self.run(script, self._titles().index(title))

    def fill(self, name: str, value: object) -> None:
        """Write into the filter of that name, or choose."""
        field = self.one(f'.filter [aria-label="{name}"]')
        if field.tag_name == "select":
            field.find_element("xpath", f'option[text()="{value}"]').click()
        else:
            field.send_keys(str(value))

    @property
    def clips(self) -> int:
        """How many the filters leave."""
        (text,) = self.texts("#table .dt-info")
        found = re.search(r"of ([\d,]+) clip", text)
        return int(found[1].replace(",", "")) if found and "Showing" in text else 0

    def _titles(self) -> list[str]:
        script = (
            "return [...document.querySelectorAll('#all-clips th .dt-column-title')].map(one "
            "=> one.firstChild.data)"
        )
        return self.run(script)
