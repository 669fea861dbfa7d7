"""Whole runs that end in int8: the target holds for the integers, and every step is judged."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

import onnxprune
from onnxprune.errors import (
    DataError,
    DeviceError,
    QuantisedModelError,
    TargetError,
    TargetOutOfReachError,
    UnsupportedModelError,
)
from onnxprune.graph import is_quantised, load
from onnxprune.latency import LatencyStats, LayerCosts, LayerSpec, ModelSource, summarise
from onnxprune.latency.fake import FakeDevice
from onnxprune.pipeline import Settings, run
from onnxprune.pipeline.preview import make_preview
from onnxprune.report import read_report
from onnxprune.search import RlPrunerConfig, Target, parse_latency
from onnxprune.training import DistillConfig
from tests.formats.conversion import cast_weights, quantise
from tests.pipeline.test_run import Erratic
from tests.report.conftest import small_cnn


@pytest.fixture
def model(tmp_path: Path) -> Path:
    onnx.save(small_cnn(), tmp_path / "cnn.onnx")
    return tmp_path / "cnn.onnx"


@pytest.fixture
def data(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    x = rng.standard_normal((80, 3, 8, 8)).astype(np.float32)
    np.savez(tmp_path / "data.npz", x=x, y=rng.integers(0, 10, 80))
    return tmp_path / "data.npz"


def device(int8: float) -> FakeDevice:
    """A device on which a network takes a time for its weights, and in int8 a share of that."""

    def latency_ms(name: str, source: ModelSource) -> float:
        del name
        proto = onnx.load_from_string(source) if isinstance(source, bytes) else onnx.load(source)
        weights = [t for t in proto.graph.initializer if len(t.dims) == 4]
        share = int8 if weights[0].data_type == onnx.TensorProto.INT8 else 1.0
        return share * sum(int(np.prod(t.dims)) for t in weights) * 64e-6

    def layer_ms(spec: LayerSpec) -> float:
        return spec.channels_in * spec.channels_out * 576e-6 * (int8 if spec.dtype == "int8" else 1.0)

    return FakeDevice(latency_ms, layer_ms=layer_ms)


def settings(target: Target, data: Path, int8: float) -> Settings:
    training = DistillConfig(epochs=1, batch_size=16)
    where = device(int8)
    return Settings(
        target=target,
        data=data,
        device=where,
        training=training,
        quantize="int8",
        heal=True,
        allocation="global",
        round_to=1,
    )


def test_the_quantised_network_meets_the_target(model: Path, data: Path) -> None:
    result = run(model, settings(parse_latency("35%"), data, int8=0.5))
    report = result.report
    assert is_quantised(load(result.output))
    share = report.after.latency.p50_ms / report.before.latency.p50_ms
    assert 0.3 <= share <= 0.35
    # In int8 the original takes half; what is left to do for pruning is 70 %.
    assert report.after.macs > 0.6 * report.before.macs
    assert report.quantisation is not None
    versions = {version.name: version for version in report.quantisation.versions}
    assert list(versions) == ["original", "original in int8", "pruned", "healed", "trained", "result"]
    assert all(version.metric is not None for version in versions.values())
    assert versions["original in int8"].p50_ms == pytest.approx(0.5 * versions["original"].p50_ms, rel=1e-2)
    assert versions["result"].p50_ms == pytest.approx(0.5 * versions["pruned"].p50_ms, rel=1e-2)
    assert report.after.metric == versions["result"].metric


def test_what_was_not_healed_is_no_step(model: Path, data: Path) -> None:
    report = run(model, replace(settings(parse_latency("35%"), data, int8=0.5), heal=False)).report
    assert report.quantisation is not None
    names = [version.name for version in report.quantisation.versions]
    assert names == ["original", "original in int8", "pruned", "trained", "result"]


def test_layers_are_timed_in_int8(model: Path, data: Path) -> None:
    where, timed = device(0.5), []
    table = where.layer_costs
    where.layer_costs = lambda options: _noting(table(options), timed)  # type: ignore[method-assign]
    done = run(model, replace(settings(parse_latency("35%"), data, int8=0.5), device=where, round_to=None))
    assert {spec.dtype for spec in timed[:3]} == {"int8"}
    stairs = [(layer, step) for layer in done.report.layers for step in layer.staircase if layer.name != "depthwise"]
    assert stairs
    for layer, (count, ms) in stairs:
        share = count / layer.channels_before[1]
        assert ms == pytest.approx(0.5 * share * layer.before_ms, abs=1e-4)


def _noting(table: LayerCosts, timed: list[LayerSpec]) -> LayerCosts:
    make = table.cost_ms
    table.cost_ms = lambda spec: timed.append(spec) or make(spec)  # type: ignore[method-assign,func-returns-value]
    return table


@pytest.mark.parametrize("allocation", ["uniform", "rl-pruner"])
@pytest.mark.parametrize("int8", [0.5, 0.596])
def test_int8_alone_may_be_enough(model: Path, data: Path, int8: float, allocation: Any) -> None:
    told = replace(settings(parse_latency("60%"), data, int8=int8), allocation=allocation)
    report = run(model, told).report
    assert isinstance(told.device, FakeDevice)
    # Before, once to confirm (twice where it is close), and at the end.
    assert told.device.measured.count("original") == (3 if int8 < 0.55 else 4)
    assert report.after.macs == report.before.macs
    assert report.training is None
    assert any("int8 alone meets the target" in warning for warning in report.warnings)


@pytest.mark.parametrize("act", [run, make_preview])
def test_a_target_out_of_reach_names_the_latency_of_both_formats(
    model: Path, data: Path, act: Callable[[Path, Settings], object]
) -> None:
    whole = r"the original has 0\.26\d* ms \(0\.13\d* ms in int8\)"
    with pytest.raises(TargetOutOfReachError, match=whole + r", and the smallest .* has 0\.004\d* ms \(2%\)"):
        act(model, settings(parse_latency("0.5%"), data, int8=0.5))


def test_a_share_is_one_of_the_float_original_for_rl_pruner_too(model: Path, data: Path) -> None:
    told = replace(settings(parse_latency("40%"), data, int8=0.5), allocation="rl-pruner")
    report = run(model, replace(told, rl_pruner=RlPrunerConfig(share=0.05, rounds=1, samples=2))).report
    assert 0.3 < report.after.latency.p50_ms / report.before.latency.p50_ms <= 0.4


def test_int8_alone_is_measured_again_where_noise_misses_the_target(model: Path, data: Path) -> None:
    told = settings(parse_latency("60%"), data, int8=0.59)
    where = told.device
    measure, asked = where.measure, []

    def disturbed_once(models: Any, feeds: Any, options: Any, on_progress: Any = None) -> dict[str, LatencyStats]:
        asked.append(models)
        found = measure(models, feeds, options, on_progress)
        return found if len(asked) != 2 else {n: summarise([[0.27 if n != "original" else 0.26]]) for n in found}

    where.measure = disturbed_once  # type: ignore[method-assign]
    report = run(model, replace(told, device=where)).report
    assert report.after.macs == report.before.macs


def test_int8_that_meets_the_target_by_a_hair_is_pruned_and_trained(model: Path, data: Path) -> None:
    report = run(model, settings(parse_latency("60%"), data, int8=0.5999)).report
    assert report.after.macs < report.before.macs
    assert report.training is not None


def test_a_device_that_is_too_noisy_is_refused(model: Path, data: Path) -> None:
    noisy = replace(settings(parse_latency("60%"), data, int8=0.5), device=Erratic(lambda *_: 1.0))
    with pytest.raises(DeviceError, match="too noisy to measure"):
        run(model, noisy)


def test_a_device_on_which_int8_does_not_pay_is_named_with_figures(model: Path, data: Path) -> None:
    report = run(model, settings(parse_latency("80%"), data, int8=1.2)).report
    assert report.after.latency.p50_ms <= 0.8 * report.before.latency.p50_ms
    assert any("int8 does not pay on this device" in warning for warning in report.warnings)
    assert any("int8 is slower than float for the structure" in warning for warning in report.warnings)


def test_what_cannot_be_quantised_is_refused(model: Path, data: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="--data"):
        onnxprune.compress(model, target_macs="70%", quantize="int8", output=tmp_path / "out.onnx")
    onnx.save(cast_weights(small_cnn(), onnx.TensorProto.FLOAT16), tmp_path / "half.onnx")
    with pytest.raises(UnsupportedModelError, match="half precision"):
        onnxprune.compress(tmp_path / "half.onnx", target_macs="70%", quantize="int8", data=data)
    quantise(model, tmp_path / "int8.onnx", np.load(data)["x"], per_channel=True)
    with pytest.raises(QuantisedModelError, match="quantised already"):
        onnxprune.compress(tmp_path / "int8.onnx", target_macs="70%", quantize="int8", data=data)
    with pytest.raises(TargetError, match="--target-params"):
        onnxprune.compress(model, target_size="70%", quantize="int8", data=data)


def test_a_run_killed_while_it_quantises_ends_the_same(model: Path, data: Path, tmp_path: Path) -> None:
    output, folder = tmp_path / "out.onnx", tmp_path / "run"
    told = {"target_macs": "60%", "round_to": 1, "epochs": 1, "data": data, "quantize": "int8", "allocation": "uniform"}
    onnxprune.compress(model, output=output, run_dir=folder, **told)
    content = output.read_bytes()
    metrics = [v.metric for v in read_report(folder / "report.json").quantisation.versions]
    for file in (output, folder / "int8.onnx", folder / "report.json"):
        file.unlink()
    again = onnxprune.compress(model, output=output, run_dir=folder, resume=True, **told).report
    assert output.read_bytes() == content
    assert [v.metric for v in again.quantisation.versions] == metrics
