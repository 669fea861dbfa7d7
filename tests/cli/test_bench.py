"""`onnxprune bench` from the command line: on this machine, and on a fake device where the figures must be known."""

from __future__ import annotations

import json
from pathlib import Path

import onnx
import pytest

from onnxprune.errors import DeviceError
from onnxprune.latency.fake import FakeDevice
from onnxprune.latency.inside import PeakMemory
from onnxprune.report import BenchResult
from tests.cli.conftest import Fake, Run, parsed


def test_everything_on_this_machine(run: Run, model: Path, tmp_path: Path) -> None:
    result = run("bench", model, "--sessions", "2", "--per-layer", "--batch", "3")
    assert result.exit_code == 0, result.output
    for heading in ("p50", "95 % CI of p50", "p99", "throughput", "load", "peak memory", "MACs", "layers of", "share"):
        assert heading in result.stdout
    assert "\x1b" not in result.output
    found = parsed(
        run("bench", model, "--sessions", "2", "--per-layer", "--batch", "3", "--json", "--report", tmp_path / "r.json")
    )
    assert BenchResult.model_validate_json((tmp_path / "r.json").read_text()) == found
    (benched,) = found.models
    assert (found.device.batch, benched.samples) == (3, 3)
    assert benched.throughput == pytest.approx(3000 / benched.latency.mean_ms, rel=0.01)
    assert benched.load_ms is not None
    assert benched.memory is not None
    assert benched.memory.peak_bytes > benched.memory.base_bytes > 0
    assert benched.copies is None
    assert benched.layers is not None
    assert {"first", "second", "depthwise", "classifier"} <= {layer.name for layer in benched.layers.layers}
    assert sum(layer.share for layer in benched.layers.layers) == pytest.approx(1, abs=1e-3)
    assert len(benched.latency.samples_ms) == 2


def test_the_throughput_is_of_the_samples_of_a_run(run: Run, fake: Fake, model: Path) -> None:
    fake(4.0)
    (benched,) = parsed(run("bench", model, "--batch", "8", "--json")).models
    assert (benched.samples, benched.throughput) == (8, 2000.0)
    assert benched.load_ms == 1.0
    assert benched.memory is not None
    assert benched.memory.peak_bytes == 3_000_000


def test_the_shown_layers_are_the_first_n(run: Run, model: Path) -> None:
    shown = run("bench", model, "--sessions", "1", "--no-memory", "--per-layer", "--top", "2").stdout
    table = shown[shown.index("layers of") :].strip().splitlines()
    assert len(table) == 4
    assert table[-1].split()[1] == "others"
    assert "peak memory" not in shown


def test_a_number_of_layers_without_layers_has_no_effect_and_it_is_said(run: Run, fake: Fake, model: Path) -> None:
    fake(4.0)
    said = "--top has no effect: it is for --per-layer, which is not given here"
    assert said in " ".join(run("bench", model, "--top", "3").stderr.split())
    assert said not in " ".join(run("bench", model).stderr.split())
    assert said not in " ".join(run("bench", model, "--top", "3", "--per-layer").stderr.split())


def test_copies_are_reported_apart(run: Run, model: Path) -> None:
    options = ("--sessions", "1", "--no-memory", "--io-binding")
    found = parsed(run("bench", model, *options, "--json"))
    copies = found.models[0].copies
    assert copies is not None
    assert copies.inputs_ms > 0
    assert copies.outputs_ms > 0
    assert found.device.io_binding
    assert "copies in" in run("bench", model, *options).stdout


def test_a_report_that_cannot_be_written_is_refused_before_measuring(run: Run, model: Path, tmp_path: Path) -> None:
    result = run("bench", model, "--report", tmp_path / "none" / "report.json")
    assert result.exit_code == 1
    assert "does not exist" in result.stderr
    assert "measuring" not in result.stderr


def test_quiet_prints_nothing(run: Run, fake: Fake, model: Path) -> None:
    result = run("bench", model, "-q")
    assert (result.exit_code, result.stdout) == (0, "")


