"""A user's own metric, on labels of any kind, wherever networks are judged."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch

import onnxprune
from onnxprune.errors import ArgumentError, DataError, MaxDropExceededError, MetricValueError
from onnxprune.report.plots import plot_run
from onnxprune.training import as_judged, evaluate, open_data, read_metric
from onnxprune.training.dataset import Dataset
from onnxprune.training.task import TaskMetric
from tests.pipeline.test_run import Listening
from tests.report.conftest import small_cnn


def closeness(outputs: Any, labels: Any) -> float:
    """Percent of the boxes (rows) whose largest error is below a half."""
    return float(100 * (np.abs(outputs[:, :4] - labels).max(axis=1) < 0.5).mean())


@pytest.fixture
def model(tmp_path: Path) -> Path:
    onnx.save(small_cnn(), tmp_path / "cnn.onnx")
    return tmp_path / "cnn.onnx"


class Ones:
    """A source of rows of ones."""

    def __len__(self) -> int:
        return 4

    def fetch(self, wanted: np.ndarray) -> tuple[np.ndarray, ...]:
        return (np.ones((len(wanted), 1), np.float32),)


def boxes(count: int = 120) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    return rng.standard_normal((count, 3, 8, 8)).astype(np.float32), rng.random((count, 4)).astype(np.float32)


def test_the_metric_sees_outputs_and_labels_in_order() -> None:
    rows = np.arange(6, dtype=np.float32)[:, None].repeat(2, axis=1)
    seen: list[Any] = []

    def metric(outputs: Any, labels: Any) -> float:
        seen.append((outputs, labels))
        return 12.5

    class Rows:
        def __len__(self) -> int:
            return 6

        def fetch(self, wanted: np.ndarray) -> tuple[np.ndarray, ...]:
            return (rows[wanted],)

    data = Dataset(Rows(), np.arange(6), targets=rows + 1, metric=read_metric(metric)).select(np.array([4, 1, 2]))
    found = evaluate(lambda inputs: [inputs[0] * 2], data, batch_size=2)
    assert (found.primary_name, found.primary, found.samples) == ("metric", 12.5, 3)
    outputs, labels = seen[0]
    assert outputs[:, 0].tolist() == [8, 2, 4]
    assert labels[:, 0].tolist() == [5, 2, 3]


@pytest.mark.slow
@pytest.mark.parametrize("allocation", ["rl", "global"])
def test_a_run_is_judged_by_it(model: Path, allocation: str) -> None:
    report = onnxprune.compress(
        model,
        target_macs="60%",
        data=boxes(),
        metric=closeness,
        epochs=1,
        batch_size=16,
        round_to=1,
        allocation=allocation,
        search_budget=4,
    ).report
    assert report.after.metric is not None
    assert report.after.metric.name == "closeness"
    assert report.settings["metric"] == "closeness"
    if report.learning is not None:
        assert all(0 <= judged.metric <= 100 for judged in report.learning.judged)


def test_without_a_metric_such_labels_are_refused(model: Path) -> None:
    with pytest.raises(
        DataError, match=r"labels are class numbers.*, or give a --metric, whose labels may be anything"
    ):
        onnxprune.prune(model, target_macs="60%", data=boxes(), round_to=1)


@pytest.mark.parametrize(("count", "shape"), [(1, (40, 10)), (2, ((40, 10), (40, 10)))])
def test_outputs_are_an_array_or_a_tuple_of_arrays(tmp_path: Path, count: int, shape: tuple[Any, ...]) -> None:
    """The shapes of what a metric gets on the test part."""
    net = small_cnn()
    if count > 1:
        net.graph.node.append(onnx.helper.make_node("Relu", [net.graph.output[0].name], ["more"]))
        net.graph.output.append(onnx.helper.make_tensor_value_info("more", 1, ["n", 10]))
    onnx.save(net, tmp_path / "m.onnx")
    seen = []

    def metric(outputs: Any, labels: Any) -> float:
        seen.append(tuple(o.shape for o in outputs) if isinstance(outputs, tuple) else outputs.shape)
        return 1.0

    onnxprune.prune(tmp_path / "m.onnx", ratio=0.3, data=boxes(), test=boxes(40), metric=metric, importance="l1")
    assert seen[-1] == shape


def test_a_metric_that_fails_is_named(model: Path) -> None:
    def broken(outputs: Any, labels: Any) -> float:
        raise KeyError("boxes")

    def leave(outputs: Any, labels: Any) -> float:
        sys.exit(3)

    with pytest.raises(DataError, match="metric 'broken' failed: KeyError: 'boxes'"):
        onnxprune.prune(model, target_macs="60%", data=boxes(), metric=broken, round_to=1)
    with pytest.raises(DataError, match=r"metric 'leave' failed: it called sys\.exit\(3\) \(raise an exception"):
        onnxprune.prune(model, target_macs="60%", data=boxes(), metric=leave, round_to=1)
    with pytest.raises(DataError, match="must give a finite number"):
        onnxprune.prune(model, target_macs="60%", data=boxes(), metric=lambda *_: float("nan"), round_to=1)
    with pytest.raises(DataError, match="give data"):
        onnxprune.prune(model, target_macs="60%", metric=closeness, round_to=1)


def test_a_metric_that_fails_is_found_before_anything_is_computed(model: Path) -> None:
    observer = Listening()
    with pytest.raises(DataError, match="metric '<lambda>' gave the text 'good'; it must give one number"):
        onnxprune.compress(model, target_macs="60%", data=boxes(), metric=lambda *_: "good", observer=observer)
    assert observer.stages == ["reading the model", "reading data"]


@pytest.mark.parametrize("allocation", ["global", "random"])
def test_a_metric_that_needs_many_samples_is_no_failure(model: Path, allocation: str) -> None:
    def demanding(outputs: Any, labels: Any) -> float:
        return closeness(outputs, labels) if len(labels) > 16 else float("nan")

    x, labels = boxes(300)
    metric = onnxprune.prune(
        model,
        target_macs="60%",
        data=(x, labels),
        val=(x, labels),
        metric=demanding,
        round_to=1,
        importance="l1",
        allocation=allocation,
        search_budget=2,
    ).report.after.metric
    assert metric is not None
    assert metric.name == "demanding"


def years(outputs: Any, labels: Any) -> float:
    """Minus the mean error in years."""
    return -float(np.abs(outputs[:, 0] - labels).mean())


@pytest.mark.parametrize("operation", [onnxprune.prune, onnxprune.compress])
def test_whole_numbers_may_be_labels_of_a_regression(model: Path, operation: Callable[..., Any]) -> None:
    x, _ = boxes()
    ages = np.random.default_rng(1).integers(20, 60, len(x))
    options = {"epochs": 1, "allocation": "global"} if operation is onnxprune.compress else {"importance": "l1"}
    metric = operation(
        model, target_macs="60%", data=(x, ages), metric=years, round_to=1, **options
    ).report.after.metric
    assert metric.name == "years"
    assert -60 < metric.value < -20
    assert (metric.top1, metric.agreement, metric.kl) == (None, None, None)
    assert len(metric.errors) == 1


SCORES = np.random.default_rng(0).standard_normal((16, 3)).astype(np.float32)
PROBABILITIES = np.full((16, 3), 1 / 3, np.float32)


@pytest.mark.parametrize(
    ("labels", "outputs", "scored", "numbered"),
    [
        (np.arange(40) % 3, SCORES, True, True),
        (np.arange(40) % 4, SCORES, False, False),
        (np.arange(40) % 4, PROBABILITIES, True, False),
        (np.arange(40) + 0.5, SCORES, False, False),
        (None, SCORES, False, False),
        (None, PROBABILITIES, True, False),
        (np.arange(40), SCORES[:, :1], True, True),
    ],
)
def test_what_outputs_are_to_a_metric_is_told_by_labels_and_by_themselves(
    grey: Any, labels: np.ndarray | None, outputs: np.ndarray, scored: bool, numbered: bool
) -> None:
    arrays = {"x": np.zeros((40, 1, 8, 8), np.float32)} | ({} if labels is None else {"y": labels})
    data = as_judged(open_data(arrays, *grey, None, 0, metric=read_metric(years)), [outputs])
    for part in (data.train, data.val, data.test):
        assert (part.scored, part.labelled) == (scored, numbered)
        assert (part.targets is None) == (labels is None)
    if labels is not None:
        assert sorted(np.concatenate([data.train.targets, data.val.targets, data.test.targets])) == sorted(labels)


def test_what_has_no_metric_is_counted_apart(model: Path, tmp_path: Path) -> None:
    asked: list[int] = []

    def failing(outputs: Any, labels: Any) -> float:
        asked.append(len(labels))
        # On all samples of the validation part it works for the original, and for every second structure then.
        fails = len(labels) == 40 and asked.count(40) % 2 == 0
        return float("inf") if fails else -4000.0 - len(labels)

    report = onnxprune.prune(
        model,
        target_macs="60%",
        data=boxes(),
        val=boxes(40),
        metric=failing,
        round_to=1,
        allocation="random",
        search_budget=6,
        run_dir=tmp_path / "run",
    ).report
    assert report.learning is not None
    assert report.learning.failed > 0
    assert report.learning.judged
    (note,) = [warning for warning in report.warnings if "without a metric" in warning]
    assert "the first: metric 'failing' gave inf; it must give a finite number" in note
    assert all(-5000 < judged.metric < -4000 for judged in report.learning.judged)
    lines = [json.loads(line) for line in (tmp_path / "run" / "history.jsonl").read_text().splitlines()]
    assert sum(line["kind"] == "judgement" for line in lines) == len(report.learning.judged)
    assert plot_run(tmp_path / "run", tmp_path / "drawn").files


def test_epochs_that_the_metric_fails_on_are_worse_than_the_others(model: Path) -> None:
    asked: list[int] = []

    def flaky(outputs: Any, labels: Any) -> float:
        asked.append(len(asked))
        # Tried on the original's two parts first; then for the network before training, and for three epochs.
        if asked[-1] in (2, 5):
            raise ValueError("Only one class present in y_true")
        return float("nan") if asked[-1] == 4 else 50.0

    report = onnxprune.compress(
        model, target_macs="60%", data=boxes(), metric=flaky, round_to=1, allocation="global", epochs=3
    ).report
    assert report.training is not None
    assert [epoch.val_metric for epoch in report.training.epochs] == [None, 50.0, None, None]
    assert report.training.best_epoch == 1
    (note,) = [warning for warning in report.warnings if "the metric fails" in warning]
    assert note.endswith("epoch 0 is the first: metric 'flaky' failed: ValueError: Only one class present in y_true")


@pytest.mark.parametrize("max_drop", [None, 5.0])
def test_a_result_that_the_metric_fails_on_is_delivered_and_said_to_be_unknown(
    model: Path, max_drop: float | None
) -> None:
    tested: list[int] = []

    def failing(outputs: Any, labels: Any) -> float:
        tested.append(len(labels))
        if tested.count(30) == 2:
            raise ValueError("no box found")
        return 50.0

    def prune() -> Any:
        return onnxprune.prune(
            model, target_macs="60%", data=boxes(), test=boxes(30), metric=failing, round_to=1, max_drop=max_drop
        )

    output = model.with_name("cnn.pruned.onnx")
    if max_drop is not None:
        with pytest.raises(MaxDropExceededError, match=r"not known whether .* 5 allowed: .* no box found"):
            prune()
        assert not output.exists()
        assert model.with_name("cnn.pruned.rejected.onnx").exists()
        return
    report = prune().report
    assert output.exists()
    assert report.before.metric is not None
    assert report.after.metric is None
    assert "on the test part metric 'failing' failed: ValueError: no box found" in report.warnings[-1]


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (np.zeros(60), "an array of shape (60,)"),
        (np.zeros((2, 3)), "an array of shape (2, 3)"),
        (torch.zeros(4), "a Tensor of shape (4,)"),
        (None, "None"),
        ("x", "the text 'x'"),
        ([1.0, 2.0], "a list of 2 values"),
        ({"map": 0.5}, "a dict of 1 values"),
        (object, "what cannot be read as a number (type: "),
    ],
    ids=lambda value: None if isinstance(value, str) and " " in value else type(value).__name__,
)
def test_what_is_not_one_number_is_said(given: Any, said: str) -> None:
    data = Dataset(Ones(), np.arange(4), metric=TaskMetric("mine", lambda *_: given))
    with pytest.raises(MetricValueError) as caught:
        evaluate(lambda inputs: inputs, data)
    assert str(caught.value).startswith(f"metric 'mine' gave {said}")
    assert str(caught.value).endswith("; it must give one number, higher for better")


@pytest.mark.parametrize("given", [7, 7.0, np.float32(7), np.array(7), torch.tensor(7.0), Fraction(7)])
def test_whatever_is_one_number_is_taken(given: Any) -> None:
    data = Dataset(Ones(), np.arange(4), metric=TaskMetric("mine", lambda *_: given))
    assert evaluate(lambda inputs: inputs, data).primary == 7.0


def test_ctrl_c_in_a_metric_interrupts() -> None:
    def interrupted(outputs: Any, labels: Any) -> float:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        evaluate(lambda inputs: inputs, Dataset(Ones(), np.arange(4), metric=read_metric(interrupted)), forgiving=True)


def test_a_failed_network_is_worse_than_any_and_of_two_the_closer_is_better() -> None:
    def failing(outputs: Any, labels: Any) -> float:
        raise ValueError("nothing found")

    data = Dataset(Ones(), np.arange(4), metric=read_metric(failing))
    judged = {
        factor: evaluate(lambda inputs, by=factor: [inputs[0] * by], data, lambda inputs: inputs, forgiving=True)
        for factor in (0.9, 0.5)
    }
    assert judged[0.9].better_than(judged[0.5])
    assert not judged[0.5].better_than(judged[0.9])
    poor = replace(judged[0.5], primary=-1e9, failure=None)
    assert poor.better_than(judged[0.9])
    assert not judged[0.9].better_than(poor)
    assert judged[0.9].to_dict()["primary"] is None
    with pytest.raises(DataError, match="metric 'failing' failed: ValueError: nothing found"):
        evaluate(lambda inputs: inputs, data)


def test_a_metric_is_found_by_name_or_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "my_metric_module.py").write_text("def score(outputs, labels):\n    return 7\n\n\nnone = 3\n")
    metric = read_metric("my_metric_module:score")
    assert metric is not None
    assert (metric.name, metric.score([np.zeros(1)], None)) == ("my_metric_module:score", 7.0)
    with pytest.raises(DataError, match="no function 'scores'"):
        read_metric("my_metric_module:scores")
    with pytest.raises(
        DataError, match="'none' of module 'my_metric_module' is no function, but of type 'int'; it has score"
    ):
        read_metric("my_metric_module:none")
    with pytest.raises(DataError, match="no module 'no_such_metrics' for --metric no_such_metrics:score"):
        read_metric("no_such_metrics:score")
    with pytest.raises(ArgumentError, match="write it like"):
        read_metric("score")
