from __future__ import annotations

import pickle

import numpy as np
import pytest

from onnxprune.errors import DataError
from onnxprune.graph import InputSpec
from onnxprune.training import Preprocess, open_data, open_samples

RNG = np.random.default_rng(0)


def everything(splits):
    """All samples of all parts, as the model gets them, sorted by their first value."""
    joined = np.concatenate([b.inputs[0] for part in (splits.train, splits.val, splits.test) for b in part.batches(7)])
    return joined[np.argsort(joined.reshape(len(joined), -1)[:, 0])]


def numbered(count, *shape, dtype=np.float32):
    """Samples whose first value is their number."""
    x = RNG.integers(0, 200, (count, *shape)).astype(dtype)
    x.reshape(count, -1)[:, 0] = np.arange(count)
    return x


class TestNpz:
    def test_arrays_named_as_the_inputs(self, tmp_path, make_spec):
        a, b = numbered(20, 4), np.arange(20, dtype=np.int64).reshape(20, 1)
        np.savez(tmp_path / "d.npz", left=a, right=b, y=np.arange(20) % 2)
        inputs = (make_spec("right", "n", 1, dtype="int64"), make_spec("left", "n", 4))
        splits = open_data(tmp_path / "d.npz", inputs, {"right": (1, 1), "left": (1, 4)}, None, 0)
        batch = next(splits.train.batches(64))
        assert [i.dtype.name for i in batch.inputs] == ["int64", "float32"]
        assert np.array_equal(batch.inputs[0][:, 0], batch.inputs[1][:, 0])
        assert np.array_equal(batch.labels, batch.inputs[0][:, 0] % 2)

    def test_bytes_with_a_preprocess_file(self, tmp_path, grey):
        x = numbered(30, 1, 8, 8, dtype=np.uint8)
        np.savez(tmp_path / "d.npz", x=x, y=np.arange(30) % 3)
        given = Preprocess(scale=0.00392156862745098, mean=[0.2860], std=[0.3530])
        splits = open_data(tmp_path / "d.npz", *grey, given, 0)
        assert np.allclose(everything(splits), (x / 255 - 0.286) / 0.353, atol=1e-6)
        assert splits.notes == ()
        assert splits.test.labelled

    def test_bytes_without_preprocessing_are_scaled_and_it_is_said(self, grey):
        splits = open_data({"x": numbered(10, 8, 8, dtype=np.uint8)}, *grey, None, 0)
        assert everything(splits).max() <= 1.0
        assert "scaled to 0..1" in splits.notes[0]

    def test_floats_without_preprocessing_stay_as_they_are(self, grey):
        x = numbered(10, 1, 8, 8)
        assert np.array_equal(everything(open_data({"x": x}, *grey, None, 0)), x)

    def test_floats_with_preprocessing_are_preprocessed(self, grey):
        x = numbered(10, 1, 8, 8)
        splits = open_data(x, *grey, Preprocess(scale=0.5), 0)
        assert np.allclose(everything(splits), x / 2)

    @pytest.mark.parametrize(
        ("part", "offset", "byte"),
        [(b"x.npy", 25, 0x07), (b"PK\x01\x02", 10, 0x63), (b"PK\x01\x02", 8, 0x01)],
        ids=["values", "unknown compression", "encrypted"],
    )
    def test_a_damaged_file(self, tmp_path, grey, part, offset, byte):
        path = tmp_path / "d.npz"
        np.savez_compressed(path, x=numbered(20, 1, 8, 8))
        content = bytearray(path.read_bytes())
        content[content.find(part) + offset] = byte
        path.write_bytes(content)
        with pytest.raises(DataError, match=r"d\.npz' cannot be read as an \.npz file of plain arrays: "):
            open_data(path, *grey, None, 0)

    def test_an_input_that_is_called_x_is_named_once(self, make_spec):
        with pytest.raises(DataError, match=r"the model needs 'x'; name the arrays"):
            open_data({"pictures": numbered(5, 4)}, (make_spec("x", "n", 4),), {"x": (1, 4)}, None, 0)

    def test_parts_by_suffix(self, tmp_path, grey):
        x = numbered(40, 1, 8, 8)
        np.savez(tmp_path / "d.npz", x_train=x[:30], y_train=np.zeros(30, int), x_test=x[30:], y_test=np.ones(10))
        splits = open_data(tmp_path / "d.npz", *grey, None, 0)
        assert (len(splits.train), len(splits.val), len(splits.test)) == (27, 3, 10)
        assert splits.test.labels.tolist() == [1] * 10

    def test_npy_is_unlabelled(self, tmp_path, grey):
        np.save(tmp_path / "d.npy", numbered(10, 1, 8, 8))
        assert not open_data(tmp_path / "d.npy", *grey, None, 0).train.labelled

    def test_missing_arrays_list_what_there_is(self, tmp_path, grey):
        np.savez(tmp_path / "d.npz", pictures=np.zeros((5, 8, 8)))
        with pytest.raises(DataError, match=r"'pictures' \(5, 8, 8\).*needs 'image' or 'x'"):
            open_data(tmp_path / "d.npz", *grey, None, 0)

    def test_a_file_that_is_no_npz(self, tmp_path, grey):
        (tmp_path / "d.npz").write_bytes(b"PK\x03\x04 not really")
        with pytest.raises(DataError, match=r"d\.npz' cannot be read"):
            open_data(tmp_path / "d.npz", *grey, None, 0)

    @pytest.mark.parametrize("name", ["d.npz", "d.npy"])
    @pytest.mark.parametrize("content", [b"", b"\x07\x99 noise" * 9, pickle.dumps({"x": 1})])
    def test_junk_is_refused_without_advice_to_unpickle_it(self, tmp_path, grey, name, content):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(DataError) as caught:
            open_data(tmp_path / name, *grey, None, 0)
        assert str(caught.value) == (
            f"'{tmp_path / name}' cannot be read: it is neither an .npz nor an .npy file; write arrays of numbers by "
            "numpy.savez(file, x=samples, y=labels)"
        )

    def test_pickled_objects_are_refused(self, tmp_path, grey):
        objects = np.array([{"a": 1}], dtype=object)
        np.savez(tmp_path / "d.npz", x=np.zeros(1), boxes=objects)
        np.save(tmp_path / "d.npy", objects)
        for name, array in (("d.npz", "boxes"), ("d.npy", "x")):
            with pytest.raises(DataError) as caught:
                open_data(tmp_path / name, *grey, None, 0)
            assert f"{name}' cannot be read: array '{array}' holds Python objects instead of n" in str(caught.value)
            assert "allow_pickle" not in str(caught.value)


