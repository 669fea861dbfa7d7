"""The judge of candidates: what it says, on how many samples, and what it keeps in memory."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx import numpy_helper

from onnxprune.errors import DataError
from onnxprune.importance import score_units
from onnxprune.pipeline.judging import (
    HealedJudge,
    Subjects,
    batch_size,
    candidate_healer,
    draft_samples,
    evaluation_samples,
    reward,
    search_length,
)
from onnxprune.pipeline.prepare import Network, read_network
from onnxprune.pipeline.training import draft_healer, final_healer
from onnxprune.search import full_counts
from onnxprune.training import DataSplits, Metrics, Predict, open_data
from onnxprune.training.task import TaskMetric
from tests.formats.conversion import quantise
from tests.report.conftest import small_cnn
from tests.residual import residual_cnn


@pytest.fixture
def network(tmp_path: Path) -> Network:
    onnx.save(small_cnn(), tmp_path / "cnn.onnx")
    return read_network(tmp_path / "cnn.onnx", None, 1)


def wide_cnn() -> onnx.ModelProto:
    """A network of few positions, whose layers take longer to solve than to run."""
    model = onnx.parser.parse_model(
        """<ir_version: 8, opset_import: ["" : 17]>
        net (float[n, 256, 4, 4] x) => (float[n, 256, 1, 1] y) {
            a = Conv <pads = [1, 1, 1, 1]> (x, w1, b1)
            b = Relu (a)
            c = Conv <pads = [1, 1, 1, 1]> (b, w2, b2)
            y = GlobalAveragePool (c)
        }"""
    )
    for name, shape in {"w1": (256, 256, 3, 3), "b1": (256,), "w2": (256, 256, 3, 3), "b2": (256,)}.items():
        model.graph.initializer.append(numpy_helper.from_array(np.full(shape, 0.01, np.float32), name))
    return model


def samples(network: Network) -> DataSplits:
    x = np.random.default_rng(0).standard_normal((400, 3, 8, 8)).astype(np.float32)
    return open_data(x, network.inputs, network.input_shapes, None, 0)


def judge(network: Network, *, heal: bool = True) -> HealedJudge:
    data = samples(network)
    scores = score_units("l1", network.model, network.channels)
    healer = candidate_healer(network, data.train, 0) if heal else None
    return HealedJudge(Subjects(network, scores, data.val, healer))


def test_the_unpruned_network_agrees_with_itself(network: Network) -> None:
    subject = judge(network)
    verdict = subject.judge(full_counts(network.channels), subject.looks[-1])
    assert (verdict.reward, verdict.metric, verdict.samples) == (100.0, 100.0, subject.looks[-1])


def test_healed_candidates_are_worth_more(network: Network) -> None:
    healed, raw = judge(network), judge(network, heal=False)
    look, structures = (
        healed.looks[-1],
        [np.array(counts) for counts in ((8, 12), (12, 18), (16, 12), (12, 12), (8, 24))],
    )
    gains = [healed.judge(counts, look).reward - raw.judge(counts, look).reward for counts in structures]
    # Of a network of random weights a few outputs agree by chance.
    assert np.mean(gains) > 10


def test_confirmation_heals_to_the_end(tmp_path: Path) -> None:
    onnx.save(residual_cnn(), tmp_path / "residual.onnx")
    network, counts = read_network(tmp_path / "residual.onnx", None, 1), np.array([8, 4, 4])
    data, light = samples(network), judge(network)
    heal, finish = candidate_healer(network, data.train, 0), final_healer(network, data.train, 0)
    whole = HealedJudge(replace(light._subjects, finish=finish))
    both = HealedJudge(replace(light._subjects, heal=lambda pruned, keep: finish(heal(pruned, keep), keep)))
    assert light.confirm(counts) == light.judge(counts, light.looks[-1])
    assert whole.confirm(counts) == both.judge(counts, both.looks[-1]) != light.confirm(counts)


def test_candidates_are_healed_in_order_too_but_on_fewer_samples(tmp_path: Path) -> None:
    onnx.save(residual_cnn(), tmp_path / "residual.onnx")
    network, counts = read_network(tmp_path / "residual.onnx", None, 1), np.array([8, 4, 4])
    data, light = samples(network), judge(network)
    heal, finish = light._subjects.heal, final_healer(network, data.train, 0)
    draft, few = draft_healer(network, data.train, 0), final_healer(network, data.train, 0, 128)
    subject = HealedJudge(replace(light._subjects, draft=draft, finish=finish))
    wanted = HealedJudge(replace(light._subjects, heal=lambda pruned, keep: few(heal(pruned, keep), keep)))
    whole = HealedJudge(replace(light._subjects, finish=finish))
    look = subject.looks[-1]
    assert subject.judge(counts, look) == wanted.judge(counts, look) != light.judge(counts, look)
    assert subject.confirm(counts) == whole.confirm(counts)


def test_candidates_of_an_int8_network_are_worth_what_those_of_the_float_one_are(tmp_path: Path) -> None:
    sharp = residual_cnn()
    classifier = next(tensor for tensor in sharp.graph.initializer if tensor.name == "w5")
    classifier.CopyFrom(numpy_helper.from_array(30 * numpy_helper.to_array(classifier), "w5"))
    onnx.save(sharp, tmp_path / "float.onnx")
    x = np.random.default_rng(1).standard_normal((64, 3, 8, 8)).astype(np.float32)
    quantise(tmp_path / "float.onnx", tmp_path / "int8.onnx", x, per_channel=True)
    counts, found = np.array([6, 8, 8]), {}
    for form in ("float", "int8"):
        network = read_network(tmp_path / f"{form}.onnx", None, 1)
        light, data = judge(network), samples(network)
        finish, draft = final_healer(network, data.train, 0), draft_healer(network, data.train, 0)
        whole = HealedJudge(replace(light._subjects, finish=finish, draft=draft))
        verdicts = [subject.judge(counts, light.looks[-1]) for subject in (light, whole)]
        found[form] = [verdict.reward for verdict in (*verdicts, whole.confirm(counts))]
    assert found["int8"][1:] == pytest.approx(found["float"][1:], abs=0.5)
    # Of the lightest healing rounding may decide a sample, for the better.
    assert found["int8"][0] > found["float"][0] - 0.5


def test_a_first_look_is_at_the_first_samples(network: Network) -> None:
    subject = judge(network)
    first, last = subject.looks
    assert first < last
    assert subject.judge(np.array([8, 12]), first).samples == first


def test_a_candidate_that_was_closed_is_judged_the_same(network: Network) -> None:
    subject = judge(network)
    subject._most_open = 1
    again = np.array([8, 12])
    before = subject.judge(again, subject.looks[-1])
    subject.judge(np.array([4, 4]), subject.looks[-1])
    assert subject.judge(again, subject.looks[-1]) == before


def test_divergence_tells_apart_what_the_metric_cannot() -> None:
    near, far = (Metrics("top-1 agreement", 90.0, 100, agreement=90.0, kl=kl) for kl in (0.1, 0.4))
    assert reward(near) > reward(far)
    assert reward(Metrics("normalised agreement", 90.0, 100)) == 90.0


def test_large_networks_get_fewer_samples_and_shorter_searches(tmp_path: Path, network: Network) -> None:
    onnx.save(small_cnn(size="512"), tmp_path / "large.onnx")
    large = read_network(tmp_path / "large.onnx", None, 1)
    assert (evaluation_samples(network), search_length(network), batch_size(network)) == (2048, 160, 64)
    assert evaluation_samples(large) < 2048
    assert draft_samples(network) is not None
    onnx.save(wide_cnn(), tmp_path / "wide.onnx")
    assert draft_samples(read_network(tmp_path / "wide.onnx", None, 1)) is None
    assert search_length(large) < 160
    assert batch_size(large) == 1


def test_samples_that_are_kept_fit_in_memory(tmp_path: Path) -> None:
    light = onnx.parser.parse_model("""
        <ir_version: 8, opset_import: ["" : 17]>
        net (float[N, 3, 2048, 2048] image) => (float[N, 4, 1, 1] y) {
            small = GlobalAveragePool(image)
            inner = Conv(small, first)
            y = Conv(inner, last)
        }""")
    for name, shape in (("first", (8, 3, 1, 1)), ("last", (4, 8, 1, 1))):
        light.graph.initializer.append(numpy_helper.from_array(np.ones(shape, np.float32), name))
    onnx.save(light, tmp_path / "light.onnx")
    network = read_network(tmp_path / "light.onnx", None, 1)
    assert evaluation_samples(network) == 2**30 // (3 * 2048 * 2048 * 4)


def test_a_candidate_of_a_fixed_batch_is_healed_on_whole_batches(tmp_path: Path) -> None:
    model = residual_cnn()
    for value in (*model.graph.input, *model.graph.output):
        value.type.tensor_type.shape.dim[0].dim_value = 200
    # A batch that stands in the graph, too: the network runs no other.
    model.graph.initializer.append(numpy_helper.from_array(np.array([200, 8]), "rows"))
    flat = next(node for node in model.graph.node if node.op_type == "Flatten")
    flat.op_type, flat.input[:] = "Reshape", [flat.input[0], "rows"]
    onnx.save(model, tmp_path / "fixed.onnx")
    network = read_network(tmp_path / "fixed.onnx", None, 1)
    data = samples(network)
    subject = replace(judge(network)._subjects, draft=draft_healer(network, data.train, 0))
    healed = HealedJudge(subject)
    assert healed.judge(np.array([8, 4, 4]), healed.looks[-1]).samples == healed.looks[-1]


def test_the_first_look_sees_every_class(network: Network) -> None:
    labels = np.repeat(np.arange(10), 40)
    x = np.random.default_rng(0).standard_normal((400, 3, 8, 8)).astype(np.float32)
    data = open_data((x, labels), network.inputs, network.input_shapes, None, 0).train
    look = data.spread(100, 0)
    assert set(look.labels[:25]) == set(range(10))
    assert len(set(look.rows)) == 100


def test_what_is_not_finite_is_worth_the_least(network: Network) -> None:
    worst = reward(Metrics("top-1", 90.0, 100, top1=90.0, agreement=80.0, kl=float("nan")))
    assert np.isfinite(worst)
    assert worst < reward(Metrics("top-1", 0.0, 100, top1=0.0, agreement=0.0, kl=9.0))
    assert reward(Metrics("normalised agreement", -float("inf"), 100)) == worst


def test_low_metrics_are_told_apart_and_above_none_at_all() -> None:
    rewards = [reward(Metrics("minus MSE", points, 100)) for points in (-300.0, -700.0, -5e3, -5e9, -float("inf"))]
    assert rewards[:4] == [-300.0, -700.0, -5e3, -5e9]
    assert rewards[3] > rewards[4]


def test_a_metric_without_a_number_for_a_candidate_does_not_end_the_search(network: Network) -> None:
    def mean_of_many(outputs: np.ndarray, _: object) -> float:
        return float("nan") if outputs.std() < 0.5 * spread else 1.0

    subject = judge(network, heal=False)
    data = subject._subjects.data
    spread = np.concatenate([np.asarray(subject._reference[0])]).std()
    judged = HealedJudge(replace(subject._subjects, data=replace(data, metric=TaskMetric("mean", mean_of_many))))
    look = judged.looks[-1]
    assert judged.judge(full_counts(network.channels), look).metric == 1.0
    worst = judged.judge(np.ones(len(network.channels.groups), dtype=int), look)
    assert worst.reward == reward(Metrics("mean", float("nan"), look))


def with_metric(subject: HealedJudge, metric: Callable[[np.ndarray, object], float]) -> HealedJudge:
    data = replace(subject._subjects.data, metric=TaskMetric("own", metric))
    return HealedJudge(replace(subject._subjects, data=data))


def test_nor_does_one_that_fails_for_a_candidate(network: Network) -> None:
    subject = judge(network, heal=False)
    original = np.asarray(subject._reference[0])

    def one_network_only(outputs: np.ndarray, _: object) -> float:
        if not np.allclose(outputs, original[: len(outputs)], atol=1e-4):
            raise ValueError("Only one class present in y_true")
        return 50.0

    judged = with_metric(subject, one_network_only)
    for look in judged.looks:
        assert judged.judge(full_counts(network.channels), look).metric == 50.0
        failed = judged.judge(np.array([4, 4]), look)
        assert failed.reward == reward(Metrics("own", float("nan"), look))
    assert judged.confirm(np.array([4, 4])).reward == failed.reward


def test_where_the_metric_fails_on_few_of_the_originals_samples_all_are_looked_at(network: Network) -> None:
    subject = judge(network, heal=False)
    first, last = subject.looks

    def demanding(outputs: np.ndarray, _: object) -> float:
        if len(outputs) <= first:
            raise ValueError("Only one class present in y_true")
        return float(outputs.mean())

    assert with_metric(subject, demanding).looks == (last,)
    assert with_metric(subject, lambda *_: 1.0).looks == (first, last)


def test_a_metric_that_fails_on_all_of_the_originals_outputs_can_judge_nothing(network: Network) -> None:
    with pytest.raises(DataError, match="40 samples that candidates are judged on: metric 'own' gave nan"):
        with_metric(judge(network, heal=False), lambda *_: float("nan"))


def test_of_large_networks_one_candidate_is_open_at_a_time(network: Network, monkeypatch: pytest.MonkeyPatch) -> None:
    subject, most = judge(network), []
    monkeypatch.setattr(subject, "_most_open", 1)
    opened = subject._predict

    def counting(model: ir.Model) -> Predict:
        most.append(len(subject._open))
        return opened(model)

    monkeypatch.setattr(subject, "_predict", counting)
    first = [subject.judge(np.array(counts), subject.looks[0]) for counts in ([8, 12], [6, 12])]
    assert [subject.judge(np.array(counts), subject.looks[0]) for counts in ([8, 12], [6, 12])] == first
    assert most == [0] * 4
