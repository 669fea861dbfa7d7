"""A report as a short Markdown text, for the summary of a CI job or a comment on a change."""

from __future__ import annotations

import re
from collections.abc import Sequence

from onnxprune.report.baseline import device_line
from onnxprune.report.page.view import glance, headline, model_name, proof, versions
from onnxprune.report.schema import GroupRecord, Report
from onnxprune.report.tables import shortened, target_met, target_text
from onnxprune.report.units import change

# What Markdown and the HTML in it would take as markup.
_SPECIAL = re.compile(r"([\\`*_\[\]<>|~#&$@])")
_FENCE = "```"


def markdown_summary(report: Report) -> str:
    """Return the figures, the target, warnings and each group's channels as Markdown."""
    met = "✅ Target met" if target_met(report.target) else "❌ Target missed"
    lines = [f"### onnxprune: {escaped(model_name(report))}", ""]
    if (said := headline(report)) != "":
        lines += [f"**{escaped(said)}**", ""]
    lines += [f"{met}: {escaped(target_text(report.target))}", "", *_figures(report), ""]
    if (steps := versions(report)) is not None:
        lines += [*table(steps.headers, steps.rows), ""]
    if report.device is not None:
        lines += [escaped(f"Measured on {device_line(report.device)}."), ""]
    for warning in report.warnings:
        lines += [f"> ⚠️ {escaped(warning)}", ""]
    lines += [f"- {escaped(name)}: {escaped(value)}" for name, value in proof(report)]
    if report.groups:
        lines += ["", "<details><summary>Channels</summary>", "", *_channels(report.groups), "", "</details>"]
    if report.command is not None:
        # A fence inside would end the block.
        lines += ["", f"{_FENCE}sh", report.command.replace(_FENCE, "` ` `"), _FENCE]
    return "\n".join(lines) + "\n"


def _figures(report: Report) -> list[str]:
    metric = "" if report.after.metric is None else report.after.metric.name
    named = [(f"{row.name} ({row.detail})" if row.name == metric else row.name, row.cells) for row in glance(report)]
    return table(("", "before", "after", "change"), [(name, *cells) for name, cells in named])


def _channels(groups: Sequence[GroupRecord]) -> list[str]:
    rows = [
        (shortened(g.name), str(g.channels_before), str(g.channels_after), change(g.channels_before, g.channels_after))
        for g in groups
    ]
    return table(("layers that share channels", "before", "after", "change"), rows)


def table(headers: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Return the lines of a table, the first column to the left and the others to the right."""
    align = ["---", *["---:"] * (len(headers) - 1)]
    return [_row(headers), f"| {' | '.join(align)} |", *map(_row, rows)]


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(map(escaped, cells))} |"


def escaped(text: str) -> str:
    """Write a text such that Markdown takes nothing in it as markup."""
    return _SPECIAL.sub(r"\\\1", " ".join(text.split()))
