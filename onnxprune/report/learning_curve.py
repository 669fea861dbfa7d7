"""The learning curve: how good every structure was, in the order of judging."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from onnxprune.report.history import History
from onnxprune.report.marks import (
    BEST,
    Mark,
    legend_beside,
    lowest_shown,
    mark_structures,
    named,
    show_range,
    whole_numbers,
)
from onnxprune.report.seen import best_so_far, by_stage, structures_seen
from onnxprune.report.units import score_label

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def draw_learning(axes: Axes, history: History) -> None:
    """Draw the score of every structure in the order of judging, and the best so far of each stage."""
    stages = by_stage(structures_seen(history))
    order = [seen for stage in stages for seen in stage]
    low = lowest_shown([seen.score for seen in order])
    mark_structures(axes, [Mark(seen, number, seen.score) for number, seen in enumerate(order, start=1)], low)
    axes.plot([], [], color=BEST, label="best so far" if len(stages) == 1 else "best so far of the stage")
    first = 1
    for index, stage in enumerate(stages):
        best = [np.nan if seen is None else seen.score for seen in best_so_far(stage)]
        axes.step(np.arange(first, first + len(stage)), best, where="post", color=BEST, linewidth=1.2)
        if len(stages) > 1 and index in named(len(stages)):
            _separate(axes, first, stage[0].stage)
        first += len(stage)
    show_range(axes, low, max(seen.score for seen in order))
    whole_numbers(axes)
    axes.ticklabel_format(axis="y", useOffset=False)
    score = "reward (points)" if history.judged else score_label("metric on the evaluation samples", history.metric)
    axes.set(xlabel="structures judged", ylabel=score)
    axes.set_title("Learning curve", pad=18 if len(stages) > 1 else None)
    legend_beside(axes)


def _separate(axes: Axes, first: int, number: int) -> None:
    if first > 1:
        axes.axvline(first - 0.5, color="grey", linestyle=":", linewidth=1)
    where = axes.get_xaxis_transform()
    axes.text(first - 0.5, 1.01, f"stage {number}", transform=where, fontsize="small", color="grey", va="bottom")
