"""Networks too large for bytes are opened from a file: with the same results, and nothing left behind."""

from __future__ import annotations

import errno
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest

import onnxprune
from onnxprune.channels import prune, verify
from onnxprune.channels.running import run_model
from onnxprune.errors import OutputError
from onnxprune.graph import random_inputs, session_source, source
from onnxprune.healing import collect_moments, open_values
from onnxprune.importance import score_units
from onnxprune.latency import MeasureOptions, ModelSource, predictor
from onnxprune.latency.fake import FakeDevice
from onnxprune.pipeline.judging import HealedJudge, Subjects, candidate_healer, healing_batches
from onnxprune.pipeline.measuring import Bench, measure_models
from onnxprune.pipeline.prepare import Network, read_network
from onnxprune.pipeline.training import final_healer
from onnxprune.progress import SilentObserver
from onnxprune.torch_bridge import compare, to_torch
from onnxprune.training import DataSplits, open_data
from tests.residual import residual_cnn

COUNTS = np.array([6, 4, 6])


@pytest.fixture
def network(tmp_path: Path) -> Network:
    onnx.save(residual_cnn(), tmp_path / "residual.onnx")
    return read_network(tmp_path / "residual.onnx", None, 1)


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


def by_file(monkeypatch: pytest.MonkeyPatch) -> None:
    """From here on every network is a large one, and most of its weights are external data."""
    monkeypatch.setattr(source, "_FILE_BYTES", 0)
    # The package has a function of the same name.
    monkeypatch.setattr(sys.modules["onnxprune.graph.save"], "_LEAST_BESIDE", 64)
    monkeypatch.setattr(source, "to_bytes", lambda _: pytest.fail("bytes were made of a large model"))


def samples(network: Network) -> DataSplits:
    x = np.random.default_rng(0).standard_normal((200, 3, 8, 8)).astype(np.float32)
    return open_data(x, network.inputs, network.input_shapes, None, 0)


def values(network: Network) -> list[np.ndarray]:
    """What is looked at inside of the network."""
    (batch,) = list(samples(network).val.subset(8, 0).batches(8))
    return list(open_values(network.model, ["a", "i"])(batch.inputs).values())


def moments(network: Network) -> list[np.ndarray]:
    found = collect_moments(network.model, healing_batches(network, samples(network).train, 0))
    return [moment.covariance for moment in found.values()]


def scores(network: Network) -> list[np.ndarray]:
    batches = list(samples(network).train.batches(16, drop_last=True))
    return [score_units("reconstruction", network.model, network.channels, calibration=batches)]


def judged(network: Network) -> list[np.ndarray]:
    """Rewards of a candidate, and of it healed to the end."""
    data = samples(network)
    heal, finish = candidate_healer(network, data.train, 0), final_healer(network, data.train, 0)
    subject = HealedJudge(Subjects(network, np.arange(network.channels.unit_count), data.val, heal, finish=finish))
    verdicts = subject.judge(COUNTS, subject.looks[-1]), subject.confirm(COUNTS)
    return [np.array([verdict.reward for verdict in verdicts])]


def compared(network: Network) -> list[np.ndarray]:
    feeds = random_inputs(network.model, network.input_shapes, 0)
    return [np.array(compare(to_torch(network.model), network.model, feeds).max_abs)]


def verified(network: Network) -> list[np.ndarray]:
    keep = np.arange(network.channels.unit_count) % 4 > 0
    pruned = prune(network.model, network.channels, keep)
    return [np.array(verify(network.model, network.channels, keep, pruned).relative_error)]


def run(network: Network) -> list[np.ndarray]:
    feeds = random_inputs(network.model, network.input_shapes, 0)
    return [*run_model(network.model, feeds, ["e", "scores"]), *predictor(network.model)(tuple(feeds.values()))]


@pytest.mark.parametrize("step", [values, moments, scores, judged, compared, verified, run])
def test_results_are_those_by_bytes(
    step: Callable[[Network], list[np.ndarray]], network: Network, temporary: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted = step(network)
    by_file(monkeypatch)
    for want, got in zip(wanted, step(network), strict=True):
        np.testing.assert_array_equal(want, got)
    assert not list(temporary.iterdir())


@pytest.mark.slow
@pytest.mark.parametrize("training", [False, True])
def test_so_are_whole_runs(
    training: bool, network: Network, temporary: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """With training in stages, and a teacher that is chosen by the validation part."""
    rng = np.random.default_rng(0)
    np.savez(
        tmp_path / "data.npz", x=rng.standard_normal((120, 3, 8, 8)).astype(np.float32), y=rng.integers(0, 10, 120)
    )

    def made() -> bytes:
        data = tmp_path / "data.npz"
        if not training:
            return onnxprune.prune(network.path, ratio=0.3, data=data, heal=True, round_to=1).output.read_bytes()
        stages = {"stages": 2, "teacher": "better", "epochs": 2, "batch_size": 16, "search_budget": 4}
        return onnxprune.compress(network.path, target_macs="50%", data=data, round_to=1, **stages).output.read_bytes()

    wanted = made()
    by_file(monkeypatch)
    assert made() == wanted
    assert not list(temporary.iterdir())


def test_measured_files_stay_while_they_are_measured(
    network: Network, temporary: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[ModelSource] = []

    def latency_ms(name: str, source: ModelSource) -> float:
        assert isinstance(source, Path)
        assert source.name == f"{name}.onnx"
        assert source.exists()
        seen.append(source)
        return 1.0

    by_file(monkeypatch)
    bench = Bench(FakeDevice(latency_ms), MeasureOptions(), SilentObserver())
    assert measure_models(network, {"a": network.model, "b": network.model}, bench)["b"].p50_ms == 1.0
    assert len(set(seen)) == 2
    assert not list(temporary.iterdir())


def test_a_session_outlives_its_file(network: Network, temporary: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import onnxruntime

    feeds = random_inputs(network.model, network.input_shapes, 0)
    (wanted,) = predictor(network.path)(tuple(feeds.values()))
    by_file(monkeypatch)
    with session_source(network.model) as opened:
        sessions = [onnxruntime.InferenceSession(opened, providers=["CPUExecutionProvider"]) for _ in range(2)]
    assert not list(temporary.iterdir())
    for session in sessions:
        np.testing.assert_array_equal(session.run(None, feeds)[0], wanted)


@pytest.mark.parametrize("step", [values, judged, compared, verified])
def test_a_full_disk_is_named(
    step: Callable[[Network], list[np.ndarray]], network: Network, temporary: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*arguments: object, **options: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    by_file(monkeypatch)
    monkeypatch.setattr("onnx_ir.save", full)
    with pytest.raises(OutputError, match="the disk is full; set TMPDIR to a folder with room"):
        step(network)
    assert not list(temporary.iterdir())
