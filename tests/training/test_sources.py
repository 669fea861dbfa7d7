from __future__ import annotations

import sys

import numpy as np
import pytest

from onnxprune.errors import DataError
from onnxprune.training import open_data, read_metric, synthetic_data


def samples(count, classes=4, seed=0):
    x = np.random.default_rng(seed).standard_normal((count, 1, 8, 8)).astype(np.float32)
    x[:, 0, 0, 0] = np.arange(count)
    return x, np.arange(count) % classes


def numbers(data):
    return sorted(int(n) for b in data.batches(16) for n in b.inputs[0][:, 0, 0, 0])


class TestSplit:
    def test_parts_are_disjoint_whole_and_of_the_right_size(self, grey):
        splits = open_data(samples(203), *grey, None, 3)
        parts = [numbers(p) for p in (splits.train, splits.val, splits.test)]
        assert [len(p) for p in parts] == [162, 21, 20]
        assert sorted(n for part in parts for n in part) == list(range(203))

    def test_same_seed_same_split(self, grey):
        first, second, other = (open_data(samples(100), *grey, None, seed) for seed in (1, 1, 2))
        assert numbers(first.test) == numbers(second.test) != numbers(other.test)

    def test_every_class_has_its_share_in_every_part(self, grey):
        x, _ = samples(1000)
        y = np.repeat([0, 1, 2], [700, 200, 100])
        splits = open_data((x, y), *grey, None, 0)
        for part, share in ((splits.train, 0.8), (splits.val, 0.1), (splits.test, 0.1)):
            counts = np.bincount(part.labels, minlength=3)
            assert np.abs(counts - share * np.array([700, 200, 100])).max() <= 2

    def test_no_part_is_empty(self, grey):
        splits = open_data(samples(3), *grey, None, 0)
        assert (len(splits.train), len(splits.val), len(splits.test)) == (1, 1, 1)

    def test_too_few_samples(self, grey):
        with pytest.raises(DataError, match="has 2 samples, too few"):
            open_data(samples(2), *grey, None, 0)

    def test_given_parts_stay_as_they_are(self, grey):
        splits = open_data(samples(50), *grey, None, 0, val=samples(7), test=samples(9))
        assert (len(splits.train), len(splits.val), len(splits.test)) == (50, 7, 9)

    def test_missing_test_part_is_cut_from_the_data(self, grey):
        splits = open_data(samples(90), *grey, None, 0, val=samples(7))
        assert (len(splits.train), len(splits.val), len(splits.test)) == (80, 7, 10)


class TestDataset:
    def test_shuffled_batches_are_reproducible_and_whole(self, grey):
        data = open_data(samples(50), *grey, None, 0).train
        orders = [[b.positions.tolist() for b in data.batches(16, seed)] for seed in (5, 5, 6)]
        assert orders[0] == orders[1] != orders[2]
        assert sorted(n for batch in orders[0] for n in batch) == list(range(len(data)))

    def test_positions_tell_where_a_sample_stands(self, grey):
        data = open_data(samples(50), *grey, None, 0).train
        ordered = np.concatenate([b.inputs[0] for b in data.batches(50)])
        batch = next(data.batches(8, 1))
        assert np.array_equal(batch.inputs[0], ordered[batch.positions])

    def test_drop_last_keeps_an_only_batch(self, grey):
        data = open_data(samples(50), *grey, None, 0).train
        assert [len(b.positions) for b in data.batches(16, drop_last=True)] == [16, 16]
        assert [len(b.positions) for b in data.batches(64, drop_last=True)] == [40]

    def test_a_subset_is_balanced_and_reproducible(self, grey):
        data = open_data(samples(400), *grey, None, 0).train
        subset = data.subset(40, 1)
        assert np.abs(np.bincount(subset.labels) - 10).max() <= 1
        assert numbers(subset) == numbers(data.subset(40, 1)) != numbers(data.subset(40, 2))
        assert data.subset(10**6, 0) is data


