from __future__ import annotations

import copy
import dataclasses
import json

import numpy as np
import pytest
import torch
from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import nn

from onnxprune.errors import DataError, DeviceError, OutputError, RunDirectoryError, TrainingError
from onnxprune.graph import InputSpec
from onnxprune.training import DistillConfig, collect, distil, evaluate, module_predict, open_data, synthetic_data
from onnxprune.training.task import TaskMetric

CLASSES = 4
FAST = DistillConfig(epochs=6, batch_size=16, learning_rate=0.01, device="cpu")


class Tiny(nn.Module):
    """Convolution, BatchNorm, scores, and, where asked for, a map that is no class scores."""

    def __init__(self, width=8, *, probabilities=False, maps=False):
        super().__init__()
        self.conv = nn.Conv2d(1, width, 3, padding=1)
        self.norm = nn.BatchNorm2d(width)
        self.dropout = nn.Dropout(0.5)
        self.fc = nn.Linear(width * 16, CLASSES)
        self.probabilities, self.maps = probabilities, maps

    def forward(self, x):
        features = nn.functional.max_pool2d(torch.relu(self.norm(self.conv(x))), 2)
        scores = self.fc(self.dropout(features).flatten(1))
        scores = scores.softmax(1) if self.probabilities else scores
        return (features, scores) if self.maps else (scores,)


