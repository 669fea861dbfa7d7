"""`onnxprune bench` from the command line: on this machine, and on a fake device where the figures must be known."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import onnx
import pytest
from click.testing import Result

from onnxprune.errors import DeviceError
from onnxprune.latency.fake import FakeDevice
from onnxprune.latency.inside import PeakMemory
from onnxprune.latency.on_device.chips import accelerator
from onnxprune.latency.options import MeasureOptions
from onnxprune.pipeline import benching
from onnxprune.report import BenchResult, ModelFigures, write_report
from tests.cli.conftest import Run
from tests.report.conftest import small_cnn
from tests.report.junit_structure import check_structure
from tests.report.records import latency, make_report

Fake = Callable[..., FakeDevice]


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> Fake:
    """Puts a fake device in the place of the one asked for."""

    def put(ms: float, device: type[FakeDevice] = FakeDevice, **settings: Any) -> FakeDevice:
        there = device(lambda *_: ms, **settings)

        @contextmanager
        def opened(*_: object) -> Iterator[FakeDevice]:
            yield there

        monkeypatch.setattr(benching, "opened", opened)
        return there

    return put


def parsed(result: Result, code: int = 0) -> BenchResult:
    assert result.exit_code == code, result.output
    return BenchResult.model_validate_json(result.stdout)


@pytest.fixture
def baseline(run: Run, fake: Fake, model: Path, tmp_path: Path) -> Path:
    """A report of 1 ms on the fake device."""
    fake(1.0, noise=0.01)
    assert run("bench", model, "--report", tmp_path / "base.json").exit_code == 0
    return tmp_path / "base.json"


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


def test_a_regression_has_its_own_exit_code(run: Run, fake: Fake, model: Path, baseline: Path, tmp_path: Path) -> None:
    fake(1.2, noise=0.01, seed=1)
    result = run("bench", model, "--compare", baseline, "--json", "--report", tmp_path / "now.json")
    found = parsed(result, 5)
    (record,) = found.regressions
    assert record.verdict == "regression"
    assert record.ratio == pytest.approx(1.2, abs=0.02)
    assert record.ratio_ci95[0] > 1.05
    assert f"Error: {model}: regression; p50 1.20 ms, " in result.stderr
    assert "allowed 1.050" in result.stderr
    # The result is written all the same.
    assert BenchResult.model_validate_json((tmp_path / "now.json").read_text()) == found


def test_a_regression_fails_in_junit(run: Run, fake: Fake, model: Path, baseline: Path, tmp_path: Path) -> None:
    files = ("--junit", tmp_path / "junit.xml", "--summary", tmp_path / "summary.md")
    for ms, code, tag, mark in ((1.2, 5, "failure", "❌"), (1.0, 0, "system-out", "✅")):
        fake(ms, noise=0.01, seed=1)
        assert run("bench", model, "--compare", baseline, *files).exit_code == code
        root = ET.parse(tmp_path / "junit.xml").getroot()
        check_structure(root)
        found = {case.get("name"): case[0].tag for case in root.iter("testcase")}
        assert found == {f"measured {model}": "system-out", f"no regression {model}": tag}
        assert mark in (tmp_path / "summary.md").read_text(encoding="utf-8")


def test_what_is_allowed_or_faster_is_none(run: Run, fake: Fake, model: Path, baseline: Path) -> None:
    for ms, allowed in ((1.2, "30%"), (1.0, "5%"), (0.5, "0%")):
        fake(ms, noise=0.01, seed=1)
        result = run("bench", model, "--compare", baseline, "--max-regression", allowed)
        assert result.exit_code == 0, result.output
        assert f"{model}: no regression; p50 " in result.stdout


def test_a_higher_median_alone_is_no_regression(run: Run, fake: Fake, model: Path, baseline: Path) -> None:
    fake(1.07, session_noise=0.03, seed=3)
    result = run("bench", model, "--compare", baseline, "--json")
    (record,) = parsed(result).regressions
    assert record.p50_ms > 1.05 * record.baseline_p50_ms
    assert (record.verdict, record.noisy) == ("undecided", False)
    assert "it may be slower than allowed, which so few sessions cannot tell" in result.stderr


def test_noise_that_hides_the_answer_is_an_error(run: Run, fake: Fake, model: Path, baseline: Path) -> None:
    fake(1.1, session_noise=0.3, seed=2)
    result = run("bench", model, "--compare", baseline)
    assert result.exit_code == 1
    assert "device 'fake' is too noisy to tell whether" in result.stderr
    assert re.search(r"its sessions differ by \d\d% of p50 \(the baseline's by \d%\)", result.stderr)
    assert "measure with more --sessions" in " ".join(result.stderr.split())
    assert "no significant regression" in result.stdout


def test_noise_of_the_baseline_is_told_apart(run: Run, fake: Fake, model: Path, tmp_path: Path) -> None:
    base = tmp_path / "noisy.json"
    fake(1.0, session_noise=0.3, seed=2)
    then = parsed(run("bench", model, "--report", base, "--json")).models[0].latency
    fake(1.05, noise=0.01)
    result = run("bench", model, "--compare", base)
    assert result.exit_code == 1
    said = " ".join(result.stderr.split())
    assert f"the baseline '{base}' is too noisy to tell whether '{model}' became slower" in said
    assert f"its sessions differ by {then.spread:.0%} of p50 (those of now by " in said
    assert "Measure the baseline anew" in said
    assert "device 'fake' is too noisy" not in said


def test_noise_that_hides_nothing_only_warns(run: Run, fake: Fake, model: Path, baseline: Path, tmp_path: Path) -> None:
    fake(3.0, session_noise=0.1, seed=2)
    result = run("bench", model, "--compare", baseline, "--summary", tmp_path / "summary.md")
    assert result.exit_code == 5
    assert "Warning: model" in result.stderr
    assert "so its figures are not to be trusted" in result.stderr
    assert "so its figures are not to be trusted" in (tmp_path / "summary.md").read_text()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ("--threads 2", "this is fake (fake; cpu, 2 threads, batch 1); they differ in threads: 1 then, 2 now"),
        ("--batch 4", "batch: 1 then, 4 now"),
        ("--provider xnnpack", "'CPUExecutionProvider' then, 'XnnpackExecutionProvider' now"),
        ("--io-binding", "I/O binding: False then, True now"),
    ],
)
def test_a_baseline_of_another_device_is_refused_unless_forced(
    run: Run, fake: Fake, baseline: Path, options: str, words: str
) -> None:
    device = fake(1.0, noise=0.01, seed=1)
    command = ("bench", baseline.with_name("cnn.onnx"), "--compare", baseline, *options.split())
    result = run(*command)
    assert result.exit_code == 1
    assert words in result.stderr
    assert "was measured on fake (fake; cpu, 1 thread, batch 1), this is fake (fake; " in result.stderr
    assert "--force" in result.stderr
    assert device.measured == []
    forced = run(*command, "--force")
    assert forced.exit_code == 0, forced.output
    assert "compared all the same (--force)" in forced.stderr


def test_a_baseline_of_other_input_sizes_is_refused_unless_forced(run: Run, fake: Fake, tmp_path: Path) -> None:
    path, base = tmp_path / "free.onnx", tmp_path / "base.json"
    onnx.save(small_cnn(size="S"), path)
    device = fake(1.0, noise=0.01)
    first = run("bench", path, "--input-shape", "image:1x3x32x32", "--report", base, "--json")
    assert parsed(first).models[0].latency.input_shapes == {"image": (1, 3, 32, 32)}
    device.measured.clear()
    command = ("bench", path, "--input-shape", "image:1x3x16x16", "--compare", base)
    result = run(*command)
    assert result.exit_code == 1
    assert f"'{base}' measured '{path}' with image:1x3x32x32, this is with image:1x3x16x16." in result.stderr
    assert device.measured == []
    forced = run(*command, "--force")
    assert forced.exit_code == 0, forced.output
    assert "this is with image:1x3x16x16; compared all the same (--force)" in forced.stderr
    assert run("bench", path, "--input-shape", "image:1x3x32x32", "--compare", base).exit_code == 0


def test_the_recorded_batch_is_the_models(run: Run, fake: Fake, tmp_path: Path) -> None:
    path = tmp_path / "fixed.onnx"
    onnx.save(small_cnn("2"), path)
    fake(1.0)
    found = parsed(run("bench", path, "--batch", "8", "--json"))
    assert (found.device.batch, found.models[0].samples) == (2, 2)
    assert found.warnings == (
        f"--batch 8 has no effect on '{path}': the model, or --input-shape, fixes its inputs' sizes; it is measured "
        "with image:2x3x8x8",
    )
    assert parsed(run("bench", path, "--batch", "2", "--json")).warnings == ()
    assert parsed(run("bench", path, "--json")).warnings == ()


def test_a_baseline_of_before_sizes_were_kept(run: Run, fake: Fake, tmp_path: Path) -> None:
    path, base = tmp_path / "fixed.onnx", tmp_path / "base.json"
    onnx.save(small_cnn("1"), path)
    fake(1.0, noise=0.01)
    assert run("bench", path, "--report", base).exit_code == 0
    record = json.loads(base.read_text())
    del record["models"][0]["latency"]["input_shapes"]
    # What was asked for was recorded then.
    record["device"]["batch"] = 8
    base.write_text(json.dumps(record))
    assert run("bench", path, "--compare", base).exit_code == 0


def test_other_hardware_is_refused(run: Run, fake: Fake, model: Path, baseline: Path) -> None:
    class Faster(FakeDevice):
        name = "ssh://pi"

        def fingerprint(self, options: MeasureOptions) -> dict[str, object]:
            return super().fingerprint(options) | {"cpu": "a faster one"}

    fake(1.0, Faster)
    result = run("bench", model, "--compare", baseline)
    assert result.exit_code == 1
    assert "cpu: 'fake' then, 'a faster one' now" in result.stderr
    assert "this is ssh://pi (a faster one; " in result.stderr


def test_an_accelerator_that_cannot_be_known_is_refused_unless_forced(
    run: Run, fake: Fake, model: Path, tmp_path: Path
) -> None:
    class Hidden(FakeDevice):
        def fingerprint(self, options: MeasureOptions) -> dict[str, object]:
            return super().fingerprint(options) | accelerator("QNNExecutionProvider")

    fake(1.0, Hidden, noise=0.01)
    assert run("bench", model, "--report", tmp_path / "base.json").exit_code == 0
    result = run("bench", model, "--compare", tmp_path / "base.json")
    assert result.exit_code == 1
    assert "this is fake (unknown accelerator; " in result.stderr
    assert "accelerator: it cannot be known whether it is the same one" in result.stderr
    assert run("bench", model, "--compare", tmp_path / "base.json", "--force").exit_code == 0


def test_a_report_of_compress_is_a_baseline_too(run: Run, fake: Fake, model: Path, tmp_path: Path) -> None:
    device = fake(0.3, noise=0.01)
    report = make_report()
    assert report.device is not None
    there = report.device.model_copy(update={"fingerprint": device.fingerprint(MeasureOptions())})
    five = latency(0.6).model_copy(update={"samples_ms": ((0.6, 0.61),) * 5})
    after = ModelFigures(**{**report.after.model_dump(), "latency": five})
    write_report(make_report(device=there, after=after), tmp_path / "c.json")
    found = parsed(run("bench", model, "--compare", tmp_path / "c.json", "--json"))
    (record,) = found.regressions
    assert (record.baseline_path, record.verdict) == ("model.pruned.onnx", "no regression")
    assert record.ratio == pytest.approx(0.5, abs=0.02)
    write_report(make_report(device=None), tmp_path / "none.json")
    result = run("bench", model, "--compare", tmp_path / "none.json")
    assert result.exit_code == 1
    assert "holds no latency" in result.stderr


def test_several_models_are_matched_by_their_names(run: Run, fake: Fake, model: Path, tmp_path: Path) -> None:
    fake(1.0, noise=0.01)
    other, unknown = tmp_path / "other.onnx", tmp_path / "unknown.onnx"
    for path in (other, unknown):
        path.write_bytes(model.read_bytes())
    base = tmp_path / "two.json"
    assert run("bench", model, other, "--report", base).exit_code == 0
    found = parsed(run("bench", other, model, "--compare", base, "--json"))
    assert [Path(record.baseline_path).name for record in found.regressions] == ["other.onnx", "cnn.onnx"]
    (alone,) = parsed(run("bench", other, "--compare", base, "--json")).regressions
    assert Path(alone.baseline_path).name == "other.onnx"
    result = run("bench", unknown, model, "--compare", base)
    assert result.exit_code == 1
    assert f"has none of this name for '{unknown}'; it has '{model}', '{other}'" in result.stderr


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "cannot be read: No such file"),
        ("{", "it is not JSON"),
        ("{}", "is no report of bench, compress or prune"),
        ('{"models": [], "operation": "bench", "speed": 1}', "is no report of bench, compress or prune"),
        ('{"operation": "compress", "schema_version": 7}', "schema version 7"),
    ],
)
def test_no_baseline(run: Run, model: Path, tmp_path: Path, content: str | None, message: str) -> None:
    if content is not None:
        (tmp_path / "b.json").write_text(content)
    result = run("bench", model, "--compare", tmp_path / "b.json")
    assert result.exit_code == 1
    assert message in result.stderr


def test_too_few_sessions_are_refused_before_measuring(run: Run, fake: Fake, model: Path, baseline: Path) -> None:
    device = fake(1.0)
    result = run("bench", model, "--compare", baseline, "--sessions", "1")
    assert result.exit_code == 1
    assert "1 sessions, and 5 of the baseline, are too few" in result.stderr
    assert device.measured == []


@pytest.mark.parametrize("options", [("--max-regression", "3%"), ("--force",)])
def test_what_needs_a_baseline(run: Run, model: Path, options: tuple[str, ...]) -> None:
    result = run("bench", model, *options)
    assert result.exit_code == 2
    assert f"{options[0]} needs --compare REPORT" in result.stderr


@pytest.mark.parametrize("share", ["5", "-1%", "0.05", "five%"])
def test_shares_are_percentages(run: Run, model: Path, share: str) -> None:
    result = run("bench", model, "--compare", "b.json", "--max-regression", share)
    assert result.exit_code == 2
    assert "write it like '5%'" in result.stderr


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


def test_what_the_device_was_like_meanwhile_is_kept(run: Run, fake: Fake, model: Path, baseline: Path) -> None:
    class Warming(FakeDevice):
        @property
        def conditions(self) -> dict[str, float | bool]:
            return {"celsius": 70.0, "throttled": False} if self.measured else {}

    for command in (("bench",), ("bench", "--compare", baseline), ("compare", model)):
        fake(1.0, Warming)
        result = run(*command, model, "--json")
        assert result.exit_code == 0, result.output
        assert json.loads(result.stdout)["device"]["conditions"] == {"celsius": 70.0, "throttled": False}


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
