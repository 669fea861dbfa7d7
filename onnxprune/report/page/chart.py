"""What a chart on the page consists of."""

from __future__ import annotations

from dataclasses import dataclass

from markupsafe import Markup

from onnxprune.report.page.svg import tag


@dataclass(frozen=True)
class Table:
    """Figures behind a chart.

    Attributes:
        headers: Names of the columns.
        rows: The cells, row by row.
    """

    headers: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


@dataclass(frozen=True)
class Legend:
    """One entry of a legend: how it is marked, and what it is."""

    mark: Markup
    text: str


@dataclass(frozen=True)
class Chart:
    """A chart.

    Attributes:
        key: Unique on the page.
        title: What it is.
        text: What it shows, in a sentence or two.
        svg: The drawing.
        legend: What the marks mean.
        table: The figures.
    """

    key: str
    title: str
    text: str
    svg: Markup
    legend: tuple[Legend, ...]
    table: Table


def sample(part: Markup) -> Markup:
    """Draw a mark for a legend, 18 x 18."""
    return tag("svg", part, class_="key", viewBox="0 0 18 18", aria_hidden="true")


def swatch(class_: str) -> Markup:
    """Draw a filled area for a legend."""
    return sample(tag("rect", class_=class_, x=2, y=4, width=14, height=10))


def number(value: float | None, digits: int) -> str:
    """Write a number that may be missing."""
    return "" if value is None else f"{value:.{digits}f}"
