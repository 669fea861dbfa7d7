import pytest

from onnxprune.latency import LayerSpec, MeasureOptions
from onnxprune.latency.fake import FakeDevice

OPTIONS = MeasureOptions(sessions=3, min_runs=5)
SOURCES = {"small": b"12", "large": b"12345678"}
FEEDS: dict[str, dict[str, object]] = {"small": {}, "large": {}}


def test_latency_is_the_function_of_the_model() -> None:
    device = FakeDevice(lambda _, source: float(len(source)))  # type: ignore[arg-type]
    result = device.measure(SOURCES, FEEDS, OPTIONS)  # type: ignore[arg-type]
    assert {name: stats.p50_ms for name, stats in result.items()} == {"small": 2.0, "large": 8.0}
    assert result["small"].sessions == 3
    assert device.measured == ["small", "large"]


def test_noise_is_the_same_for_the_same_seed() -> None:
    first, second = (
        FakeDevice(lambda *_: 10.0, noise=0.1, seed=4).measure(SOURCES, FEEDS, OPTIONS)  # type: ignore[arg-type]
        for _ in range(2)
    )
    assert first == second
    assert first["small"].spread > 0


def test_layer_costs_leave_no_file(tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:  # type: ignore[no-untyped-def]
    monkeypatch.setenv("ONNXPRUNE_CACHE", str(tmp_path))
    costs = FakeDevice(lambda *_: 1.0, layer_ms=lambda spec: float(spec.channels_out)).layer_costs(OPTIONS)
    assert costs.cost_ms(LayerSpec("MatMul", 3, 7)) == 7.0
    costs.save()
    assert list(tmp_path.iterdir()) == []
