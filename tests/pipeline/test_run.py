"""Whole runs as a library user makes them: what is reached, reported, warned of and written."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import onnx
import pytest

import onnxprune
from onnxprune.errors import DataError, DeviceError, MaxDropExceededError, TargetError, TargetOutOfReachError
from onnxprune.graph import graph_cost, load
from onnxprune.latency import Feeds, LatencyStats, LayerCosts, MeasureOptions, ModelSource, summarise
from onnxprune.latency.device import Progress
from onnxprune.latency.fake import FakeDevice
from onnxprune.pipeline import Settings, run
from onnxprune.progress import Observer
from onnxprune.report import Report
from onnxprune.search import SearchConfig, parse_count, parse_latency, ratio_target
from onnxprune.training import DistillConfig
from tests.report.conftest import small_cnn


@pytest.fixture
def model(tmp_path: Path) -> Path:
    path = tmp_path / "cnn.onnx"
    onnx.save(small_cnn(), path)
    return path


def pictures(count: int = 64) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    return rng.standard_normal((count, 3, 8, 8)).astype(np.float32), rng.integers(0, 10, count)


def by_macs(name: str, source: ModelSource) -> float:
    """A device whose latency is a microsecond for a thousand multiply-accumulates."""
    del name
    if isinstance(source, bytes):
        shapes = {i.name: tuple(i.dims) for i in onnx.load_from_string(source).graph.initializer}
    else:
        shapes = {i.name: tuple(i.dims) for i in onnx.load(source).graph.initializer}
    convolutions = sum(int(np.prod(shape)) for name, shape in shapes.items() if len(shape) == 4)
    return convolutions * 64e-6


class Listening(Observer):
    """Remembers what it is told."""

    def __init__(self) -> None:
        self.stages: list[str] = []
        self.warnings: list[str] = []

    def stage(self, name: str, total: int | None = None) -> None:  # noqa: ARG002
        self.stages.append(name)

    def advance(self, steps: int = 1, *, note: str | None = None) -> None: ...

    def warn(self, message: str) -> None:
        self.warnings.append(message)


@pytest.mark.parametrize(("of_the_result", "warned"), [(1.2, 1), (1.0, 0), (0.5, 0)])
def test_a_result_that_is_slower_than_the_original_is_told(model: Path, of_the_result: float, warned: int) -> None:
    device = FakeDevice(lambda name, _: of_the_result if name == "pruned" else 1.0)
    report = run(model, Settings(target=parse_count("60%"), device=device, round_to=1)).report
    assert sum("slower than the original, 1.2 ms against 1 ms" in text for text in report.warnings) == warned


@pytest.mark.parametrize("ratio", [0.1, 0.2, 0.3, 0.4, 0.6, 0.7, 0.8, 0.9])
@pytest.mark.parametrize("allocation", ["uniform", "global"])
def test_a_share_of_the_channels_goes_and_no_more_than_it(tmp_path: Path, allocation: str, ratio: float) -> None:
    proto = onnx.parser.parse_model("""
        <ir_version: 8, opset_import: ["" : 17]>
        net (float[1, 3, 4, 4] x) => (float[1, 5, 4, 4] y) {
            a = Conv(x, first)
            b = Conv(a, second)
            y = Conv(b, last)
        }""")
    for name, shape in (("first", (10, 3, 1, 1)), ("second", (20, 10, 1, 1)), ("last", (5, 20, 1, 1))):
        array = np.random.default_rng(0).standard_normal(shape).astype(np.float32)
        proto.graph.initializer.append(onnx.numpy_helper.from_array(array, name))
    onnx.save(proto, tmp_path / "net.onnx")
    told = Settings(target=ratio_target(ratio), allocation=allocation, device=FakeDevice(by_macs), round_to=1)
    report = run(tmp_path / "net.onnx", told).report
    assert report.target.achieved == pytest.approx(ratio)


@pytest.mark.parametrize("allocation", ["uniform", "global"])
@pytest.mark.parametrize("target", ["70%", "40%"])
def test_a_latency_target_is_met_and_not_far_undercut(model: Path, target: str, allocation: str) -> None:
    settings = Settings(
        target=parse_latency(target),
        device=FakeDevice(by_macs, layer_ms=lambda s: s.channels_in * s.channels_out * 576e-6),
        allocation=allocation,  # type: ignore[arg-type]
        round_to=1,
    )
    report = run(model, settings).report
    share = report.after.latency.p50_ms / report.before.latency.p50_ms
    assert 0.9 * float(target[:-1]) / 100 <= share <= float(target[:-1]) / 100
    assert report.target.achieved == pytest.approx(report.after.latency.p50_ms, rel=1e-3)
    assert report.search
    assert [probe.macs for probe in report.search if probe.delivered] in ([report.after.macs], [])


def test_groups_with_more_outputs_than_inputs_go_whole(tmp_path: Path) -> None:
    proto = onnx.parser.parse_model("""
        <ir_version: 8, opset_import: ["": 17]>
        net (float[1, 3, 16, 16] x) => (float[1, 5, 16, 16] y) {
            a = Conv(x, first)
            b = Conv<group = 48, kernel_shape = [3, 3], pads = [1, 1, 1, 1]>(a, each)
            y = Conv(b, last)
        }""")
    rng = np.random.default_rng(0)
    for name, shape in (("first", (48, 3, 1, 1)), ("each", (96, 1, 3, 3)), ("last", (5, 96, 1, 1))):
        array = rng.standard_normal(shape).astype(np.float32)
        proto.graph.initializer.append(onnx.numpy_helper.from_array(array, name))
    onnx.save(proto, tmp_path / "net.onnx")
    report = onnxprune.prune(tmp_path / "net.onnx", ratio=0.3).report
    assert report.after.macs < 0.8 * report.before.macs


class Erratic(FakeDevice):
    """A device on which no session is like the other."""

    def measure(
        self,
        models: Mapping[str, ModelSource],
        feeds: Mapping[str, Feeds],  # noqa: ARG002
        options: MeasureOptions,
        on_progress: Progress | None = None,  # noqa: ARG002
    ) -> dict[str, LatencyStats]:
        rng = np.random.default_rng(0)
        return {name: summarise(rng.lognormal(0, 2, (options.sessions, 1)).tolist()) for name in models}


def test_a_device_that_is_too_noisy_is_refused_with_its_spread(model: Path) -> None:
    device = Erratic(by_macs)
    with pytest.raises(DeviceError, match=r"'fake' is too noisy to measure: after 20 sessions .* differ by \d+%"):
        run(model, Settings(target=parse_latency("50%"), device=device))
    # Where no latency is asked for, the figures are doubted only.
    report = run(model, Settings(target=parse_count("50%", "macs"), device=device, round_to=1)).report
    (doubt,) = [warning for warning in report.warnings if warning.startswith("sessions on 'fake' differ by ")]
    assert report.after.latency is not None
    low, high = report.after.latency.ci95_ms
    told = re.search(r"known to within (\d+)% either side only", doubt)
    assert told is not None
    assert int(told[1]) >= round((high - low) / report.after.latency.p50_ms * 50) > 5


def test_out_of_reach_writes_nothing(model: Path) -> None:
    with pytest.raises(TargetOutOfReachError, match="smallest network that pruning gives"):
        run(model, Settings(target=parse_latency("1%"), device=FakeDevice(by_macs)))
    assert [p.name for p in model.parent.iterdir()] == ["cnn.onnx"]


@pytest.mark.slow
def test_labelled_data_trains_and_judges(model: Path) -> None:
    x, y = pictures()
    result = onnxprune.compress(
        model, target_macs="60%", data=(x, y), epochs=2, batch_size=16, round_to=1, preprocess="none"
    )
    report = result.report
    assert result.output == model.with_name("cnn.pruned.onnx")
    assert report.before.metric is not None
    assert report.after.metric is not None
    assert report.before.metric.name == "top-1"
    assert report.training is not None
    assert [epoch.epoch for epoch in report.training.epochs] == [0, 1, 2]
    assert report.export_check is not None
    assert report.export_check.relative_error < 1e-4
    assert graph_cost(load(result.output)).macs == report.after.macs <= 0.6 * report.before.macs


def test_outputs_that_prove_nothing_are_warned_of(tmp_path: Path) -> None:
    proto = onnx.parser.parse_model("""<ir_version: 8, opset_import: ["": 17]>
        net (float[2, 3, 4, 4] x) => (float[2, 5, 4, 4] y) {
            a = Conv(x, w)
            s = Sigmoid(a)
            n = Neg(s)
            r = Relu(n)
            y = Conv(r, v)
        }""")
    rng = np.random.default_rng(0)
    for name, shape in {"w": (8, 3, 1, 1), "v": (5, 8, 1, 1)}.items():
        weight = rng.standard_normal(shape).astype(np.float32)
        proto.graph.initializer.append(onnx.numpy_helper.from_array(weight, name))
    onnx.save(proto, tmp_path / "net.onnx")
    report = onnxprune.prune(tmp_path / "net.onnx", target_macs="60%", allocation="uniform", round_to=1).report
    (warning,) = [warning for warning in report.warnings if "says nothing" in warning]
    assert "output 'y'" in warning
    assert "value 'n' before it was compared" in warning


@pytest.mark.slow
def test_without_data_it_says_what_the_figures_are_worth(model: Path) -> None:
    observer = Listening()
    report = onnxprune.compress(model, target_macs="60%", epochs=1, round_to=1, observer=observer).report
    assert any("random" in warning for warning in observer.warnings)
    assert tuple(observer.warnings) == report.warnings
    assert {"distilling", "measuring the result"} <= {step.name for step in report.steps} <= set(observer.stages)
    assert 0.9 * report.duration_s < sum(step.seconds for step in report.steps) <= report.duration_s
    assert report.after.metric is not None
    assert report.after.metric.synthetic


@pytest.mark.slow
def test_the_same_seed_gives_the_same_network(model: Path, tmp_path: Path) -> None:
    x, _ = pictures()
    for name in ("a.onnx", "b.onnx"):
        onnxprune.compress(
            model, target_params="50%", data=x, epochs=1, batch_size=16, round_to=1, seed=3, output=tmp_path / name
        )
    assert (tmp_path / "a.onnx").read_bytes() == (tmp_path / "b.onnx").read_bytes()


@pytest.mark.slow
def test_a_network_that_only_says_it_takes_one_sample_is_trained_in_batches(tmp_path: Path) -> None:
    path = tmp_path / "fixed.onnx"
    onnx.save(small_cnn(batch="1"), path)
    report = onnxprune.compress(path, target_macs="60%", data=pictures(40)[0], epochs=1, round_to=1).report
    assert report.training is not None
    assert report.training.steps == 8


def test_a_drop_beyond_the_limit_is_delivered_as_rejected(model: Path) -> None:
    x, _ = pictures()
    with pytest.raises(MaxDropExceededError, match="fell by") as caught:
        onnxprune.prune(model, target_macs="20%", data=x, round_to=1, max_drop=0.0, importance="l1")
    assert caught.value.exit_code == 4
    assert isinstance(caught.value.report, Report)
    assert caught.value.report.output.path.endswith("cnn.pruned.rejected.onnx")
    assert sorted(p.name for p in model.parent.iterdir()) == ["cnn.onnx", "cnn.pruned.rejected.onnx"]


@pytest.mark.parametrize("target", [{"target_macs": "50%"}, {"target_params": "50%"}, {"ratio": 0.4}])
def test_an_agent_keeps_the_budget_and_logs_what_it_judged(model: Path, target: dict[str, str]) -> None:
    x, _ = pictures(200)
    report = onnxprune.prune(
        model, data=x, heal=True, allocation="rl", search_budget=12, round_to=1, importance="l1", **target
    ).report
    reached = report.target
    assert reached.achieved >= reached.value if "ratio" in target else reached.achieved <= reached.value
    assert report.learning is not None
    assert report.learning.agent == "rl"
    judged = report.learning.judged
    assert [j.source for j in judged[:2]] == ["global", "uniform"]
    assert 2 < len(judged) <= 12
    chosen = tuple(group.channels_after for group in report.groups)
    whole = sorted((j for j in judged if j.samples == judged[0].samples), key=lambda j: -j.reward)
    assert chosen in {j.channels for j in whole[:6]} | {j.channels for j in judged[:2]}
    assert all(j.cost == pytest.approx(reached.achieved) for j in judged if j.channels == chosen)


def test_an_agent_meets_a_latency(model: Path) -> None:
    settings = Settings(
        target=parse_latency("50%"),
        device=FakeDevice(by_macs, layer_ms=lambda s: s.channels_in * s.channels_out * 576e-6),
        data=pictures(200)[0],
        allocation="rl",
        search=SearchConfig(evaluations=10),
        round_to=1,
        heal=True,
    )
    report = run(model, settings).report
    assert 0.4 <= report.after.latency.p50_ms / report.before.latency.p50_ms <= 0.5
    # What channels cost is counted by MACs there, and told in ms.
    assert report.learning is not None
    assert all(0 < judged.cost < report.before.latency.p50_ms for judged in report.learning.judged)


def test_healing_brings_the_outputs_back_without_training(model: Path) -> None:
    x, _ = pictures(300)
    errors = {}
    for heal in (False, True):
        metric = onnxprune.prune(
            model, target_macs="60%", data=x, heal=heal, round_to=1, importance="l1"
        ).report.after.metric
        assert metric is not None
        errors[heal] = metric.errors[0]
    assert errors[True] < errors[False]


def test_an_agent_and_healing_need_samples(model: Path) -> None:
    with pytest.raises(DataError, match="give data"):
        onnxprune.prune(model, target_macs="60%", allocation="rl")
    with pytest.raises(DataError, match="give data"):
        onnxprune.prune(model, target_macs="60%", heal=True)
    assert [p.name for p in model.parent.iterdir()] == ["cnn.onnx"]


def test_exactly_one_target(model: Path) -> None:
    with pytest.raises(TargetError, match="exactly one target, not none"):
        onnxprune.compress(model)
    with pytest.raises(TargetError, match="not latency and macs"):
        onnxprune.compress(model, target_latency="1ms", target_macs="50%")


def test_settings_of_the_run_select_what_training_gets(model: Path) -> None:
    x, _ = pictures()
    settings = Settings(
        target=parse_latency("80%"),
        device=FakeDevice(by_macs),
        data=x,
        val=x[:10],
        test=x[10:30],
        training=DistillConfig(epochs=1, batch_size=16),
        round_to=1,
    )
    report = run(model, settings).report
    assert report.after.metric is not None
    assert report.after.metric.samples == 20


def test_a_run_opens_the_table_of_layers_once(model: Path) -> None:
    class Counting(FakeDevice):
        opened = 0

        def layer_costs(self, options: MeasureOptions) -> LayerCosts:
            self.opened += 1
            return super().layer_costs(options)

    device = Counting(by_macs, layer_ms=lambda spec: spec.channels_in * spec.channels_out * 1e-6)
    run(model, Settings(target=parse_latency("60%"), device=device, training=None, allocation="global"))
    assert device.opened == 1


@pytest.mark.parametrize(
    ("inputs", "samples"), [("float[4, 16] x", 7), ("float[4, 16] x", 3), ("float s, float[n, 16] x", 0)]
)
def test_few_samples_and_inputs_without_axes(tmp_path: Path, inputs: str, samples: int) -> None:
    rng = np.random.default_rng(0)
    scaled = "a = Mul (x, s)" if "s," in inputs else "a = Identity (x)"
    proto = onnx.parser.parse_model(
        f"""<ir_version: 8, opset_import: ["" : 17]>
        net ({inputs}) => (float[m, 4] y) {{ {scaled}
            b = Gemm <transB = 1> (a, w1, b1)
            c = Relu (b)
            y = Gemm <transB = 1> (c, w2, b2) }}"""
    )
    for name, shape in {"w1": (32, 16), "b1": (32,), "w2": (4, 32), "b2": (4,)}.items():
        array = rng.standard_normal(shape).astype(np.float32)
        proto.graph.initializer.append(onnx.numpy_helper.from_array(array, name))
    onnx.save(proto, tmp_path / "net.onnx")
    data = {"data": rng.standard_normal((samples, 16)).astype(np.float32), "heal": True} if samples else {}
    report = onnxprune.prune(tmp_path / "net.onnx", ratio=0.5, round_to=1, **data).report
    assert report.after.macs < report.before.macs
