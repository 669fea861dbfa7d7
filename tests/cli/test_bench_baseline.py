"""`onnxprune bench --compare`: verdicts against a baseline, and the baselines that are refused."""

from __future__ import annotations

import json
import re
from pathlib import Path
from xml.etree import ElementTree as ET

import onnx
import pytest

from onnxprune.latency.fake import FakeDevice
from onnxprune.latency.on_device.chips import accelerator
from onnxprune.latency.options import MeasureOptions
from onnxprune.report import BenchResult, ModelFigures, write_report
from tests.cli.conftest import Fake, Run, parsed
from tests.report.conftest import small_cnn
from tests.report.junit_structure import check_structure
from tests.report.records import latency, make_report


@pytest.fixture
def baseline(run: Run, fake: Fake, model: Path, tmp_path: Path) -> Path:
    """A report of 1 ms on the fake device."""
    fake(1.0, noise=0.01)
    assert run("bench", model, "--report", tmp_path / "base.json").exit_code == 0
    return tmp_path / "base.json"


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
        ('{"operation": "compress", "schema_version": 7}', "b.json' is a report of schema version 7"),
        ('{"operation": "prune", "schema_version": 1}', "b.json' is not a valid report: field"),
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