@pytest.fixture
def module(tmp_path, monkeypatch):
    """Write a module into the current folder; gives a function that takes its text."""
    monkeypatch.chdir(tmp_path)

    def write(text):
        (tmp_path / "my_data.py").write_text("import numpy as np\n" + text)
        return "my_data"

    yield write
    sys.modules.pop("my_data", None)


class TestFunction:
    @pytest.mark.parametrize(
        "body",
        [
            "return [(np.full((1, 8, 8), i, 'f4'), i % 2) for i in range(20)]",
            "return ((np.full((5, 1, 8, 8), 0, 'f4'), np.array([0, 1, 0, 1, 0])) for i in range(4))",
            "return [({'image': np.zeros((1, 8, 8))}, np.int64(i % 2)) for i in range(20)]",
        ],
    )
    def test_samples_and_batches(self, module, grey, body):
        module(f"def load():\n    {body}\n")
        splits = open_data("my_data:load", *grey, None, 0)
        assert len(splits.train) == 16
        assert set(splits.train.labels) == {0, 1}

    def test_without_labels(self, module, grey):
        module("def load():\n    return [(np.zeros((4, 1, 8, 8)), None)] * 3\n")
        assert not open_data("my_data:load", *grey, None, 0).train.labelled

    def test_a_callable(self, grey):
        splits = open_data(lambda: [samples(20)], *grey, None, 0)
        assert len(splits.train) == 16

    def test_several_inputs_in_order(self, module, make_spec):
        inputs = (make_spec("a", "n", 2), make_spec("b", "n", 3))
        module("def load():\n    return [((np.zeros(2), np.ones(3)), 0)] * 9\n")
        batch = next(open_data("my_data:load", inputs, {"a": (1, 2), "b": (1, 3)}, None, 0).train.batches(4))
        assert [i.shape for i in batch.inputs] == [(4, 2), (4, 3)]

    def test_the_import_path_is_restored(self, module, grey):
        before = list(sys.path)
        module("def load():\n    return [(np.zeros((4, 1, 8, 8)), None)]\n")
        open_data("my_data:load", *grey, None, 0)
        assert sys.path == before

    @pytest.mark.parametrize(
        ("text", "spec", "message"),
        [
            ("def load_data(): ...", "my_data:load_dta", "did you mean 'my_data:load_data'"),
            ("", "no_such_module:load", "no module 'no_such_module'"),
            ("import no_such_module", "my_data:load", "'my_data' needs 'no_such_module'"),
            ("1 / 0", "my_data:load", "cannot be imported: ZeroDivisionError"),
            ("def load(): return 1 / 0", "my_data:load", "load failed: ZeroDivisionError"),
            ("import sys; sys.exit(2)", "my_data:load", r"cannot be imported: it called sys\.exit\(2\)"),
            ("def load(): raise SystemExit", "my_data:load", r"load failed: it called sys\.exit\(\) \(raise an"),
            ("def load():\n yield 1 / 1\n exit('bye')", "my_data:load", r"load failed: it called sys\.exit\('bye'\)"),
            ("load = 3", "my_data:load", "'load' of module 'my_data' is no function, but of type 'int'; it has none"),
            ("def load(): return []", "my_data:load", "gives no samples"),
            (
                "def load(): return [(np.zeros((1,8,8)), 0), (np.zeros((1,8,8)), None)]",
                "my_data:load",
                "some samples only",
            ),
            (
                "def load(): return [(np.zeros((1,8,8)), 0), (np.zeros((1,9,9)), 0)]",
                "my_data:load",
                "different shapes",
            ),
            (
                "def load(): return [({'x': np.zeros((1,8,8))}, 0)]",
                "my_data:load",
                "gives 'x', but .* needs 'image'",
            ),
        ],
    )
    def test_errors(self, module, grey, text, spec, message):
        module(text + "\n")
        with pytest.raises(DataError, match=message):
            open_data(spec, *grey, None, 0)


