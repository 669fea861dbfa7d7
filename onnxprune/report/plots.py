"""Pictures of a run: how it learned, where it pruned, and what accuracy costs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np

from onnxprune.errors import RunDirectoryError
from onnxprune.report.figure_files import save_figure
from onnxprune.report.front import draw_front, on_front
from onnxprune.report.history import History, read_history
from onnxprune.report.learning_curve import draw_learning
from onnxprune.report.marks import legend_beside, named, show_range, whole_numbers
from onnxprune.report.seen import best_so_far, by_stage, structures_seen
from onnxprune.report.units import counted, score_label

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

ImageFormat = Literal["svg", "png"]
_MOST_NAMES = 40


@dataclass(frozen=True)
class Pictures:
    """Pictures of a run.

    Attributes:
        files: Those that were drawn.
        left_out: What could not be drawn, one line for each picture: which one, and why.
    """

    files: tuple[Path, ...]
    left_out: tuple[str, ...]


@dataclass(frozen=True)
class _Picture:
    """A picture, and what it misses.

    Attributes:
        name: Its file's, without the ending.
        draw: Draws it.
        missing: Says why there is none; empty: there is one.
        partly: Says what it leaves out; empty: nothing.
    """

    name: str
    draw: Callable[[Axes, History], None]
    missing: Callable[[History], str]
    partly: Callable[[History], str] = lambda _: ""


def plot_run(folder: Path, out: Path, image_format: ImageFormat = "svg") -> Pictures:
    """Draw a run's learning curve, its channels over time, its latency-accuracy front and its training.

    Args:
        folder: The run directory.
        out: Where the pictures go; made if it is missing.
        image_format: "svg" or "png".

    Returns:
        The files, and what was left out because the run has no figures for it.

    Raises:
        RunDirectoryError: The run cannot be read, or has nothing to draw.
        OutputError: The pictures cannot be written.
    """
    history = read_history(folder)
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RunDirectoryError(f"cannot make the folder '{out}': {error.strerror or error}") from error
    files, left_out = [], []
    for picture in _PICTURES:
        path = out / f"{picture.name}.{image_format}"
        if reason := picture.missing(history):
            left_out.append(f"no {path.name}: {reason}")
            continue
        files.append(_draw(history, picture.draw, path, image_format))
        if reason := picture.partly(history):
            left_out.append(f"{path.name} {reason}")
    return Pictures(tuple(files), tuple(left_out))


def _draw(history: History, draw: Callable[[Axes, History], None], path: Path, image_format: ImageFormat) -> Path:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    tall = draw is draw_channels
    height = max(4.5, 0.2 * min(len(history.groups), _MOST_NAMES) + 2) if tall else 4.5
    figure: Figure = Figure(figsize=(9, height))
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    draw(axes, history)
    figure.tight_layout()
    save_figure(figure, path, image_format)
    return path


def draw_channels(axes: Axes, history: History) -> None:
    """Share of its channels that each group keeps: of the best structure so far, and at each stage's end."""
    steps = [
        (stage[0] if best is None else best).units
        for stage in by_stage(structures_seen(history))
        for best in best_so_far(stage)
    ]
    # Wide enough to be seen beside hundreds of judgements.
    width = max(1, len(steps) // 20)
    taken = [tuple(s["units"]) for s in history.structures for _ in range(width)]
    picture = axes.imshow(
        (np.array(steps + taken) / history.units).T,
        aspect="auto",
        vmin=0,
        vmax=1,
        cmap="viridis",
        interpolation="nearest",
        extent=(0.5, len(steps) + len(taken) + 0.5, len(history.groups) - 0.5, -0.5),
    )
    if len(history.groups) <= _MOST_NAMES:
        names = [_short(name) for name in history.groups]
        axes.set_yticks(range(len(history.groups)), names, fontsize=6, parse_math=False)
    assert axes.figure is not None
    bar = axes.figure.colorbar(picture, ax=axes)
    bar.set_label("share of channels kept")
    _number_columns(axes, len(steps), width, [s["stage"] for s in history.structures])
    axes.set_ylabel("group")
    axes.set_title("Where the channels stay")


def _number_columns(axes: Axes, judged: int, width: int, stages: list[int]) -> None:
    """Count the structures judged below the axis, and name the stages that took one above it."""
    from matplotlib.ticker import MaxNLocator

    ticks = MaxNLocator(nbins=6, integer=True).tick_values(1, max(judged, 2))
    axes.set_xticks([tick for tick in ticks if 1 <= tick <= judged])
    axes.set_xlabel("structures judged (the best so far), then what each stage took" if judged else "")
    if not stages:
        return
    if judged:
        axes.axvline(judged + 0.5, color="white", linewidth=3)
    middles = [judged + 0.5 + width * (index + 0.5) for index in range(len(stages))]
    shown = named(len(stages))
    names = [f"stage {stages[index]}" for index in shown]
    top = axes.secondary_xaxis("top")
    top.set_xticks([middles[index] for index in shown], names, fontsize=6, rotation=90)


def draw_training(axes: Axes, history: History) -> None:
    """The metric on the validation part, epoch by epoch."""
    from matplotlib import colormaps

    shown = [(epoch["epoch"], epoch["val_metric"], epoch["stage"]) for epoch in history.epochs]
    stages = sorted({stage for _, value, stage in shown if value is not None})
    for index, stage in enumerate(stages):
        points = [(number, value) for number, value, of in shown if of == stage and value is not None]
        axes.plot(
            *zip(*points, strict=True),
            color=colormaps["viridis"](0.85 * index / max(len(stages) - 1, 1)),
            marker="o",
            markersize=4,
            # Curves that lie on each other are all seen.
            linewidth=1.5 + 3 * (len(stages) - 1 - index) / len(stages),
            label=f"stage {stage}" if index in named(len(stages)) else "_",
        )
    whole_numbers(axes)
    values = [value for _, value, _ in shown if value is not None]
    show_range(axes, min(values), max(values))
    axes.ticklabel_format(axis="y", useOffset=False)
    axes.set(
        xlabel="epoch of the stage (0: before training)",
        ylabel=score_label("metric on the validation part", history.metric),
    )
    axes.set_title("Training")
    legend_beside(axes)


def _nothing_judged(history: History) -> str:
    if structures_seen(history):
        return ""
    if history.evaluated:
        return f"none of {counted(len(history.evaluated), 'evaluation')} has a metric"
    return "no structure was judged"


def _nothing_kept(history: History) -> str:
    return "" if structures_seen(history) or history.structures else _nothing_judged(history)


def _no_cost(history: History) -> str:
    if on_front(history):
        return ""
    return _nothing_judged(history) or "of no structure that was judged is the cost logged"


def _unknown_costs(history: History) -> str:
    seen, shown = len(structures_seen(history)), len(on_front(history))
    return "" if shown == seen else f"shows {shown} of {counted(seen, 'structure')}: of the others no cost is logged"


def _nothing_trained(history: History) -> str:
    if any(epoch["val_metric"] is not None for epoch in history.epochs):
        return ""
    return "the epochs have no metric on a validation part" if history.epochs else "nothing was trained"


def _short(name: str) -> str:
    return name if len(name) <= 28 else "…" + name[-27:]


_PICTURES = (
    _Picture("learning", draw_learning, _nothing_judged),
    _Picture("channels", draw_channels, _nothing_kept),
    _Picture("front", draw_front, _no_cost, _unknown_costs),
    _Picture("training", draw_training, _nothing_trained),
)
