"""A report in a real browser: it draws, it asks for nothing, it has a dark and a light face, and can be used without a mouse or eyes."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.unit.replay.runs import log_of
from volsched.replay.report.figures import charts_of
from volsched.replay.report.page import key_figures, write_page
from volsched.replay.report.run import Run
from volsched.replay.session import Result

BROWSER = shutil.which("chromium") or shutil.which("chromium-browser")
DRIVER = shutil.which("chromedriver")
REQUIRED = bool(os.environ.get("VOLSCHED_REQUIRE_BROWSER"))
WAIT_S = 60

if not REQUIRED and (BROWSER is None or DRIVER is None):
    pytest.skip("needs Debian's chromium and chromium-driver", allow_module_level=True)
if not REQUIRED:
    pytest.importorskip("selenium", reason="selenium is not installed")


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> list[Run]:
    directory = tmp_path_factory.mktemp("logs")
    return [Run.of(Result(log_of(directory, seed)), name=f"seed {seed}") for seed in (0, 1)]


@pytest.fixture(scope="module")
def pages(runs: list[Run], tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("pages")
    write_page(directory / "one.html", runs[:1])
    write_page(directory / "two.html", runs)
    return directory


@pytest.fixture
def browser() -> Iterator[Any]:
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service

    options = webdriver.ChromeOptions()
    for argument in ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--window-size=1280,3000"):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    options.binary_location = BROWSER or ""
    driver = webdriver.Chrome(options=options, service=Service(DRIVER or ""))
    try:
        yield driver
    finally:
        driver.quit()


def opened(browser: Any, page: Path) -> None:
    from selenium.webdriver.support.ui import WebDriverWait

    browser.get(page.as_uri())
    WebDriverWait(browser, WAIT_S).until(lambda it: it.execute_script("return document.documentElement.dataset.drawn"))


def requests_of(browser: Any) -> list[str]:
    events = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]
    return [event["params"]["request"]["url"] for event in events if event["method"] == "Network.requestWillBeSent"]


@pytest.mark.parametrize("name", ["one", "two"])
def test_it_draws_everything_and_asks_for_nothing(browser: Any, pages: Path, runs: list[Run], name: str) -> None:
    given = runs[:1] if name == "one" else runs
    opened(browser, pages / f"{name}.html")
    drawn = [chart for chart in charts_of(given) if chart.traces]
    assert len(drawn) >= 6
    counts = browser.execute_script(
        "return Object.fromEntries([...document.querySelectorAll('[data-chart]')].map("
        "it => [it.dataset.chart, [it.data.length, it.querySelectorAll('.main-svg').length, it.getBoundingClientRect().width]]))"
    )
    assert {key: count[0] for key, count in counts.items()} == {chart.key: len(chart.traces) for chart in drawn}
    assert all(layers > 0 and width > 600 for _, layers, width in counts.values())
    assert browser.get_log("browser") == []
    asked = requests_of(browser)
    assert (pages / f"{name}.html").as_uri() in asked
    assert [url for url in asked if not url.startswith(("file:", "data:", "blob:"))] == []
    figures = browser.execute_script(
        "return [...document.querySelectorAll('#key-figures tbody tr')].map(row => [...row.cells].map(cell => cell.innerText))"
    )
    assert figures == [[words, *values] for words, values in key_figures(given)]


def test_a_line_that_is_drawn_is_the_line_of_the_table(browser: Any, pages: Path, runs: list[Run]) -> None:
    opened(browser, pages / "one.html")
    drawn = browser.execute_script("return Array.from(document.querySelector('[data-chart=pending]')._fullData[0].y)")
    assert drawn == runs[0].tables["population"]["waiting"].tolist()


def test_light_and_dark(browser: Any, pages: Path) -> None:
    found = {}
    for face in ("light", "dark"):
        browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [{"name": "prefers-color-scheme", "value": face}]})
        opened(browser, pages / "one.html")
        found[face] = browser.execute_script(
            "const chart = document.querySelector('[data-chart=pending]');"
            "return [getComputedStyle(document.body).backgroundColor, chart._fullLayout.paper_bgcolor, chart._fullLayout.font.color]"
        )
    assert found["light"] == ["rgb(255, 255, 255)", "#ffffff", "#1b1f24"]
    assert found["dark"] == ["rgb(20, 24, 29)", "#14181d", "#e8ebee"]
    for face in found.values():
        assert contrast(face[1], face[2]) >= 7  # WCAG 2.2, AAA


def contrast(ground: str, text: str) -> float:
    def luminance(colour: str) -> float:
        parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
        red, green, blue = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
        return 0.2126 * red + 0.7152 * green + 0.0722 * blue

    lighter, darker = sorted((luminance(ground), luminance(text)), reverse=True)
    return (lighter + 0.05) / (darker + 0.05)


def test_keys_and_tables(browser: Any, pages: Path, runs: list[Run]) -> None:
    from selenium.webdriver.common.by import By
    from selenium.webdriver.common.keys import Keys

    opened(browser, pages / "one.html")
    button = browser.find_element(By.CSS_SELECTOR, "button[data-switch=wait]")
    button.send_keys(Keys.SPACE)
    assert button.get_attribute("aria-pressed") == "true"
    axis = "return document.querySelector('[data-chart=wait]')._fullLayout.xaxis.type"
    assert browser.execute_script(axis) == "log"
    for chart in browser.find_elements(By.CSS_SELECTOR, "[data-chart]"):
        assert chart.get_attribute("role") == "img"
        about = browser.find_element(By.ID, chart.get_attribute("aria-describedby"))
        assert about.text
    details = browser.find_element(By.CSS_SELECTOR, "#wait details")
    details.find_element(By.TAG_NAME, "summary").send_keys(Keys.ENTER)
    cells = [cell.text for cell in details.find_elements(By.TAG_NAME, "td")]
    assert cells == list(next(chart for chart in charts_of(runs[:1]) if chart.key == "wait").rows[0])