@pytest.fixture
def splits(grey):
    """Noisy pictures with a bright quarter: its place is the class."""
    rng = np.random.default_rng(0)
    y = np.arange(240) % CLASSES
    x = rng.standard_normal((240, 1, 8, 8)).astype(np.float32)
    for i, label in enumerate(y):
        row, column = 4 * (label // 2), 4 * (label % 2)
        x[i, 0, row : row + 4, column : column + 4] += 1.0
    return open_data((x, y), *grey, None, 0)


@pytest.fixture
def teacher(splits):
    """A network that has learnt the pictures."""
    torch.manual_seed(0)
    network = Tiny()
    optimizer = torch.optim.SGD(network.parameters(), 0.1, 0.9)
    network.train()
    for epoch in range(4):
        for batch in splits.train.batches(16, epoch):
            scores = network(torch.from_numpy(batch.inputs[0]))[0]
            optimizer.zero_grad()
            nn.functional.cross_entropy(scores, torch.from_numpy(batch.labels)).backward()
            optimizer.step()
    network.eval()
    return network


def damaged(network, share=0.5):
    """A copy whose first layer has lost a share of its weights' precision."""
    student = copy.deepcopy(network)
    generator = torch.Generator().manual_seed(1)
    for parameter in student.parameters():
        noise = torch.randn(parameter.shape, generator=generator)
        parameter.data += share * noise * parameter.abs().mean()
    student.fc.weight.data[:, ::2] = 0
    return student


def weights(network):
    return {name: value.clone() for name, value in network.state_dict().items()}


def same(first, second):
    return all(torch.equal(first[name], second[name]) for name in first)


def close(first, second):
    return all(torch.allclose(first[name], second[name], atol=1e-4) for name in first)


@pytest.mark.parametrize("labelled", [True, False])
def test_recovers_a_damaged_network(splits, teacher, labelled):
    train, val = (p if labelled else p.unlabelled() for p in (splits.train, splits.val))
    student = damaged(teacher, 2.0)
    before = evaluate(module_predict(student), splits.test, module_predict(teacher))
    history = distil(student, teacher, train, val, FAST)
    after = evaluate(module_predict(student), splits.test, module_predict(teacher))
    assert after.kl < before.kl / 4
    assert after.top1 > before.top1
    assert history.records[-1].train_loss < history.records[1].train_loss / 2
    assert history.best.val.primary_name == ("top-1" if labelled else "top-1 agreement")


def judged(part, **changes):
    """The part with a metric of the user's."""
    return dataclasses.replace(part, metric=TaskMetric("own", lambda *_: 0.0), **changes)


def test_labels_of_a_users_metric_are_not_trained_on(splits, teacher):
    trained = []
    for part in (judged(splits.train), judged(splits.train.unlabelled()), splits.train):
        student = damaged(teacher)
        distil(student, teacher, part, None, dataclasses.replace(FAST, epochs=1))
        trained.append(weights(student))
    assert same(trained[0], trained[1])
    assert not same(trained[0], trained[2])


@pytest.mark.parametrize("scored", [True, False])
def test_an_offset_matters_where_outputs_are_no_class_scores(splits, teacher, scored):
    student = copy.deepcopy(teacher)
    student.fc.bias.data += 5.0
    train, val = (judged(part.unlabelled(), scored=scored) for part in (splits.train, splits.val))
    history = distil(student, teacher, train, val, FAST)
    mine, wanted = (collect(module_predict(network), val)[0] for network in (student, teacher))
    assert (abs((mine - wanted).mean()) < 1.0) == (not scored)
    assert (history.best.val.kl is None) == (not scored)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
@pytest.mark.parametrize("amp", [True, False])
def test_recovers_a_damaged_network_on_a_gpu_and_leaves_it_on_the_cpu(splits, teacher, amp):
    student = damaged(teacher, 2.0)
    before = evaluate(module_predict(student), splits.test, module_predict(teacher))
    config = DistillConfig(epochs=6, batch_size=16, learning_rate=0.01, device="cuda", amp=amp)
    distil(student, teacher, splits.train, splits.val, config)
    assert {p.device.type for network in (student, teacher) for p in network.parameters()} == {"cpu"}
    after = evaluate(module_predict(student), splits.test, module_predict(teacher))
    assert after.kl < before.kl / 4


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_same_seed_same_weights(splits, teacher, optimizer):
    config = DistillConfig(epochs=2, batch_size=16, optimizer=optimizer, augment=("flip", "shift"), seed=3)
    students = [damaged(teacher) for _ in range(3)]
    for student, seed in zip(students, (3, 3, 4), strict=True):
        distil(student, teacher, splits.train, None, DistillConfig(**{**vars(config), "seed": seed}))
    first, second, other = map(weights, students)
    assert same(first, second)
    assert not same(first, other)


def test_leaves_teacher_modes_and_random_state_alone(splits, teacher):
    teacher.conv.train()
    before, student = weights(teacher), damaged(teacher).train()
    torch.manual_seed(5)
    expected = torch.rand(3, generator=torch.Generator().manual_seed(5))
    distil(student, teacher, splits.train, splits.val, FAST)
    assert torch.equal(torch.rand(3), expected)
    assert same(before, weights(teacher))
    assert teacher.conv.training
    assert not teacher.norm.training
    assert student.training
    assert student.conv.weight.is_contiguous()


def test_a_teacher_may_be_a_function_on_arrays(splits, teacher):
    students = [damaged(teacher) for _ in range(2)]
    for student, original in zip(students, (teacher, module_predict(teacher)), strict=True):
        # Where a gradient is all but zero, AdamW would make whole steps of rounding errors.
        distil(student, original, splits.train, splits.val, DistillConfig(epochs=2, batch_size=16, optimizer="sgd"))
    assert close(*map(weights, students))


def test_cached_and_recomputed_outputs_of_the_teacher_agree(splits, teacher):
    students = [damaged(teacher) for _ in range(2)]
    for student, room in zip(students, (1 << 30, 0), strict=True):
        distil(
            student,
            teacher,
            splits.train,
            splits.val,
            DistillConfig(epochs=2, batch_size=16, cache_bytes=room, device="cpu"),
        )
    assert close(*map(weights, students))


@pytest.mark.parametrize("changes", [{"probabilities": True}, {"maps": True}])
def test_other_outputs(splits, teacher, changes):
    network = Tiny(**changes)
    network.load_state_dict(teacher.state_dict())
    student = damaged(network.eval(), 2.0)
    before = evaluate(module_predict(student), splits.test, module_predict(network))
    distil(student, network, splits.train, splits.val, FAST)
    after = evaluate(module_predict(student), splits.test, module_predict(network))
    assert all(a < b / 1.5 for a, b in zip(after.errors, before.errors, strict=True))


def test_synthetic_inputs_will_do(grey, teacher):
    data = synthetic_data(*grey, 100, 0)
    student = damaged(teacher, 2.0)
    history = distil(student, teacher, data.train, data.val, FAST)
    assert history.best.val.synthetic
    assert history.best.val.kl < history.records[0].val.kl / 2


def test_keeps_the_best_epoch_and_tells_every_one(splits, teacher):
    told = []
    student = damaged(teacher, 2.0)
    history = distil(student, teacher, splits.train, splits.val, FAST, on_epoch=told.append)
    assert [r.epoch for r in told] == list(range(7))
    assert tuple(told) == history.records
    kept = evaluate(module_predict(student), splits.val, module_predict(teacher))
    assert kept.kl == pytest.approx(history.best.val.kl, rel=1e-3)
    assert not any(r.val.better_than(history.best.val) for r in told)
    assert history.stopped_by == "epochs"
    json.dumps(history.to_dict(), allow_nan=False)


def test_never_worse_than_before(splits, teacher):
    student = copy.deepcopy(teacher)
    config = DistillConfig(epochs=2, learning_rate=0.5, batch_size=16)
    history = distil(student, teacher, splits.train, splits.val.unlabelled(), config)
    assert history.best_epoch == 0
    assert history.notes[0].startswith("the outputs moved away from the original's at step")
    assert same(weights(student), weights(teacher))


class Clock:
    """A clock that goes on by a tenth of a second each time it is read."""

    def __init__(self):
        self.now_s = 0.0

    def __call__(self):
        self.now_s += 0.1
        return self.now_s


def test_ends_at_the_time_budget_with_its_schedule_complete(splits, teacher):
    config = DistillConfig(time_budget_s=10.0, batch_size=16)
    clock = Clock()
    history = distil(damaged(teacher), teacher, splits.train, splits.val, config, clock=clock)
    assert history.stopped_by == "time budget"
    assert clock.now_s < 11
    assert history.steps > 12
    rates = [r.learning_rate for r in history.records]
    assert rates[-1] < 0.01 * max(rates)
    assert history.records[-1].progress == 1.0
    # All that the budget includes is counted: the original's outputs and the first validation too.
    assert history.records[-1].elapsed_s < history.spent_s == pytest.approx(clock.now_s, abs=0.5)


def test_the_time_spent_includes_attempts_before(splits, teacher, tmp_path):
    config, checkpoint = DistillConfig(time_budget_s=10.0, batch_size=16), tmp_path / "checkpoint"
    student = damaged(teacher)
    spent_s = [
        distil(student, teacher, splits.train, splits.val, config, clock=Clock(), checkpoint=checkpoint).spent_s
        for _ in range(2)
    ]
    assert spent_s[0] > 9
    assert spent_s[1] == pytest.approx(spent_s[0], abs=1.0)


def test_epochs_end_it_before_the_time_does(splits, teacher):
    config = DistillConfig(epochs=2, time_budget_s=1e6, batch_size=16)
    history = distil(damaged(teacher), teacher, splits.train, splits.val, config)
    assert (history.stopped_by, len(history.records)) == ("epochs", 3)


class Fragile(Tiny):
    """A network whose outputs are NaN in training, as often as told."""

    failures = 0

    def forward(self, x):
        (scores,) = super().forward(x)
        if self.training and self.failures:
            self.failures -= 1
            return (scores * float("nan"),)
        return (scores,)


def test_a_loss_that_is_nan_lowers_the_learning_rate(splits, teacher):
    student = Fragile()
    student.load_state_dict(damaged(teacher, 2.0).state_dict())
    student.failures = 2
    history = distil(student, teacher, splits.train, splits.val, FAST)
    assert [note[:22] for note in history.notes] == ["the loss became nan at"] * 2
    assert history.best.val.kl < history.records[0].val.kl
    assert max(r.learning_rate for r in history.records[1:]) < 0.1 * FAST.peak_learning_rate(16)


def test_a_loss_that_stays_nan_is_an_error(splits, teacher):
    student = Fragile()
    student.failures = 10**6
    with pytest.raises(TrainingError, match=r"loss became nan 4 times.*--learning-rate"):
        distil(student, teacher, splits.train, splits.val, FAST)


def test_labels_out_of_range_are_found_before_training(splits, teacher, grey):
    wrong = open_data((np.zeros((9, 1, 8, 8)), np.arange(9)), *grey, None, 0).train
    with pytest.raises(DataError, match=r"label \d, but the model has 4 class scores"):
        distil(damaged(teacher), teacher, wrong, None, FAST)


def test_an_original_that_gives_nan(splits, teacher):
    with pytest.raises(DataError, match="output 0 of the original network is NaN"):
        distil(damaged(teacher), lambda i: [np.full((len(i[0]), 4), np.nan, "f4")], splits.train, None, FAST)


def test_nothing_to_train(splits, teacher):
    with pytest.raises(TrainingError, match="no weights"):
        distil(damaged(teacher).requires_grad_(False), teacher, splits.train, None, FAST)


def test_a_device_that_is_not_there(splits, teacher):
    with pytest.raises(DeviceError, match="cannot train on 'cuda:99' here"):
        distil(damaged(teacher), teacher, splits.train, None, DistillConfig(device="cuda:99"))


class OfFour(Tiny):
    """A network that runs four samples at a time, no more and no fewer."""

    def forward(self, x):
        (scores,) = super().forward(x)
        return (scores.reshape(4, CLASSES),)


def test_a_fixed_batch_size(splits, teacher):
    network = OfFour()
    network.load_state_dict(teacher.state_dict())
    student = damaged(network.eval(), 2.0)
    config = DistillConfig(epochs=3, fixed_batch=4, learning_rate=0.005)
    history = distil(student, network, splits.train, splits.val, config)
    assert history.best.val.kl < history.records[0].val.kl / 2


def test_few_samples_and_batchnorm(grey, teacher):
    data = open_data((np.random.default_rng(0).standard_normal((5, 1, 8, 8)), np.arange(5) % 4), *grey, None, 0)
    student = damaged(teacher)
    norm = weights(student)["norm.running_mean"]
    history = distil(student, teacher, data.train, None, DistillConfig(epochs=2))
    assert history.steps == 6
    assert torch.equal(student.norm.running_mean, norm)


@pytest.mark.parametrize(
    "wrong",
    [{"epochs": 0}, {"optimizer": "adam"}, {"alpha": 1.5}, {"time_budget_s": -1.0}, {"batch_size": 0}],
)
def test_a_configuration_that_makes_no_sense(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        DistillConfig(**wrong)


def test_a_network_of_3d_convolutions_learns():
    rng = np.random.default_rng(0)
    spec = InputSpec("volume", ("n", 1, 4, 8, 8), np.dtype("float32"))
    volumes = rng.standard_normal((256, 1, 4, 8, 8)).astype(np.float32)
    data = open_data(volumes, (spec,), {"volume": (1, 1, 4, 8, 8)}, None, 0)

    def network():
        torch.manual_seed(0)
        layers = nn.Conv3d(1, 4, 3, padding=1), nn.ReLU(), nn.MaxPool3d(4), nn.Flatten(), nn.Linear(16, 3)
        return nn.Sequential(*layers)

    student = network()
    with torch.no_grad():
        student[0].weight.mul_(0.1)
    history = distil(student, network(), data.train, data.val, FAST)
    assert history.best.val.errors[0] < history.records[0].val.errors[0] / 2


def test_a_checkpoint_that_cannot_be_written_is_told(splits, teacher, tmp_path, monkeypatch):
    def full(*_):
        raise SafetensorError("I/O error: No space left on device")

    monkeypatch.setattr("onnxprune.training.state.save_file", full)
    with pytest.raises(OutputError, match=r"cannot write '.*state\.safetensors': I/O error: No space left"):
        distil(
            damaged(teacher, 2.0), teacher, splits.train, splits.val, FAST, checkpoint=tmp_path / "state.safetensors"
        )
    assert list(tmp_path.iterdir()) == []


def test_a_checkpoint_without_its_header_is_told(splits, teacher, tmp_path):
    path = tmp_path / "state.safetensors"
    save_file({"x": torch.ones(1)}, path)
    with pytest.raises(RunDirectoryError, match="cannot be taken up"):
        distil(damaged(teacher, 2.0), teacher, splits.train, splits.val, FAST, checkpoint=path)