class TestFit:
    @pytest.mark.parametrize(
        ("have", "want", "move"),
        [
            ((8, 8), (1, 8, 8), lambda x: x[:, None]),
            ((8, 8), (8, 8, 1), lambda x: x[..., None]),
            ((8, 8, 3), (3, 8, 8), lambda x: x.transpose(0, 3, 1, 2)),
            ((3, 8, 6), (8, 6, 3), lambda x: x.transpose(0, 2, 3, 1)),
            ((64,), (1, 8, 8), lambda x: x.reshape(-1, 1, 8, 8)),
            ((8, 8), (64,), lambda x: x.reshape(-1, 64)),
        ],
    )
    def test_layouts_that_are_clear(self, make_spec, have, want, move):
        x = numbered(12, *have)
        inputs, shapes = (make_spec("image", "n", *want),), {"image": (1, *want)}
        assert np.array_equal(everything(open_data(x, inputs, shapes, None, 0)), move(x))

    @pytest.mark.parametrize("have", [(3, 8, 9), (192,), (9, 8), (2, 3, 8, 8)])
    def test_others_say_both_shapes(self, colour, have):
        with pytest.raises(DataError) as caught:
            open_data(numbered(6, *have), *colour, None, 0)
        assert "(N, " + ", ".join(map(str, have)) + ")" in str(caught.value)
        assert "(N, 3, 8, 8)" in str(caught.value)

    def test_a_type_that_does_not_fit_says_both(self, make_spec):
        inputs = (make_spec("tokens", "n", 4, dtype="int64"),)
        with pytest.raises(DataError, match=r"float32 do not fit input 'tokens', which takes int64"):
            open_data(numbered(6, 4), inputs, {"tokens": (1, 4)}, None, 0)

    def test_integers_out_of_range(self, make_spec):
        inputs = (make_spec("tokens", "n", 4, dtype="uint8"),)
        with pytest.raises(DataError, match="to 300 do not fit"):
            open_data(np.full((6, 4), 300), inputs, {"tokens": (1, 4)}, None, 0)

    def test_per_channel_means_run_along_the_channels(self, make_spec):
        x = np.ones((4, 8, 6, 3), np.uint8)
        inputs, shapes = (make_spec("image", "n", 8, 6, 3),), {"image": (1, 8, 6, 3)}
        splits = open_data(x, inputs, shapes, Preprocess(mean=(0, 1, 2)), 0)
        assert everything(splits)[0, 0, 0].tolist() == [1.0, 0.0, -1.0]

    def test_bgr_flips_the_channels(self, colour):
        x = np.zeros((4, 3, 8, 8), np.uint8)
        x[:, 0] = 7
        splits = open_data(x, *colour, Preprocess(color="bgr"), 0)
        assert everything(splits)[0, :, 0, 0].tolist() == [0.0, 0.0, 7.0]

    def test_a_mean_of_the_wrong_length_says_both(self, grey):
        with pytest.raises(DataError, match=r"mean has 3 values, but input 'image' has 1 channel"):
            open_data(numbered(5, 1, 8, 8), *grey, Preprocess(mean=(0, 1, 2)), 0)

    def test_arrays_are_not_resized(self, grey):
        with pytest.raises(DataError, match="size 9 is not the 8 x 8"):
            open_data(numbered(5, 1, 8, 8), *grey, Preprocess(size=9), 0)

    def test_integer_inputs_are_not_scaled(self, make_spec):
        inputs = (make_spec("image", "n", 1, 8, 8, dtype="uint8"),)
        with pytest.raises(DataError, match="the model preprocesses them itself"):
            open_data(numbered(5, 1, 8, 8, dtype=np.uint8), inputs, {"image": (1, 1, 8, 8)}, Preprocess(scale=2), 0)


