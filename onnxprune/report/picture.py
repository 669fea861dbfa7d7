"""The graph as a picture: groups coloured, what is fixed grey with its reason; one file that needs no other."""

from __future__ import annotations

import html
from collections.abc import Sequence
from pathlib import Path

from onnxprune.report.drawing import DrawnNode
from onnxprune.report.inspection import GroupInspection, Inspection
from onnxprune.report.layout import Layout, lay_out
from onnxprune.report.units import count, counted, percent, plain

_WIDTH, _HEIGHT, _COLUMN, _ROW, _MARGIN = 132, 34, 148, 62, 24
_FIXED, _WITHOUT = "#c4c4c4", "#eeeeee"
_LONGEST_NAME, _LONGEST_OP = 21, 18
# Neighbouring groups get hues far apart.
_GOLDEN_ANGLE = 137.508
_LEGEND = (
    "A node is filled with the groups of the channels it gives, paler where it only passes them on; grey ones are "
    "fixed. A strong frame: its weights bring them forth. Rest the mouse on a node for its groups and for why channels "
    "are fixed."
)
_STYLE = """
svg{font:11px system-ui,sans-serif}
.edge{fill:none;stroke:#9aa0a6;stroke-width:1}
.node>.frame{fill:none;stroke:#80868b}
.node.makes>.frame{stroke:#202124;stroke-width:1.8}
.node>text{fill:#202124;text-anchor:middle;pointer-events:none}
.node>.op{font-weight:600}
.node>.name{font-size:9px}
.node:hover>.frame{stroke:#d93025;stroke-width:2.5}
"""
_PAGE_STYLE = """
body{font:14px system-ui,sans-serif;margin:24px;color:#202124}
table{border-collapse:collapse;margin:8px 0 24px}
th,td{text-align:left;padding:3px 12px 3px 0;border-bottom:1px solid #e8eaed;vertical-align:top}
td.n{text-align:right;white-space:nowrap}
.swatch{display:inline-block;width:12px;height:12px;border:1px solid #80868b;margin-right:6px}
.graph{overflow:auto;border:1px solid #e8eaed;margin:16px 0}
"""


def svg(inspection: Inspection) -> str:
    """Draw a model's graph.

    Each node is filled with the groups of the channels that it gives, in proportion; grey are those that are fixed.
    Nodes whose weights bring channels forth have a strong frame. What a node is, its groups and why its channels are
    fixed shows when the mouse rests on it.
    """
    nodes = inspection.drawn
    layout = lay_out([node.inputs for node in nodes])
    width = round(layout.width * _COLUMN + _WIDTH + 2 * _MARGIN)
    height = round(max(layout.row, default=0) * _ROW + _HEIGHT + 2 * _MARGIN)
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" viewBox="0 0 {width} {height}">',
        f"<style>{_STYLE}</style>",
        f'<rect width="{width}" height="{height}" fill="#ffffff"/>',
        *_edges(layout),
        *(_node(node, _corner(layout, place), inspection.groups) for place, node in enumerate(nodes)),
        "</svg>",
    ]
    return "\n".join(lines) + "\n"


def picture_page(inspection: Inspection) -> str:
    """Write a page with the picture, the groups, and what is fixed, why, and what would free it."""
    title = _text(f"{Path(inspection.path).name}: what can be pruned")
    summary = (
        f"{count(inspection.cost.macs)} MACs, {count(inspection.cost.parameters)} parameters, "
        f"{counted(len(inspection.groups), 'group')} of removable channels, which take part in "
        f"{percent(inspection.coverage)} of the MACs{' that are counted' * bool(inspection.unreached)}."
    )
    unreached = [f"<p>Not reached: {_text(line)}.</p>" for line in inspection.unreached]
    fixed = [
        f"<tr><td>{_text(entry.producer)}</td><td class=n>{entry.channels}</td>"
        f"<td>{_text(entry.reason)}</td><td>{_text(entry.hint)}</td></tr>"
        for entry in inspection.fixed
    ]
    return "\n".join(
        [
            "<!doctype html>",
            f'<html lang="en"><head><meta charset="utf-8"><title>{title}</title><style>{_PAGE_STYLE}</style></head>',
            f"<body><h1>{title}</h1><p>{_text(summary)}</p>",
            *unreached,
            f"<p>{_LEGEND}</p>",
            f'<div class="graph">{svg(inspection)}</div>',
            "<h2>Groups</h2><table><tr><th>group</th><th>channels</th><th>at a time</th><th>MACs</th><th>weights</th>"
            "</tr>",
            *(_group_row(index, group) for index, group in enumerate(inspection.groups)),
            "</table>",
            "<h2>Fixed</h2><table><tr><th>node</th><th>channels</th><th>why</th><th>what would free them</th></tr>",
            *fixed,
            "</table></body></html>",
            "",
        ]
    )


def colour(group: int) -> str:
    """Return a group's colour, light enough to write on."""
    hue = (group * _GOLDEN_ANGLE) % 360
    return f"hsl({hue:.0f},{(75, 55)[group % 2]}%,{(72, 80, 64)[group % 3]}%)"