def test_stdout_is_json_alone(run: Run, model: Path) -> None:
    result = run("bench", model, "--sessions", "1", "--json")
    assert json.loads(result.stdout)["operation"] == "bench"
    assert "measuring" in result.stderr
    assert "\x1b" not in result.output


def test_memory_that_cannot_be_measured_costs_only_itself(run: Run, fake: Fake, model: Path) -> None:
    class Confined(FakeDevice):
        def peak_memory(self, *_: object) -> PeakMemory:
            raise DeviceError("no processes here")

    class Silent(FakeDevice):
        def peak_memory(self, *_: object) -> PeakMemory:
            return PeakMemory(None, None)

    for device, words in ((Confined, "no processes here"), (Silent, "does not tell how much memory")):
        fake(1.0, device)
        result = run("bench", model, "--json")
        assert parsed(result).models[0].memory is None
        assert words in result.stderr
        assert words in parsed(result).warnings[0]


def test_memory_that_was_not_asked_for_has_no_columns(run: Run, fake: Fake, model: Path) -> None:
    fake(1.0)
    assert "peak memory" in run("bench", model).stdout
    without = run("bench", model, "--no-memory").stdout
    assert "MACs" in without
    assert "peak memory" not in without
    assert "the model's" not in without


def test_nodes_that_fall_back_are_said_and_kept(run: Run, fake: Fake, model: Path) -> None:
    note = "model 'cnn.onnx': 3 of 7 nodes do not run on X but fall back to the CPU: 3 Gemm"

    class Partial(FakeDevice):
        def take_notes(self) -> tuple[str, ...]:
            return (note,)

    fake(1.0, Partial)
    result = run("bench", model, "--json")
    assert result.stderr.count(note) == 1
    assert parsed(result).warnings == (note,)


def test_layers_of_another_provider_come_with_a_warning(run: Run, fake: Fake, model: Path) -> None:
    fake(1.0)
    result = run("bench", model, "--provider", "cuda", "--per-layer")
    assert "may count only what it takes to hand a layer over" in result.stderr


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ("image:1x3x64x64", "input 'image' is declared as (N, 3, 8, 8), which (1, 3, 64, 64) does not fit"),
        ("1x5", "which (1, 5) does not fit"),
        ("foo:1x3x8x8", "no model has an input 'foo'; inputs are image"),
    ],
)
@pytest.mark.parametrize("command", ["bench", "compare"])
def test_sizes_that_no_model_takes_are_refused(run: Run, model: Path, command: str, shape: str, message: str) -> None:
    result = run(command, model, *([model] if command == "compare" else []), "--input-shape", shape)
    assert result.exit_code == 1, result.output
    assert message in result.stderr


def test_models_whose_inputs_have_other_names(run: Run, fake: Fake, model: Path, tmp_path: Path) -> None:
    fake(1.0)
    network = onnx.load(model)
    network.graph.input[0].name = "x"
    for node in network.graph.node:
        node.input[:] = ["x" if name == "image" else name for name in node.input]
    onnx.save(network, tmp_path / "other.onnx")
    result = run("bench", model, tmp_path / "other.onnx", "--input-shape", "image:2x3x8x8", "--json")
    assert [benched.samples for benched in parsed(result).models] == [2, 1]


def test_compare_keeps_what_was_warned_of(run: Run, fake: Fake, model: Path, tmp_path: Path) -> None:
    fake(1.0, session_noise=0.3, seed=2)
    result = run("compare", model, model, "--samples", "2", "--json", "--summary", tmp_path / "summary.md")
    assert result.exit_code == 0, result.output
    warnings = json.loads(result.stdout)["warnings"]
    assert any("so its figures are not to be trusted" in warning for warning in warnings)
    assert all(result.stderr.count(warning) == 1 for warning in warnings)
    assert "so its figures are not to be trusted" in (tmp_path / "summary.md").read_text()