class TestLabels:
    @pytest.mark.parametrize(
        "y", [np.arange(9) % 3, (np.arange(9) % 3)[:, None], np.eye(3)[np.arange(9) % 3], np.arange(9.0) % 3]
    )
    def test_forms_of_class_numbers(self, grey, y):
        splits = open_data((numbered(9, 1, 8, 8), y), *grey, None, 0)
        for part in (splits.train, splits.val, splits.test):
            batch = next(part.batches(9))
            assert np.array_equal(batch.labels, batch.inputs[0][:, 0, 0, 0] % 3)

    @pytest.mark.parametrize(
        ("y", "message"),
        [
            (np.zeros((9, 8, 8)), r"float64 of shape \(9, 8, 8\)"),
            (np.full(9, 0.5), "labels are class numbers"),
            (np.full(9, -1), "label -1"),
            (np.zeros(8, int), "different numbers of samples"),
        ],
    )
    def test_others_are_refused(self, grey, y, message):
        with pytest.raises(DataError, match=message):
            open_data((numbered(9, 1, 8, 8), y), *grey, None, 0)


def test_samples_held_in_memory_are_the_same() -> None:
    x = np.random.default_rng(0).standard_normal((50, 3, 4, 4)).astype(np.float32)
    specs = (InputSpec("x", ("n", 3, 4, 4), np.dtype(np.float32)),)
    data = open_data((x, np.arange(50) % 5), specs, {"x": (1, 3, 4, 4)}, None, 0).train.subset(20, 3)
    held = data.in_memory(batch_size=7)
    for before, after in zip(data.batches(6), held.batches(6), strict=True):
        np.testing.assert_array_equal(before.inputs[0], after.inputs[0])
        np.testing.assert_array_equal(before.labels, after.labels)


