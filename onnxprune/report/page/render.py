"""Render the page: one file, without scripts, that loads nothing."""

from __future__ import annotations

from importlib import resources

from jinja2 import Environment, FunctionLoader, StrictUndefined
from markupsafe import Markup

from onnxprune.report.page.view import make_view
from onnxprune.report.schema import Report

_TEMPLATE, _STYLE = "page.html", "page.css"


def html_page(report: Report) -> str:
    """Return a report as one self-contained HTML page."""
    environment = Environment(
        loader=FunctionLoader(_read),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    template = environment.get_template(_TEMPLATE)
    return template.render(view=make_view(report), style=Markup(_read(_STYLE)))


def _read(name: str) -> str:
    return resources.files(__package__).joinpath(name).read_text(encoding="utf-8")
