"""The front: what accuracy costs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from onnxprune.report.history import History
from onnxprune.report.marks import (
    BEST,
    CHOSEN,
    Mark,
    legend_beside,
    lowest_shown,
    mark_structures,
    named,
    show_range,
)
from onnxprune.report.seen import Chosen, Seen, structures_chosen, structures_seen, unbeaten
from onnxprune.report.units import Scale, cost_scale, score_label
from onnxprune.search.target import UNITS

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_NARROW = 0.15
_FEW = 8
_ROOM = 0.05


def on_front(history: History) -> list[Seen]:
    """Return the structures whose cost is known."""
    return [seen for seen in structures_seen(history) if seen.cost is not None]


def draw_front(axes: Axes, history: History) -> None:
    """Draw metric against cost of everything judged, the front that nothing beats in both, the choice, the original."""
    seen = on_front(history)
    chosen = structures_chosen(history, seen)
    scale = cost_scale(history.unit, max(history.cost, *_costs(seen, chosen)))
    low = min([lowest_shown([s.metric for s in seen]), *(c.metric for c in chosen if c.metric is not None)])
    _mark_all(axes, history, scale, low)
    _mark_original(axes, history, [s.metric for s in seen if _is_original(s, history)], scale)
    if unknown := len(structures_seen(history)) - len(seen):
        axes.plot([], [], " ", label=f"not shown: {unknown},\nwhose cost is not logged")
    axes.margins(x=0.12)
    show_range(axes, low, max([s.metric for s in seen] + [c.metric for c in chosen if c.metric is not None]))
    axes.ticklabel_format(useOffset=False)
    axes.set(xlabel=_cost_label(history, scale), ylabel=score_label("metric on the evaluation samples", history.metric))
    axes.set_title("What accuracy costs")
    legend_beside(axes)
    costs = _costs([s for s in seen if not _is_original(s, history)], chosen)
    if costs and 0 < max(costs) - min(costs) < _NARROW * max(abs(history.cost - cost) for cost in costs):
        _enlarge(axes, history, scale, (min(costs) / scale.divisor, max(costs) / scale.divisor), low)


def _mark_all(axes: Axes, history: History, scale: Scale, low: float) -> None:
    seen = on_front(history)
    pruned = [(s, s.cost) for s in seen if s.cost is not None and not _is_original(s, history)]
    mark_structures(axes, [Mark(s, cost / scale.divisor, s.metric) for s, cost in pruned], low)
    predicted = _is_predicted(history)
    points = [(cost / scale.divisor, metric) for cost, metric in unbeaten(seen, history.unit)]
    _mark_front(axes, points, "front, predicted: nothing\n" if predicted else "front: nothing\n")
    _mark_chosen(axes, structures_chosen(history, seen), scale, "chosen, measured" if predicted else "chosen")


def _mark_front(axes: Axes, points: Sequence[tuple[float, float]], name: str) -> None:
    if points:
        xs, ys = zip(*points, strict=True)
        axes.step(xs, ys, where="post", color=BEST, linewidth=1.2)
        axes.plot(xs, ys, "o", markersize=11, fillstyle="none", color=BEST, zorder=5)
        axes.plot([], [], "-o", fillstyle="none", color=BEST, label=f"{name}is better and cheaper")


def _mark_chosen(axes: Axes, chosen: Sequence[Chosen], scale: Scale, name: str) -> None:
    """Draw what stages took: a star, hollow and on the lower edge where only its cost is known."""
    numbered = {chosen[index].stage for index in named(len(chosen))} if len(chosen) > 1 else set()
    labelled: set[bool] = set()
    for one in chosen:
        known = one.metric is not None
        label = f"{name},\nbefore training" if known else f"{name}, fitted later:\nmetric not logged"
        at = (one.cost / scale.divisor, 0.04 if one.metric is None else one.metric)
        where = axes.transData if known else axes.get_xaxis_transform()
        axes.plot(
            *at,
            "*",
            color=CHOSEN,
            markersize=14 if len(chosen) <= _FEW else 8,
            fillstyle="full" if known else "none",
            zorder=6,
            transform=where,
            label="_" if known in labelled else label,
        )
        labelled.add(known)
        if one.stage in numbered:
            axes.annotate(
                f"stage {one.stage}",
                at,
                (9, -11 if known else 1),
                xycoords=where,
                textcoords="offset points",
                fontsize="small",
                color=CHOSEN,
                bbox={"facecolor": "white", "edgecolor": "none", "alpha": 0.7, "pad": 0.5},
                zorder=7,
            )


def _mark_original(axes: Axes, history: History, metrics: Sequence[float], scale: Scale) -> None:
    """Draw the original: a point where its metric is known, else a line at its cost."""
    cost = history.cost / scale.divisor
    label = f"original: {cost:.3g} {scale.unit}"
    if metrics:
        axes.plot(cost, metrics[0], "s", color=BEST, markersize=7, label=label, zorder=6)
    else:
        axes.axvline(cost, color="grey", linestyle="--", linewidth=1.2, label=label)


def _enlarge(axes: Axes, history: History, scale: Scale, costs: tuple[float, float], lowest: float) -> None:
    """Show what lies close together once more, wider, in the empty space between it and the original."""
    low, high = costs
    towards_right = history.cost / scale.divisor > high
    inset = axes.inset_axes((0.27 if towards_right else 0.13, 0.2, 0.58, 0.6))
    _mark_all(inset, history, scale, lowest)
    inset.set_xlim(low - _ROOM * (high - low), high + 2 * _ROOM * (high - low))
    inset.set_ylim(*axes.get_ylim())
    inset.ticklabel_format(useOffset=False)
    inset.locator_params(axis="x", nbins=4)
    inset.tick_params(labelsize=7)
    inset.set_title("the same, enlarged", fontsize="small")


def _costs(seen: Sequence[Seen], chosen: Sequence[Chosen]) -> list[float]:
    return [*(one.cost for one in seen if one.cost is not None), *(one.cost for one in chosen)]


def _is_original(seen: Seen, history: History) -> bool:
    return seen.units == tuple(history.units.tolist())


def _cost_label(history: History, scale: Scale) -> str:
    if history.unit != UNITS["latency"]:
        return f"cost ({scale.unit})"
    return f"latency ({scale.unit})" + ": predicted, but of the chosen measured" * _is_predicted(history)


def _is_predicted(history: History) -> bool:
    """Say whether costs of structures that were not chosen are predictions."""
    return history.unit == UNITS["latency"] and bool(history.judged or history.sampled)