class TestNotFinite:
    @pytest.mark.parametrize("value", [np.nan, np.inf, 1e300])
    def test_the_first_sample_is_named(self, tmp_path, grey, value):
        x = numbered(30, 1, 8, 8, dtype=np.float64)
        x[[7, 12], 0, 3, 3] = value
        np.savez(tmp_path / "d.npz", x=x)
        message = r"d\.npz': array 'x' has NaN or infinite values in 2 of 30 samples, the first at index 7"
        with pytest.raises(DataError, match=message):
            open_data(tmp_path / "d.npz", *grey, None, 0)
        with pytest.raises(DataError, match=message):
            open_samples(tmp_path / "d.npz", *grey, None)

    def test_found_beyond_the_first_block(self, make_spec):
        x = np.zeros((5000, 2000), np.float32)
        x[4321, 1999] = np.nan
        with pytest.raises(DataError, match="in 1 of 5000 samples, the first at index 4321"):
            open_data(x, (make_spec("x", "n", 2000),), {"x": (1, 2000)}, None, 0)

    @pytest.mark.parametrize("preprocess", [None, Preprocess(scale=0.5)])
    @pytest.mark.parametrize("part", ["val", "test"])
    def test_the_part_is_named(self, tmp_path, grey, part, preprocess):
        x, bad = numbered(30, 1, 8, 8), numbered(9, 1, 8, 8)
        bad[8] = -np.inf
        np.savez(tmp_path / "d.npz", **{"x_train": x, "x_val": x, "x_test": x, f"x_{part}": bad})
        with pytest.raises(DataError, match=rf"d\.npz' \({part} part\): array 'x' .* in 1 of 9 .* index 8"):
            open_data(tmp_path / "d.npz", *grey, preprocess, 0)
        with pytest.raises(DataError, match=rf"data \({part} part\): array 'x' .* in 1 of 9 .* index 8"):
            open_data(x, *grey, preprocess, 0, **{part: bad})

    def test_a_function_is_named(self, grey):
        def load():
            return [(np.full((4, 1, 8, 8), np.nan if step == 2 else 0.0), None) for step in range(4)]

        with pytest.raises(DataError, match=r"load: array 'image' .* in 4 of 16 samples, the first at index 8"):
            open_data(load, *grey, None, 0)

    def test_integers_and_huge_finite_values_pass(self, grey):
        open_data(numbered(9, 1, 8, 8, dtype=np.int64), *grey, None, 0)
        open_data(np.full((9, 1, 8, 8), 1e38, np.float32), *grey, None, 0)

    def test_infinite_labels(self, grey):
        with pytest.raises(DataError, match="labels are class numbers"):
            open_data((numbered(9, 1, 8, 8), np.full(9, np.inf)), *grey, None, 0)


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"other": object()}, r"has 'other' \(\), but the model needs"),
        ({"x": object()}, "is a single number"),
        ({"x": np.array(["one", "two"])}, "values of type str"),
    ],
)
def test_what_is_no_array_is_refused(arrays, message, grey):
    with pytest.raises(DataError, match=message):
        open_data(arrays, *grey, None, 0)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ((np.ones((9, 1, 8, 8)),), r"a tuple of 1; give \(x, y\)"),
        ((np.ones((9, 1, 8, 8)), np.zeros(9, int), np.zeros(9, int)), "a tuple of 3"),
        ({"x": [[1.0], [1.0, 2.0]]}, "'x' cannot be read as an array"),
        ({"x": np.ones((9, 1, 8, 8)), "y": 5}, "'y' is a single number"),
    ],
)
def test_data_of_another_form_is_refused(data, message, grey):
    with pytest.raises(DataError, match=message):
        open_data(data, *grey, None, 0)


def test_a_pair_without_labels_is_unlabelled(grey):
    assert not open_data((numbered(9, 1, 8, 8), None), *grey, None, 0).train.labelled


