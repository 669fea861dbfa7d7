"""Pictures of what layers cost over their channel counts."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING

from onnxprune.errors import OutputError
from onnxprune.report.figure_files import save_figure
from onnxprune.report.profile import LayerStairs, ProfileResult
from onnxprune.report.tables import shortened

if TYPE_CHECKING:
    from matplotlib.axes import Axes

FORMATS = ("svg", "png")
_COLUMNS, _WIDTH, _HEIGHT = 4, 3.2, 2.4
# Okabe and Ito's colours, which colour-blind readers can tell apart.
_IN, _OUT = "#E69F00", "#0072B2"


def image_format(path: Path) -> str:
    """Return the format that a picture's name asks for.

    Raises:
        OutputError: It asks for none that can be drawn.
    """
    ending = path.suffix.lower().removeprefix(".")
    if ending not in FORMATS:
        raise OutputError(f"'{path}' is no picture that can be drawn; give a name that ends in .svg or .png")
    return ending


def plot_staircases(result: ProfileResult, path: Path) -> None:
    """Draw the cost of every layer over its input and its output channels.

    Args:
        result: The profile.
        path: The file, .svg or .png.

    Raises:
        OutputError: It cannot be written, or is no such file.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    kind = image_format(path)
    drawn = [layer for layer in result.layers if layer.staircase_in]
    columns = min(_COLUMNS, max(len(drawn), 1))
    rows = max(math.ceil(len(drawn) / columns), 1)
    figure = Figure(figsize=(_WIDTH * columns, _HEIGHT * rows + 0.5))
    FigureCanvasAgg(figure)
    axes = figure.subplots(rows, columns, squeeze=False).flatten()
    for place, layer in zip(axes, drawn, strict=False):
        _draw(place, layer)
    for place in axes[len(drawn) :]:
        place.set_axis_off()
    figure.suptitle(f"{Path(result.model).name} on {result.device.name}: ms over channels", parse_math=False)
    figure.supxlabel("channels", fontsize=8)
    figure.supylabel("ms", fontsize=8)
    figure.tight_layout()
    save_figure(figure, path, kind)


def _draw(axes: Axes, layer: LayerStairs) -> None:
    both = ((layer.staircase_in, "in = out" if layer.tied else "in", _IN), (layer.staircase_out, "out", _OUT))
    for stairs, label, colour in both:
        if stairs:
            axes.plot(*zip(*stairs, strict=True), marker="o", markersize=2.5, linewidth=1, color=colour, label=label)
    axes.set_ylim(bottom=0)
    axes.set_xlim(left=0)
    axes.tick_params(labelsize=6)
    copies = f" x{layer.copies}" if layer.copies > 1 else ""
    axes.set_title(
        f"{shortened(layer.name)[-34:]}{copies}\n{layer.channels[0]} to {layer.channels[1]}",
        fontsize=7,
        parse_math=False,
    )
    axes.legend(fontsize=6, framealpha=0.5)