def _corner(layout: Layout, place: int) -> tuple[float, float]:
    return _MARGIN + layout.x[place] * _COLUMN, _MARGIN + layout.row[place] * _ROW


def _edges(layout: Layout) -> list[str]:
    lines = []
    for reader, source, bends in layout.edges:
        x, y = _corner(layout, source)
        points = [(x + _WIDTH / 2, y + _HEIGHT)]
        for bend, row in bends:
            across, down = _MARGIN + bend * _COLUMN + _WIDTH / 2, _MARGIN + row * _ROW
            points += [(across, down), (across, down + _HEIGHT)]
        x, y = _corner(layout, reader)
        points.append((x + _WIDTH / 2, y))
        lines.append(f'<path class="edge" d="{_curve(points)}"/>')
    return lines


def _curve(points: Sequence[tuple[float, float]]) -> str:
    """Join points, bending only between rows."""
    x, y = points[0]
    parts = [f"M{x:.0f} {y:.0f}"]
    for to_x, to_y in points[1:]:
        if abs(to_x - x) < 0.5:
            parts.append(f"V{to_y:.0f}")
        else:
            middle = (y + to_y) / 2
            parts.append(f"C{x:.0f} {middle:.0f} {to_x:.0f} {middle:.0f} {to_x:.0f} {to_y:.0f}")
        x, y = to_x, to_y
    return "".join(parts)


def _node(node: DrawnNode, corner: tuple[float, float], groups: Sequence[GroupInspection]) -> str:
    x, y = corner
    kind = "node makes" if node.produces else "node"
    middle = x + _WIDTH / 2
    name = node.name if len(node.name) <= _LONGEST_NAME else f"{node.name[:9]}...{node.name[-9:]}"
    squeezed = f' textLength="{_WIDTH - 8}" lengthAdjust="spacingAndGlyphs"' * (len(node.op_type) > _LONGEST_OP)
    return (
        f'<g class="{kind}"><title>{_text(_title(node, groups))}</title>'
        f"{_fill(node, x, y)}"
        f'<rect class="frame" x="{x:.0f}" y="{y:.0f}" width="{_WIDTH}" height="{_HEIGHT}"/>'
        f'<text class="op" x="{middle:.0f}" y="{y + 14:.0f}"{squeezed}>{_text(node.op_type)}</text>'
        f'<text class="name" x="{middle:.0f}" y="{y + 27:.0f}">{_text(name)}</text></g>'
    )


def _fill(node: DrawnNode, x: float, y: float) -> str:
    """Draw a node's channels as stripes, the fixed ones last."""
    fixed = _FIXED if node.produces else _WITHOUT
    whole = f'x="{x:.0f}" y="{y:.0f}" width="{_WIDTH}" height="{_HEIGHT}"'
    stripes = [f'<rect {whole} fill="{fixed if not node.parts else "#ffffff"}"/>']
    # What only passes channels on is paler than what brings them forth.
    opacity = "" if node.produces else ' fill-opacity="0.55"'
    start = x
    for group, channels in node.parts:
        width = _WIDTH * channels / node.channels
        place = f'x="{start:.1f}" y="{y:.0f}" width="{width:.1f}" height="{_HEIGHT}"'
        stripes.append(f'<rect {place} fill="{colour(group)}"{opacity}/>')
        start += width
    if node.parts and start < x + _WIDTH - 0.5:
        place = f'x="{start:.1f}" y="{y:.0f}" width="{x + _WIDTH - start:.1f}" height="{_HEIGHT}"'
        stripes.append(f'<rect {place} fill="{fixed}"/>')
    return "".join(stripes)


def _title(node: DrawnNode, groups: Sequence[GroupInspection]) -> str:
    lines = [f"{node.op_type} '{node.name}'"]
    for index, channels in node.parts:
        group = groups[index]
        more = f" + {len(group.producers) - 1} more" if len(group.producers) > 1 else ""
        lines.append(f"{channels} channels of group '{group.name}'{more}")
    for entry in node.fixed:
        lines.append(f"{entry.channels} channels fixed: {entry.reason}")
        lines.append(f"what would free them: {entry.hint}")
    fixed = node.channels - sum(channels for _, channels in node.parts)
    if not node.fixed and fixed > 0:
        lines.append(f"{fixed} channels fixed elsewhere")
    if not node.fixed and not node.parts:
        lines.append("no channel that can go passes through")
    return "\n".join(lines)


def _group_row(index: int, group: GroupInspection) -> str:
    producers = _text(", ".join(group.producers))
    return (
        f'<tr><td><span class="swatch" style="background:{colour(index)}"></span>{producers}</td>'
        f"<td class=n>{group.channels}</td><td class=n>{group.channels_per_unit}</td>"
        f"<td class=n>{count(group.macs)}</td><td class=n>{count(group.parameters)}</td></tr>"
    )


def _text(text: str) -> str:
    return html.escape(plain(text))