def test_labels_that_belong_to_no_part_are_refused_and_other_arrays_told(tmp_path, grey):
    x = numbered(9, 1, 8, 8)
    np.savez(tmp_path / "d.npz", x_train=x, x_test=x, y=np.arange(9))
    with pytest.raises(DataError, match=r"comes in parts .* 'y' belongs to none: split it into 'y_train'"):
        open_data(tmp_path / "d.npz", *grey, None, 0)
    np.savez(tmp_path / "d.npz", x_train=x, y_train=np.arange(9), x_test=x, y_tst=np.arange(9))
    assert (
        open_data(tmp_path / "d.npz", *grey, None, 0)
        .notes[-1]
        .endswith("array 'y_tst' belongs to no part (_train, _val, _test): not used")
    )


def test_masks_are_no_labels_of_samples_that_are_compared(grey):
    data = open_samples((numbered(9, 1, 8, 8) / 200, np.ones((9, 8, 8), int)), *grey, None)
    assert not data.labelled
    assert data.notes == ("data: labels (int64 of shape (9, 8, 8)) are no class numbers: not used",)


def test_grey_for_a_network_of_three_channels(colour):
    x = RNG.integers(0, 256, (9, 3, 8, 8)).astype(np.uint8)
    found = next(open_data(x, *colour, Preprocess(color="grey"), 0).train.batches(1))
    row = int(open_data(x, *colour, Preprocess(color="grey"), 0).train.rows[found.positions[0]])
    wanted = np.rint(np.tensordot(x[row].astype(float), (0.299, 0.587, 0.114), (0, 0)))
    np.testing.assert_array_equal(found.inputs[0][0], np.broadcast_to(wanted, (3, 8, 8)))


def test_dictionaries_come_in_parts_too(grey):
    x = numbered(9, 1, 8, 8)
    splits = open_data(
        {"x_train": x, "y_train": np.arange(9) % 3, "image_test": x[:4], "labels_test": np.arange(4)}, *grey, None, 0
    )
    assert (len(splits.test), splits.test.labelled, splits.train.labelled) == (4, True, True)


def test_names_without_an_end_beside_a_test_part_are_the_training_part(tmp_path, grey):
    np.savez(tmp_path / "d.npz", x=numbered(20, 1, 8, 8), y=np.arange(20) % 2, x_test=numbered(5, 1, 8, 8))
    splits = open_data(tmp_path / "d.npz", *grey, None, 0)
    assert (len(splits.train) + len(splits.val), len(splits.test)) == (20, 5)
    assert len(open_samples(tmp_path / "d.npz", *grey, None)) == 5


def test_samples_are_of_the_validation_part_where_there_is_no_test_part(grey):
    x = numbered(20, 1, 8, 8)
    data = open_samples({"x_train": x, "x_val": x[:6]}, *grey, Preprocess())
    assert len(data) == 6
    assert data.notes == ("data has no test part: its part 'val' is taken",)


def test_arrays_that_are_neither_inputs_nor_labels_are_told(grey):
    data = open_data({"x": numbered(9, 1, 8, 8), "lables": np.arange(9)}, *grey, Preprocess(), 0)
    assert data.notes == ("data: array 'lables' is no input of the model, and labels are called y: not used",)


@pytest.mark.parametrize("dtype", [np.float32, np.int16])
def test_numbers_that_run_as_pixels_do_and_are_not_scaled_are_told(grey, dtype):
    x = np.zeros((9, 1, 8, 8), dtype)
    x[:, 0, 0, 0] = 255
    (note,) = open_data(x, *grey, None, 0).notes
    assert note.startswith("data: values of 'x' run from 0 to 255, as pixels do, and are taken as they are")
    assert open_data(x, *grey, Preprocess(), 0).notes == ()
    assert open_data(x - 1, *grey, None, 0).notes == ()
    bytes_wanted = (InputSpec("image", ("n", 1, 8, 8), np.dtype("uint8")),)
    assert open_data(x.astype(np.uint8), bytes_wanted, grey[1], None, 0).notes == ()
