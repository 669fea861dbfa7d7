"""The page in a real browser: it logs nothing, asks for nothing, and draws every chart, on every screen."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from onnxprune.graph import write_text
from onnxprune.report.page import html_page
from tests.report.browser import NAMES, Page, find_browser, open_browser
from tests.report.large import large_report
from tests.report.records import make_report

pytestmark = pytest.mark.slow

SCREENS = {"desk": (1280, 900, False), "phone": (390, 844, True)}
# Width and height of every chart, and how many of its shapes have an extent and lie within it.
CHARTS = """
[...document.querySelectorAll('svg.chart')].map(svg => {
  const box = svg.getBoundingClientRect();
  const shapes = [...svg.querySelectorAll('line, path, polygon, polyline, circle')];
  const drawn = shapes.map(s => s.getBoundingClientRect()).filter(
    b => b.width + b.height > 0 && b.left >= box.left - 8 && b.right <= box.right + 8 && b.bottom <= box.bottom + 8);
  return [box.width, box.height, shapes.length, drawn.length];
})
"""
TEXT_OVERLAPS = """
[...document.querySelectorAll('svg.chart')].flatMap(svg => {
  const boxes = [...svg.querySelectorAll('text.tick, text.label')].map(t => [t.textContent, t.getBoundingClientRect()]);
  return boxes.flatMap(([a, x], i) => boxes.slice(i + 1).filter(([b, y]) =>
    x.left < y.right && y.left < x.right && x.top < y.bottom - 1 && y.top < x.bottom - 1).map(([b]) => a + ' / ' + b));
})
"""


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    found = find_browser()
    if found is None:
        pytest.skip(f"no browser is installed here (looked for {', '.join(NAMES)})")
    with open_browser(found, tmp_path_factory.mktemp("browser")) as page:
        yield page


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("page") / "report.html"
    write_text(html_page(large_report()), path)
    return path


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("screen", SCREENS)
def test_every_chart_is_drawn(browser: Page, file: Path, screen: str, dark: bool) -> None:
    width, height, phone = SCREENS[screen]
    browser.screen(width, height, dark=dark, phone=phone)
    browser.complaints.clear()
    browser.requests.clear()
    browser.open(file)
    charts = browser.value(CHARTS)
    assert len(charts) == 1 + 12 + 4
    for wide, tall, shapes, drawn in charts:
        assert wide > 150
        assert tall > 80
        assert drawn == shapes > 5
    assert browser.value(TEXT_OVERLAPS) == []
    assert browser.value("document.documentElement.scrollWidth") == width
    assert browser.complaints == []
    assert browser.requests == [file.as_uri()]


def test_the_theme_is_the_systems(browser: Page, file: Path) -> None:
    brightness = []
    for dark in (False, True):
        browser.screen(800, 600, dark=dark)
        browser.open(file)
        pixels = np.asarray(Image.open(io.BytesIO(browser.picture())).convert("L"))
        brightness.append(pixels.mean())
        assert pixels.std() > 5
    assert brightness[0] > 200
    assert brightness[1] < 60


def test_it_prints(browser: Page, file: Path) -> None:
    browser.open(file)
    assert browser.pdf().startswith(b"%PDF")


def test_what_a_page_asks_for_and_logs_is_seen(browser: Page, tmp_path: Path) -> None:
    page = html_page(make_report())
    policy = page.index("<meta http-equiv")
    spoilt = tmp_path / "spoilt.html"
    spoilt.write_text(page[:policy] + '<img src="missing.png"><script>console.error("x")</script>' + page[policy:])
    browser.complaints.clear()
    browser.requests.clear()
    browser.open(spoilt)
    assert (tmp_path / "missing.png").as_uri() in browser.requests
    assert any('"x"' in complaint for complaint in browser.complaints)
