"""`profile`, and what later runs make of it, on a device that computes what it is asked."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import onnx
import pytest

from onnxprune import pipeline
from onnxprune.channels import analyse
from onnxprune.errors import DeviceError, OutputError
from onnxprune.graph import concrete_shapes, load, resolve_input_shapes
from onnxprune.journal import Journal
from onnxprune.latency import Device, LayerCosts, LayerSpec, MeasureOptions
from onnxprune.latency.fake import FakeDevice, FakeLayerTimer
from onnxprune.latency.surface import lines
from onnxprune.pipeline import Settings, run
from onnxprune.pipeline.replay import RecordedDevice
from onnxprune.search import parse_latency
from onnxprune.search.problem import layer_spec
from tests.cli.conftest import Run
from tests.cli.conftest import run as cli
from tests.pipeline.test_run import by_macs
from tests.report.conftest import small_cnn

__all__ = ["cli"]


class KeepingDevice(FakeDevice):
    """Keeps its table in a folder."""

    def __init__(self, folder: Path) -> None:
        super().__init__(by_macs)
        self.folder = folder
        self.timer = FakeLayerTimer(lambda s: -(-s.channels_in // 4) * -(-s.channels_out // 4) * 1e-2)

    def layer_costs(self, options: MeasureOptions) -> LayerCosts:  # noqa: ARG002
        return LayerCosts(self.timer, self.folder)


@pytest.fixture
def model(tmp_path: Path) -> Path:
    path = tmp_path / "cnn.onnx"
    onnx.save(small_cnn(), path)
    return path


@pytest.fixture
def devices(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[KeepingDevice]:
    """Gives every command a new device with one table, and returns those given."""
    given: list[KeepingDevice] = []

    @contextmanager
    def opened(*_: object) -> Iterator[Device]:
        given.append(KeepingDevice(tmp_path / "cache"))
        yield given[-1]

    monkeypatch.setattr("onnxprune.pipeline.profiling.opened", opened)
    return given


def specs_of(path: Path) -> set[LayerSpec]:
    model = load(path)
    shapes = concrete_shapes(model, resolve_input_shapes(model, None, 1))
    channels = analyse(model)
    return {spec for node in model.graph if (spec := layer_spec(node, shapes, channels)) is not None}


def test_a_second_profile_measures_no_layer_and_no_structure(model: Path, devices: list[KeepingDevice]) -> None:
    first, second = pipeline.profile(model), pipeline.profile(model)
    assert first.layers_known == 0
    assert first.points_measured == len(devices[0].timer.timed) > 0
    assert first.structures_measured == first.structures > 5
    assert devices[1].timer.timed == []
    assert "pruned" not in devices[1].measured
    assert (second.points_measured, second.structures_measured, second.structures) == (0, 0, first.structures)
    assert second.layers_known == len(second.layers)
    assert [layer.staircase_out for layer in second.layers] == [layer.staircase_out for layer in first.layers]


def test_prune_after_profile_measures_no_layer_but_those_of_the_result(
    model: Path, devices: list[KeepingDevice]
) -> None:
    pipeline.profile(model)
    profiled = set(devices[0].timer.timed)
    device = KeepingDevice(devices[0].folder)
    result = run(model, Settings(target=parse_latency("60%"), device=device))
    assert not set(device.timer.timed) & profiled
    assert set(device.timer.timed) <= specs_of(result.output)
    without = KeepingDevice(devices[0].folder / "other")
    run(model, Settings(target=parse_latency("60%"), device=without))
    assert len(without.timer.timed) > len(device.timer.timed)


def test_a_run_that_goes_on_sees_what_was_known_when_it_began(
    model: Path, devices: list[KeepingDevice], tmp_path: Path
) -> None:
    spec = max((s for s in specs_of(model) if not s.tied), key=lambda s: (s.channels_out, s.channels_in))
    (line,) = lines(spec, 4, 4)[1:]

    def known() -> list[int]:
        device = RecordedDevice(KeepingDevice(tmp_path / "cache"), Journal(tmp_path / "history.jsonl"))
        return device.layer_costs(MeasureOptions()).known_counts(line)

    before = known()
    pipeline.profile(model)
    assert KeepingDevice(tmp_path / "cache").layer_costs(MeasureOptions()).known_counts(line) != before
    assert known() == before


def test_another_model_with_the_same_layers_is_known(model: Path, devices: list[KeepingDevice]) -> None:
    pipeline.profile(model)
    other = small_cnn()
    for initializer in other.graph.initializer:
        values = onnx.numpy_helper.to_array(initializer)
        initializer.CopyFrom(onnx.numpy_helper.from_array(values * values.dtype.type(2), initializer.name))
    path = model.with_name("other.onnx")
    onnx.save(other, path)
    result = pipeline.profile(path)
    assert (result.points_measured, result.structures_measured) == (0, 0)


def test_figures_of_a_layer(model: Path, devices: list[KeepingDevice]) -> None:
    result = pipeline.profile(model)
    for layer in result.layers:
        assert layer.full_ms == dict(layer.staircase_out or layer.staircase_in).get(layer.channels[1], layer.full_ms)
        assert layer.half_ms is not None
        assert layer.full_ms is not None
        assert 0 < layer.half_ms <= layer.full_ms
        counts = [count for count, _ in layer.staircase_in]
        assert counts == sorted(set(counts))
        assert counts[-1] == layer.channels[0]


def test_a_staircase_has_what_was_measured_between_its_steps(model: Path, devices: list[KeepingDevice]) -> None:
    (depthwise,) = (layer for layer in pipeline.profile(model).layers if layer.tied)
    assert depthwise.step_in == 8
    assert {8, 16, 24} < {count for count, _ in depthwise.staircase_in}
    timed = {spec.channels_in for spec in devices[0].timer.timed if spec.tied}
    assert {count for count, _ in depthwise.staircase_in} == timed


def test_a_budget_leaves_layers_out_and_says_so(model: Path, devices: list[KeepingDevice]) -> None:
    result = pipeline.profile(model, budget=1e-9)
    assert not result.finished
    assert any(layer.step_out is None for layer in result.layers)
    assert pipeline.profile(model).finished


def test_a_budget_of_nothing_is_refused(model: Path) -> None:
    with pytest.raises(DeviceError, match="budget must be a time above 0"):
        pipeline.profile(model, budget=0)


def test_the_command_prints_a_table_or_json_and_draws(
    cli: Run,
    model: Path,
    devices: list[KeepingDevice],
    tmp_path: Path,
) -> None:
    told = cli("profile", model, "--plot", tmp_path / "stairs.svg")
    assert told.exit_code == 0, told.output
    assert "step out" in told.stdout
    assert "of device time" in told.stdout
    assert (tmp_path / "stairs.svg").read_text().count("<svg") == 1
    again = json.loads(cli("profile", model, "--json", "-q").stdout)
    assert again["points_measured"] == 0
    assert again["device"]["name"] == "fake"


def test_a_profile_that_cannot_be_kept_says_so(
    cli: Run, model: Path, devices: list[KeepingDevice], tmp_path: Path
) -> None:
    (tmp_path / "cache").write_text("no folder")
    told = cli("profile", model)
    assert told.exit_code == 0, told.output
    assert "kept in" not in told.stdout
    warned = " ".join(told.stderr.split())
    assert "Warning: what was measured is not kept: " in warned
    assert "set ONNXPRUNE_CACHE to a folder that can" in warned
    assert json.loads(cli("profile", model, "--json", "-q").stdout)["table"] is None


@pytest.mark.parametrize("name", ["stairs.jpg", "stairs"])
def test_a_picture_that_cannot_be_drawn_is_refused_before_measuring(
    model: Path, devices: list[KeepingDevice], name: str
) -> None:
    with pytest.raises(OutputError, match=r"ends in \.svg or \.png"):
        pipeline.profile(model, plot=name)
    assert devices == []
