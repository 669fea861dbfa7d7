from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest

from onnxprune.errors import DeviceError
from onnxprune.latency import LocalDevice, MeasureOptions, local, predictor
from tests.latency.models import FEEDS, one_op

SHORT = MeasureOptions(sessions=3, warmup=2, min_runs=7, session_ms=0.0)


class Bench:
    """Sessions that only note their runs, and a clock that they advance."""

    def __init__(self, run_ms: Mapping[str, float]) -> None:
        self.run_ms = run_ms
        self.now_s = 0.0
        self.opened: list[str] = []
        self.runs: list[str] = []

    def device(self) -> LocalDevice:
        return LocalDevice(self.open, lambda: self.now_s)

    def open(self, name: str, *_: object) -> "BenchSession":
        self.opened.append(name)
        return BenchSession(self, name)


class BenchSession:
    def __init__(self, bench: Bench, name: str) -> None:
        self.bench = bench
        self.name = name

    def run(self, _: object) -> None:
        self.bench.runs.append(self.name)
        self.bench.now_s += self.bench.run_ms[self.name] / 1e3


def test_a_real_model_gives_the_samples_asked_for(tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    path.write_bytes(one_op())
    result = LocalDevice().measure({"file": path, "bytes": one_op()}, {"file": FEEDS, "bytes": FEEDS}, SHORT)
    assert list(result) == ["file", "bytes"]
    for stats in result.values():
        assert [len(samples) for samples in stats.samples_ms] == [7, 7, 7]
        assert 0 < stats.p50_ms <= max(max(samples) for samples in stats.samples_ms)


def test_models_take_turns_within_each_session() -> None:
    bench = Bench({"a": 1.0, "b": 2.0})
    options = MeasureOptions(sessions=1, warmup=1, min_runs=10, session_ms=0.0)
    bench.device().measure({"a": b"", "b": b""}, {"a": {}, "b": {}}, options)
    turns = "".join(bench.runs)
    # Warm-up of both; then twice five timed runs each, every turn behind a run that is not timed.
    assert turns == "ab" + ("a" * 6 + "b" * 6) * 2


def test_every_session_is_fresh_and_the_order_changes() -> None:
    bench = Bench({"a": 1.0, "b": 2.0})
    bench.device().measure({"a": b"", "b": b""}, {"a": {}, "b": {}}, SHORT)
    assert bench.opened == ["a", "b", "b", "a", "a", "b"]


def test_latencies_are_those_of_the_clock() -> None:
    bench = Bench({"a": 1.0, "b": 2.5})
    result = bench.device().measure({"a": b"", "b": b""}, {"a": {}, "b": {}}, SHORT)
    assert result["a"].p50_ms == pytest.approx(1.0)
    assert result["b"].p50_ms == pytest.approx(2.5)


@pytest.mark.parametrize(("run_ms", "runs"), [(1.0, 50), (20.0, 10), (0.1, 300)])
def test_a_session_lasts_its_time_within_the_limits_of_runs(run_ms: float, runs: int) -> None:
    bench = Bench({"a": run_ms})
    options = MeasureOptions(sessions=1, warmup=0, min_runs=10, max_runs=300, session_ms=49.99)
    result = bench.device().measure({"a": b""}, {"a": {}}, options)
    assert result["a"].runs == runs


def test_progress_counts_sessions_of_models() -> None:
    seen: list[tuple[int, int]] = []
    bench = Bench({"a": 1.0, "b": 1.0})
    bench.device().measure({"a": b"", "b": b""}, {"a": {}, "b": {}}, SHORT, lambda *step: seen.append(step))
    assert seen == [(2, 6), (4, 6), (6, 6)]


def test_a_model_that_cannot_be_loaded_is_named(tmp_path: Path) -> None:
    with pytest.raises(DeviceError, match=r"cannot load model 'odd' on CPUExecutionProvider: .*NoSuchOp"):
        LocalDevice().measure({"odd": one_op("NoSuchOp")}, {"odd": FEEDS}, SHORT)
    with pytest.raises(DeviceError, match="model 'lost' cannot be measured: there is no file"):
        LocalDevice().measure({"lost": tmp_path / "none.onnx"}, {"lost": FEEDS}, SHORT)


def test_inputs_that_do_not_fit_name_the_model() -> None:
    feeds = {"x": np.ones((1, 5), np.float32)}
    with pytest.raises(DeviceError, match="cannot run model 'small'"):
        LocalDevice().measure({"small": one_op()}, {"small": feeds}, SHORT)
    with pytest.raises(DeviceError, match="no inputs were given for model 'small'"):
        LocalDevice().measure({"small": one_op()}, {}, SHORT)


def test_a_machine_that_throttles_is_said_to_once(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = {**dict.fromkeys(["others_s", "mhz", "limit_mhz", "full_mhz"]), "celsius": 91.0, "elapsed_s": 1.0}

    class Hot:
        def stop(self) -> dict[str, object]:
            return {**seen, "throttle_events": 3, "held_back": 0, "firmware_flags": 0}

    monkeypatch.setattr("onnxprune.latency.local.Watch", Hot)
    device = Bench({"a": 1.0}).device()
    device.measure({"a": b""}, {"a": {}}, SHORT)
    (note,) = device.take_notes()
    assert note.startswith("this machine throttled while it measured (its CPU throttled) at 91 °C")
    device.measure({"a": b""}, {"a": {}}, SHORT)
    assert device.take_notes() == ()
    assert device.conditions == {"celsius": 91.0, "throttled": True}


def test_the_fingerprint_tells_threads_and_versions_apart() -> None:
    device = LocalDevice()
    one, two = device.fingerprint(MeasureOptions()), device.fingerprint(MeasureOptions(threads=2))
    assert one != two
    assert {"cpu", "onnxruntime", "provider", "threads"} <= set(one)


def test_predictor_returns_the_outputs() -> None:
    run = predictor(one_op(), threads=1)
    (y,) = run((np.array([[-1, 0, 1, 2]], np.float32),))
    np.testing.assert_array_equal(y, [[0, 0, 1, 2]])
    with pytest.raises(DeviceError, match="cannot run"):
        run((np.ones((1, 5), np.float32),))
    with pytest.raises(DeviceError, match="cannot load"):
        predictor(b"no model")


def test_nodes_that_fall_back_are_looked_for_in_every_model(monkeypatch: pytest.MonkeyPatch) -> None:
    own, cpu = "XnnpackExecutionProvider", "CPUExecutionProvider"
    nodes = {"a": {own: {"Conv": 2}, cpu: {"Gemm": 1}}, "b": {cpu: {"Resize": 4}}}
    monkeypatch.setattr(local, "require_provider", lambda name: name)
    monkeypatch.setattr(local, "Session", lambda name, *_, **__: name)
    monkeypatch.setattr(local, "nodes_by_provider", lambda session, _: nodes[session])
    device, options = Bench({"a": 1.0, "b": 1.0}).device(), MeasureOptions(provider="xnnpack", sessions=1)
    for _ in range(2):
        device.measure({"a": b"", "b": b""}, {"a": {}, "b": {}}, options)
    first, second = device.take_notes()
    assert first.startswith("model 'a': 1 of 3 nodes do not run on XnnpackExecutionProvider but fall back")
    assert second.startswith("model 'b': 4 of 4 nodes do not run on XnnpackExecutionProvider")
