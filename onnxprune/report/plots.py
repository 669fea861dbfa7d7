"""Pictures of a run: how it learned, where it pruned, and what accuracy costs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from onnxprune.errors import RunDirectoryError
from onnxprune.report.figure_files import save_figure
from onnxprune.report.history import History, read_history
from onnxprune.report.units import score_label
from onnxprune.search.target import REMOVED

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

ImageFormat = Literal["svg", "png"]
# Okabe and Ito's colours, which colour-blind readers can tell apart.
_COLOURS = {"global": "#0072B2", "uniform": "#E69F00", "rl": "#009E73", "random": "#CC79A7"}
_OTHER, _BEST, _CHOSEN = "#56B4E9", "#000000", "#D55E00"
_MOST_NAMES = 40


def plot_run(folder: Path, out: Path, image_format: ImageFormat = "svg") -> list[Path]:
    """Draw a run's learning curve, its channels over time, its latency-accuracy front and its training.

    Args:
        folder: The run directory.
        out: Where the pictures go; made if it is missing.
        image_format: "svg" or "png".

    Returns:
        The files; a picture that the run has no figures for is left out.

    Raises:
        RunDirectoryError: The run cannot be read, or has nothing to draw.
        OutputError: The pictures cannot be written.
    """
    history = read_history(folder)
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RunDirectoryError(f"cannot make the folder '{out}': {error.strerror or error}") from error
    drawings: list[tuple[str, Callable[[Axes, History], None], Sequence[Any]]] = [
        ("learning", _learning, history.judged),
        ("channels", _channels, history.judged or history.structures),
        ("front", _front, history.judged),
        ("training", _training, history.epochs),
    ]
    return [
        _draw(history, draw, out / f"{name}.{image_format}", image_format)
        for name, draw, figures in drawings
        if figures
    ]


def _draw(history: History, draw: Callable[[Axes, History], None], path: Path, image_format: ImageFormat) -> Path:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    tall = draw is _channels
    figure: Figure = Figure(figsize=(8, max(4.5, 0.2 * min(len(history.groups), _MOST_NAMES) + 2) if tall else 4.5))
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    draw(axes, history)
    figure.tight_layout()
    save_figure(figure, path, image_format)
    return path


def _learning(axes: Axes, history: History) -> None:
    """Reward of every structure in the order of judging, and the best so far of each stage."""
    _by_source(axes, history, lambda position, judged: (position, judged["reward"]))
    position = 0
    for stage in _stages(history):
        whole = max(j["samples"] for j in stage)
        best = np.maximum.accumulate([j["reward"] if j["samples"] == whole else -np.inf for j in stage])
        axes.step(np.arange(position, position + len(stage)), best, where="post", color=_BEST, linewidth=1.2)
        if position:
            axes.axvline(position - 0.5, color="grey", linestyle=":", linewidth=1)
        position += len(stage)
    axes.plot([], [], color=_BEST, label="best so far")
    rewards = [j["reward"] for j in history.judged]
    axes.set_ylim(np.percentile(rewards, 10) - 2, max(rewards) + 1)
    axes.set(xlabel="structures judged", ylabel="reward (points)", title="Learning curve")
    axes.legend(fontsize="small")


def _channels(axes: Axes, history: History) -> None:
    """Share of its channels that each group keeps: of the best structure so far, and at each stage's end."""
    columns = [_best_so_far(stage) for stage in _stages(history)]
    steps = [counts for column in columns for counts in column]
    # Wide enough to be seen beside hundreds of judgements.
    width = max(1, len(steps) // 20)
    taken = [np.array(s["units"]) for s in history.structures for _ in range(width)]
    units = np.array(steps + taken)
    picture = axes.imshow(
        (units / history.units).T, aspect="auto", vmin=0, vmax=1, cmap="viridis", interpolation="nearest"
    )
    if len(history.groups) <= _MOST_NAMES:
        axes.set_yticks(range(len(history.groups)), [_short(name) for name in history.groups], fontsize=6)
    assert axes.figure is not None
    bar = axes.figure.colorbar(picture, ax=axes)
    bar.set_label("share of channels kept")
    axes.set(xlabel="structures judged (best so far), then what each stage took", ylabel="group")
    axes.set_title("Where the channels stay")


def _front(axes: Axes, history: History) -> None:
    """Metric against cost of everything judged, the front of those that nothing beats in both, and the choice."""
    _by_source(axes, history, lambda _, judged: (judged["predicted_cost"], judged["metric"]))
    axes.step(*zip(*_unbeaten(history), strict=True), where="post", color=_BEST, linewidth=1.2, label="front")
    for stage in history.structures:
        judged = [j for j in history.judged if j["units"] == stage["units"] and j["stage"] == stage["stage"]]
        if judged:
            best_judged = max(judged, key=lambda j: int(j["samples"]))
            axes.plot(best_judged["predicted_cost"], best_judged["metric"], "*", color=_CHOSEN, markersize=14)
    axes.plot([], [], "*", color=_CHOSEN, label="chosen")
    axes.set(
        xlabel=f"predicted cost ({history.unit})",
        ylabel=score_label("metric on the evaluation samples", history.metric),
    )
    # Nothing is removed of the original, which goes without saying.
    original = "" if history.unit == REMOVED else f" (the original: {history.cost:.4g} {history.unit})"
    axes.set_title(f"What accuracy costs{original}")
    axes.legend(fontsize="small")


def _unbeaten(history: History) -> list[tuple[float, float]]:
    """Return cost and metric of what nothing judged beats in both, the smallest structure first."""
    sign = -1 if history.unit == REMOVED else 1
    front, best = [], -np.inf
    for cost, negative in sorted((sign * j["predicted_cost"], -j["metric"]) for j in history.judged):
        if -negative > best:
            best = -negative
            front.append((sign * cost, best))
    return front


def _training(axes: Axes, history: History) -> None:
    """The metric on the validation part, epoch by epoch."""
    shown = [(epoch["epoch"], epoch["val_metric"], epoch["stage"]) for epoch in history.epochs]
    for stage in sorted({stage for _, _, stage in shown}):
        points = [(number, value) for number, value, of in shown if of == stage and value is not None]
        if points:
            axes.plot(*zip(*points, strict=True), marker="o", markersize=3, label=f"stage {stage}")
    axes.set(
        xlabel="epoch (0: healed, before training)", ylabel=score_label("metric on the validation part", history.metric)
    )
    axes.set_title("Training")
    axes.legend(fontsize="small")


def _by_source(axes: Axes, history: History, place: Callable[[int, Mapping[str, Any]], tuple[float, float]]) -> None:
    for source in dict.fromkeys(j["source"] for j in history.judged):
        points = [place(i, j) for i, j in enumerate(history.judged) if j["source"] == source]
        plain = source in ("global", "uniform")
        axes.scatter(
            [x for x, _ in points],
            [y for _, y in points],
            s=50 if plain else 14,
            marker="D" if plain else "o",
            color=_COLOURS.get(source, _OTHER),
            label=source,
            zorder=3 if plain else 2,
        )


def _stages(history: History) -> list[list[Mapping[str, Any]]]:
    numbers = sorted({j["stage"] for j in history.judged})
    return [[j for j in history.judged if j["stage"] == number] for number in numbers]


def _best_so_far(stage: Sequence[Mapping[str, Any]]) -> list[np.ndarray]:
    whole, best, columns = max(j["samples"] for j in stage), -np.inf, []
    counts = np.array(stage[0]["units"])
    for judged in stage:
        if judged["samples"] == whole and judged["reward"] > best:
            best, counts = judged["reward"], np.array(judged["units"])
        columns.append(counts)
    return columns


def _short(name: str) -> str:
    return name if len(name) <= 28 else "…" + name[-27:]
