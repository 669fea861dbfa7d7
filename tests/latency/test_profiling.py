from __future__ import annotations

from pathlib import Path

import pytest

from onnxprune.latency import LayerCosts, LayerSpec
from onnxprune.latency.fake import FakeLayerTimer
from onnxprune.latency.profiling import LayerProfiler

CONV = LayerSpec("Conv", 64, 256, size=(14, 14), kernel=(3, 3), pads=(1, 1, 1, 1))
DEPTHWISE = LayerSpec("Conv", 96, 96, size=(14, 14), kernel=(3, 3), pads=(1, 1, 1, 1), width=1)


def stairs_ms(spec: LayerSpec) -> float:
    """Blocks of 16, and half as much again from 176 output channels on."""
    blocks = -(-spec.channels_in // 16) * -(-spec.channels_out // 16) * 1e-3
    return blocks * (1.5 if spec.channels_out > 160 else 1.0)


def profiler(timer: FakeLayerTimer, folder: Path, budget_s: float | None = None) -> tuple[LayerProfiler, LayerCosts]:
    table = LayerCosts(timer, folder)
    made = LayerProfiler(table, [CONV, DEPTHWISE, CONV], budget_s)
    made.probe()
    made.refine()
    table.save()
    return made, table


def test_counts_are_measured_where_the_cost_jumps(tmp_path: Path) -> None:
    timer = FakeLayerTimer(stairs_ms)
    made, table = profiler(timer, tmp_path)
    conv = made.results()[0]
    assert (conv.step_in, conv.step_out) == (16, 16)
    counts = set(table.known_counts(conv.lines[1]))
    assert {160, 176} <= counts
    assert len(counts) < 256 // 16
    cost_ms = conv.cost_ms(table)
    for count in range(1, 257):
        assert cost_ms(64, count) == pytest.approx(stairs_ms(CONV.at(64, count)), rel=0.04)
        assert cost_ms(32, count) == pytest.approx(stairs_ms(CONV.at(32, count)), rel=0.04)


def test_a_second_profile_measures_nothing(tmp_path: Path) -> None:
    profiler(FakeLayerTimer(stairs_ms), tmp_path)
    timer = FakeLayerTimer(stairs_ms)
    made, table = profiler(timer, tmp_path)
    assert timer.timed == []
    assert table.measured_points == 0
    assert all(layer.known for layer in made.results())


def test_no_layer_is_measured_twice(tmp_path: Path) -> None:
    timer = FakeLayerTimer(stairs_ms)
    made, table = profiler(timer, tmp_path)
    assert len(timer.timed) == len(set(timer.timed)) == table.measured_points
    assert [layer.spec for layer in made.results()] == [CONV, DEPTHWISE]
    assert made.copies(CONV) == 2
    assert sum(layer.measured for layer in made.results()) == table.measured_points


def test_a_spent_budget_ends_it_and_the_next_profile_goes_on(tmp_path: Path) -> None:
    timer = FakeLayerTimer(stairs_ms)
    made, _ = profiler(timer, tmp_path, budget_s=0.0)
    assert made.spent
    assert timer.timed == []
    assert [layer.step_out for layer in made.results()] == [None, None]
    made, _ = profiler(timer, tmp_path)
    assert not made.spent
    assert made.results()[0].step_out == 16


def test_a_profile_makes_a_search_measure_nothing(tmp_path: Path) -> None:
    profiler(FakeLayerTimer(stairs_ms), tmp_path)
    timer = FakeLayerTimer(stairs_ms)
    table = LayerCosts(timer, tmp_path)
    for spec in (CONV, DEPTHWISE):
        cost_ms = table.surface(spec, table.granule(spec, "in"), table.granule(spec, "out"))
        for count in range(1, spec.channels_out + 1):
            cost_ms(spec.channels_in, count)
    assert timer.timed == []


def test_structures_are_kept_by_network(tmp_path: Path) -> None:
    table = LayerCosts(FakeLayerTimer(stairs_ms), tmp_path)
    table.keep_structure("one", [3, 4], 0.5)
    table.keep_structure("two", [3, 4], 0.7)
    table.save()
    later = LayerCosts(FakeLayerTimer(stairs_ms), tmp_path)
    assert later.structures("one") == [((3, 4), 0.5)]
    assert later.structures("other") == []