class TestPath:
    def test_nothing_there(self, grey, tmp_path):
        with pytest.raises(DataError, match=r"no file or folder '.*missing'; --data takes"):
            open_data(tmp_path / "missing", *grey, None, 0)

    def test_a_file_of_another_kind(self, grey, tmp_path):
        (tmp_path / "d.csv").write_text("1,2")
        with pytest.raises(DataError, match=r"d\.csv' cannot be read: --data takes"):
            open_data(tmp_path / "d.csv", *grey, None, 0)


class TestSynthetic:
    def test_marks_itself_and_is_reproducible(self, grey):
        splits = synthetic_data(*grey, 20, 1)
        assert splits.synthetic
        assert "random inputs" in splits.notes[0]
        first = next(splits.train.batches(4)).inputs[0]
        assert first.shape == (4, 1, 8, 8)
        assert np.array_equal(first, next(synthetic_data(*grey, 20, 1).train.batches(4)).inputs[0])
        assert not np.array_equal(first[0], first[1])
        assert abs(first.std() - 1) < 0.01

    def test_integers(self, make_spec):
        inputs = (make_spec("tokens", "n", 5, dtype="int64"), make_spec("raw", "n", 3, 8, 8, dtype="uint8"))
        splits = synthetic_data(inputs, {"tokens": (1, 5), "raw": (1, 3, 8, 8)}, 10, 0)
        tokens, raw = next(splits.train.batches(8)).inputs
        assert set(tokens.ravel()) == {0, 1}
        assert raw.dtype == np.uint8
        assert raw.max() > 200


@pytest.mark.parametrize(
    "items",
    [
        lambda x, _: [[x]],
        lambda x, y: [((x,), y)],
        lambda x, y: [((one,), label) for one, label in zip(x, y, strict=True)],
    ],
)
def test_a_loader_gives_inputs_in_lists_of_one(grey, items):
    x, y = samples(20)
    splits = open_data(lambda: items(x, y), *grey, None, 0)
    assert sorted(numbers(splits.train) + numbers(splits.val) + numbers(splits.test)) == list(range(20))


def test_items_that_are_dictionaries_hold_labels_too(grey):
    x, y = samples(20)
    splits = open_data(lambda: [{"image": x, "labels": y}], *grey, None, 0)
    batch = next(splits.train.batches(20))
    np.testing.assert_array_equal(batch.labels, batch.inputs[0][:, 0, 0, 0] % 4)


def test_a_metric_may_import_from_the_current_folder_when_it_is_called(tmp_path, monkeypatch):
    (tmp_path / "late_metric.py").write_text(
        "def score(outputs, labels):\n    import late_help\n    return late_help.POINTS\n"
    )
    (tmp_path / "late_help.py").write_text("POINTS = 7\n")
    monkeypatch.chdir(tmp_path)
    assert read_metric("late_metric:score").score([np.zeros(1)], None) == 7


@pytest.mark.parametrize("given", [lambda x, y: (x, y), lambda x, y: {"image": x, "labels": y}])
def test_a_function_may_give_one_batch_as_it_is(grey, given):
    x, y = samples(20)
    splits = open_data(lambda: given(x, y), *grey, None, 0)
    assert sorted(numbers(splits.train) + numbers(splits.val) + numbers(splits.test)) == list(range(20))
    assert splits.train.labelled


def test_two_inputs_and_labels_may_stand_in_one_tuple(make_spec):
    inputs, shapes = (make_spec("a", "n", 4), make_spec("b", "n", 2)), {"a": (1, 4), "b": (1, 2)}
    a, b, y = np.ones((20, 4), np.float32), np.zeros((20, 2), np.float32), np.arange(20) % 2
    batch = next(open_data(lambda: [(a, b, y)], inputs, shapes, None, 0).train.batches(4))
    assert [array.shape for array in batch.inputs] == [(4, 4), (4, 2)]
    assert batch.labels is not None


def test_a_function_that_returns_nothing_says_what_it_should(grey):
    with pytest.raises(DataError, match="returned None; it must return an iterable"):
        open_data(lambda: None, *grey, None, 0)
