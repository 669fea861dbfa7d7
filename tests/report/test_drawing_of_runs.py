"""What the pictures of a run show, told from their axes."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from onnxprune.report.front import draw_front
from onnxprune.report.history import History, read_history
from onnxprune.report.learning_curve import draw_learning
from onnxprune.report.plots import draw_channels, draw_training
from tests.report.test_seen import evaluated, judged, took

Draw = Callable[..., Axes]
EPOCHS = [{"kind": "epoch", "stage": 1, "epoch": epoch, "val_metric": 90.0 + epoch} for epoch in range(3)]


@pytest.fixture
def drawn(tmp_path: Path) -> Draw:
    """Draws a run of a network of 8 units, from lines of its history."""

    def draw(picture: Callable[[Axes, History], None], *lines: dict[str, Any], unit: str = "MACs") -> Axes:
        cost = {"MACs": 8e6, "ms": 8.0}[unit]
        network = {"kind": "network", "groups": [{"name": "conv", "units": 8}], "cost": cost, "unit": unit}
        looks = [{"kind": "looks", "stage": stage, "samples": [15, 60]} for stage in (1, 2)]
        (tmp_path / "history.jsonl").write_text("".join(json.dumps(line) + "\n" for line in [network, *looks, *lines]))
        figure = Figure()
        canvas = FigureCanvasAgg(figure)
        axes = figure.subplots()
        picture(axes, read_history(tmp_path))
        canvas.draw()
        return axes

    return draw


def legend(axes: Axes) -> list[str]:
    found = axes.get_legend()
    assert found is not None
    return [text.get_text().replace("\n", " ") for text in found.get_texts()]


def texts(axes: Axes) -> list[str]:
    return [text.get_text() for text in axes.texts]


def stars(axes: Axes) -> list[tuple[float, float]]:
    lines = [line for line in axes.lines if line.get_marker() == "*" and len(line.get_xdata())]
    return [(float(line.get_xdata()[0]), float(line.get_ydata()[0])) for line in lines]


@pytest.mark.parametrize("picture", [draw_learning, draw_front])
def test_first_looks_are_hollow_and_named(drawn: Draw, picture: Callable[[Axes, History], None]) -> None:
    axes = drawn(picture, judged(4, 90), judged(3, 100, samples=15))
    assert "first look only (15 of 60 samples)" in legend(axes)
    hollow = [dots for dots in axes.collections if not len(dots.get_facecolor())]
    assert [len(dots.get_offsets()) for dots in hollow] == [1]


def test_a_run_without_first_looks_does_not_name_them(drawn: Draw) -> None:
    assert not any("first look" in entry for entry in legend(drawn(draw_learning, judged(4, 90), judged(3, 80))))


def test_the_front_counts_in_units_that_people_read(drawn: Draw) -> None:
    axes = drawn(draw_front, judged(4, 90))
    assert axes.get_xlabel() == "cost (M MACs)"
    assert "original: 8 M MACs" in legend(axes)
    assert axes.get_title() == "What accuracy costs"


def test_predicted_latencies_are_called_so(drawn: Draw) -> None:
    axes = drawn(draw_front, {**judged(4, 90), "predicted_cost": 4.0}, took(4, 3.8), unit="ms")
    assert axes.get_xlabel() == "latency (ms): predicted, but of the chosen measured"
    assert stars(axes) == [(3.8, 90)]


def test_measured_latencies_are_not_called_predicted(drawn: Draw) -> None:
    axes = drawn(draw_front, evaluated(8, 99), evaluated(4, 90), took(4, 3.8), unit="ms")
    assert axes.get_xlabel() == "latency (ms)"


def test_what_stages_took_is_numbered(drawn: Draw) -> None:
    lines = [judged(5, 95), took(5, 5e6), judged(3, 92, stage=2), took(3, 3e6, stage=2)]
    axes = drawn(draw_front, *lines)
    assert stars(axes) == [(5, 95), (3, 92)]
    assert texts(axes) == ["stage 1", "stage 2"]
    assert texts(drawn(draw_front, *lines[:2])) == []


def test_what_was_fitted_after_judging_is_on_the_lower_edge(drawn: Draw) -> None:
    axes = drawn(draw_front, judged(5, 95), took(4, 4.2e6))
    assert [x for x, _ in stars(axes)] == [4.2]
    assert "chosen, fitted later: metric not logged" in legend(axes)


def test_the_original_is_a_point_where_its_metric_is_known(drawn: Draw) -> None:
    def squares(axes: Axes) -> list[tuple[float, float]]:
        lines = [line for line in axes.lines if line.get_marker() == "s"]
        return [(float(line.get_xdata()[0]), float(line.get_ydata()[0])) for line in lines]

    assert squares(drawn(draw_front, evaluated(8, 99), evaluated(4, 90), took(4, 4e6))) == [(8, 99)]
    assert squares(drawn(draw_front, judged(4, 90))) == []


def test_costs_that_are_not_logged_are_said(drawn: Draw) -> None:
    axes = drawn(draw_front, evaluated(8, 99), evaluated(5, 95), evaluated(4, 90), took(4, 4e6))
    assert "not shown: 1, whose cost is not logged" in legend(axes)


def test_samples_of_rl_pruner_have_their_cost(drawn: Draw) -> None:
    sample = {"kind": "sample", "stage": 1, "units": [5], "predicted_cost": 5.2}
    axes = drawn(draw_front, evaluated(8, 99), evaluated(5, 95), sample, evaluated(4, 90), took(4, 3.9), unit="ms")
    assert not any("not shown" in entry for entry in legend(axes))
    assert axes.get_xlabel() == "latency (ms): predicted, but of the chosen measured"
    assert (5.2, 95) in [tuple(point) for dots in axes.collections for point in dots.get_offsets()]


def test_structures_of_nearly_one_cost_are_shown_enlarged(drawn: Draw) -> None:
    near = [{**judged(4, 90 + place), "predicted_cost": 4e6 + 1e4 * place} for place in range(3)]
    (inset,) = drawn(draw_front, *near).child_axes
    low, high = inset.get_xlim()
    assert 3.9 < low < 4
    assert 4.02 < high < 4.1
    assert not drawn(draw_front, judged(4, 90), judged(6, 95)).child_axes


def test_what_lies_below_the_axis_is_counted(drawn: Draw) -> None:
    axes = drawn(draw_learning, *(judged(4, 90 + place) for place in range(19)), judged(3, -500))
    assert "1 below the axis (the lowest: -501)" in legend(axes)
    low, _ = axes.get_ylim()
    # The lowest that is shown is whole.
    assert 85 < low < 89


def test_nothing_is_cut_where_it_squeezes_nothing(drawn: Draw) -> None:
    axes = drawn(draw_learning, *(judged(4, 90 + place) for place in range(19)), judged(3, 80))
    assert axes.get_ylim()[0] < 79
    assert not any("below" in entry for entry in legend(axes))


def test_few_structures_are_all_shown(drawn: Draw) -> None:
    assert drawn(draw_learning, judged(4, 90), judged(5, 91), judged(3, 20)).get_ylim()[0] < 19


def test_values_that_are_all_equal_have_an_axis(drawn: Draw) -> None:
    assert drawn(draw_learning, judged(4, 90), judged(5, 90)).get_ylim() == (88, 90)


@pytest.mark.parametrize("picture", [draw_learning, draw_channels, draw_training])
def test_structures_and_epochs_are_counted_in_whole_numbers(
    drawn: Draw, picture: Callable[[Axes, History], None]
) -> None:
    axes = drawn(picture, judged(4, 90), judged(5, 91), took(5, 5e6), *EPOCHS)
    low, high = axes.get_xlim()
    ticks = [tick for tick in axes.get_xticks() if low <= tick <= high]
    assert len(ticks) > 1
    assert all(float(tick).is_integer() for tick in ticks)


def test_the_learning_curve_of_evaluations_names_what_it_draws(drawn: Draw) -> None:
    lines = [evaluated(8, 99), evaluated(5, 95), took(5, 5e6), evaluated(5, 97, stage=2), evaluated(4, 96, stage=2)]
    axes = drawn(draw_learning, *lines)
    assert axes.get_ylabel() == "metric on the evaluation samples (%)"
    assert texts(axes) == ["stage 1", "stage 2"]
    assert legend(axes) == ["what a stage begins with", "sampled", "best so far of the stage"]


def test_of_many_stages_some_are_named_the_last_among_them(drawn: Draw) -> None:
    lines = [evaluated(8 - stage % 8, 90 + stage, stage=stage) for stage in range(1, 41)]
    found = texts(drawn(draw_learning, *lines))
    assert len(found) <= 8
    assert found[-1] == "stage 40"
