from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from onnxprune.errors import DataError
from onnxprune.training import PRESETS, Preprocess, check_pictures, open_data

RED = (200, 0, 0)


def picture(path, size=(8, 8), color=RED, mode="RGB"):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new(mode, size, color).save(path)
    return path


def pixels(path, inputs, preprocess):
    """The one distinct sample of a folder."""
    return next(open_data(path, *inputs, preprocess, 0).train.batches(1)).inputs[0][0]


class TestLabels:
    def test_flat_is_unlabelled(self, tmp_path, colour):
        for i in range(6):
            picture(tmp_path / f"{i}.png")
        assert not open_data(tmp_path, *colour, None, 0).train.labelled

    def test_subfolders_are_classes_at_any_depth(self, tmp_path, colour):
        for name, color in (("dog", RED), ("cat", (0, 200, 0))):
            for i in range(10):
                picture(tmp_path / name / "deep" / f"{i}.PNG", color=color)
        splits = open_data(tmp_path, *colour, None, 0)
        assert splits.train.classes == ("cat", "dog")
        batch = next(splits.train.batches(16))
        assert np.array_equal(batch.labels, batch.inputs[0][:, 0, 0, 0] > 0)

    def test_folders_named_by_numbers_are_these_classes(self, tmp_path, colour):
        for name in ("2", "10"):
            for i in range(3):
                picture(tmp_path / name / f"{i}.png")
        splits = open_data(tmp_path, *colour, None, 0)
        assert set(np.concatenate([splits.train.labels, splits.test.labels])) <= {2, 10}

    def test_an_empty_folder_among_numbers_changes_none(self, tmp_path, colour):
        for name in ("2", "10"):
            for i in range(3):
                picture(tmp_path / name / f"{i}.png")
        (tmp_path / "3").mkdir()
        assert set(open_data(tmp_path, *colour, None, 0).train.labels) == {2, 10}

    def test_a_link_to_a_folder_around_it_is_not_followed(self, tmp_path, colour):
        for name in ("a", "b"):
            for i in range(3):
                picture(tmp_path / name / f"{i}.png")
        (tmp_path / "a" / "all").symlink_to(tmp_path, target_is_directory=True)
        splits = open_data(tmp_path, *colour, None, 0)
        assert sum(len(part) for part in (splits.train, splits.val, splits.test)) == 6

    def test_a_class_file_gives_the_order(self, tmp_path, colour):
        for name in ("a", "b"):
            for i in range(3):
                picture(tmp_path / name / f"{i}.png")
        (tmp_path / "classes.txt").write_text("c\nb\na\n")
        splits = open_data(tmp_path, *colour, None, 0)
        assert splits.train.classes == ("c", "b", "a")
        assert set(splits.train.labels) == {1, 2}

    @pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
    def test_a_class_file_in_utf_8_with_or_without_a_mark(self, tmp_path, colour, mark):
        for name in ("été", "b"):
            for i in range(3):
                picture(tmp_path / name / f"{i}.png")
        (tmp_path / "classes.txt").write_bytes(mark + "été\nb\n".encode())
        assert open_data(tmp_path, *colour, None, 0).train.classes == ("été", "b")

    def test_a_class_file_in_another_encoding(self, tmp_path, colour):
        for name in ("été", "b"):
            picture(tmp_path / name / "a.png")
        (tmp_path / "classes.txt").write_bytes("été\nb\n".encode("latin-1"))
        with pytest.raises(DataError, match=r"names in '.*classes\.txt' cannot be read as UTF-8: .*; save it as UTF-8"):
            open_data(tmp_path, *colour, None, 0)

    def test_a_folder_that_may_not_be_read(self, tmp_path, colour, monkeypatch):
        picture(tmp_path / "a.png")

        def denied(*_):
            raise PermissionError(13, "Permission denied")

        # Not by its mode: to root every folder is open.
        monkeypatch.setattr(Path, "iterdir", denied)
        with pytest.raises(DataError, match=r"the folder '.*' cannot be read: Permission denied"):
            open_data(tmp_path, *colour, None, 0)

    def test_one_subfolder_is_unlabelled_and_it_is_said(self, tmp_path, colour):
        for i in range(5):
            picture(tmp_path / "pictures" / f"{i}.png")
        splits = open_data(tmp_path, *colour, None, 0)
        assert not splits.train.labelled
        assert any("one subfolder" in note for note in splits.notes)

    def test_folders_of_parts(self, tmp_path, colour):
        for part, count in (("train", 6), ("val", 4)):
            for name in ("a", "b"):
                for i in range(count):
                    picture(tmp_path / part / name / f"{i}.png")
        splits = open_data(tmp_path, *colour, None, 0)
        assert (len(splits.train), len(splits.val), len(splits.test)) == (12, 4, 4)
        assert splits.val.classes == ("a", "b")

    @pytest.mark.parametrize("other", ["meta", "valid"])
    def test_folders_beside_parts(self, tmp_path, colour, other):
        for part in ("train", "val"):
            for name in ("a", "b"):
                picture(tmp_path / part / name / "0.png")
        (tmp_path / "annotations").mkdir()
        assert open_data(tmp_path, *colour, None, 0).train.classes == ("a", "b")
        picture(tmp_path / other / "0.png")
        with pytest.raises(DataError, match=r"has the parts train, val.*, and pictures in '.*' beside them"):
            open_data(tmp_path, *colour, None, 0)

    def test_a_class_may_be_called_train(self, tmp_path, colour):
        for name in ("plane", "train"):
            for i in range(5):
                picture(tmp_path / name / f"{i}.png")
        assert open_data(tmp_path, *colour, None, 0).train.classes == ("plane", "train")

    def test_a_class_that_training_lacks(self, tmp_path, colour):
        for name in ("a", "b"):
            for i in range(3):
                picture(tmp_path / "data" / name / f"{i}.png")
        picture(tmp_path / "val" / "c" / "0.png")
        with pytest.raises(DataError, match="class 'c', which is not among the known ones: a, b"):
            open_data(tmp_path / "data", *colour, None, 0, val=tmp_path / "val")


class TestPixels:
    @pytest.mark.parametrize(("color", "wanted"), [("rgb", [200, 0, 0]), ("bgr", [0, 0, 200]), ("grey", [60] * 3)])
    def test_colours(self, tmp_path, colour, color, wanted):
        for i in range(3):
            picture(tmp_path / f"{i}.png")
        assert pixels(tmp_path, colour, Preprocess(color=color))[:, 0, 0].tolist() == wanted

    def test_one_channel_reads_grey(self, tmp_path, grey):
        for i in range(3):
            picture(tmp_path / f"{i}.png")
        assert pixels(tmp_path, grey, Preprocess()).max() == 60

    def test_channels_last(self, tmp_path, make_spec):
        for i in range(3):
            picture(tmp_path / f"{i}.png", (12, 8))
        inputs = ((make_spec("image", "n", 8, 12, 3),), {"image": (1, 8, 12, 3)})
        assert pixels(tmp_path, inputs, Preprocess())[7, 11].tolist() == [200, 0, 0]

    @pytest.mark.parametrize(
        ("mode", "color", "wanted"), [("RGBA", (200, 0, 0, 9), 200), ("L", 60, 60), ("I;16", 51400, 200)]
    )
    def test_modes(self, tmp_path, colour, mode, color, wanted):
        for i in range(3):
            picture(tmp_path / f"{i}.png", color=color, mode=mode)
        assert pixels(tmp_path, colour, Preprocess())[0, 0, 0] == wanted

    def test_imagenet_preset(self, tmp_path, colour):
        for i in range(3):
            picture(tmp_path / f"{i}.png", (30, 20))
        got = pixels(tmp_path, colour, PRESETS["imagenet"])[:, 0, 0]
        wanted = (np.array([200 / 255, 0, 0]) - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225]
        assert np.allclose(got, wanted, atol=1e-5)

    @pytest.mark.parametrize(
        ("preprocess", "left"),
        [
            (Preprocess(), 50),
            (Preprocess(size=(8, 8)), 0),
            (Preprocess(crop=0.5), 75),
            (Preprocess(size=16), 75),
        ],
    )
    def test_what_is_cut_out(self, tmp_path, grey, preprocess, left):
        """A ramp along a picture of 200 x 100: the value at the left edge says where the cut begins."""
        ramp = np.broadcast_to(np.arange(200, dtype=np.uint8), (100, 200))
        for i in range(3):
            Image.fromarray(ramp).save(tmp_path / f"{i}.png")
        step = 200 / 8 if preprocess.size == (8, 8) else (100 - 2 * (left - 50)) / 8
        assert abs(pixels(tmp_path, grey, preprocess)[0, 0, 0] - (left + step / 2)) < 2

    def test_reading_twice_gives_the_same(self, tmp_path, colour):
        for i in range(4):
            picture(tmp_path / f"{i}.png", color=(i, 0, 0))
        data = open_data(tmp_path, *colour, None, 0).train
        first, second = (next(data.batches(4)).inputs[0] for _ in range(2))
        assert np.array_equal(first, second)


def cut_short(path):
    """A picture of which only the first part is there."""
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    Image.fromarray(noise).save(path)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


class TestErrors:
    @pytest.mark.parametrize("cache_bytes", [0, 1 << 30])
    @pytest.mark.parametrize("suffix", ["jpg", "png"])
    def test_a_picture_that_breaks_off_is_found_before_it_is_needed(
        self, tmp_path, colour, monkeypatch, suffix, cache_bytes
    ):
        monkeypatch.setattr("onnxprune.training.images._CACHE_BYTES", cache_bytes)
        for i in range(3):
            picture(tmp_path / f"{i}.{suffix}", (64, 64))
        data = open_data(tmp_path, *colour, None, 0)
        for part in (data.train, data.val, data.test):
            check_pictures(part)
        for i in range(3):
            cut_short(tmp_path / f"{i}.{suffix}")
        data = open_data(tmp_path, *colour, None, 0)
        with pytest.raises(DataError, match=rf"cannot read the picture '.*\d\.{suffix}'"):
            check_pictures(data.test)

    def test_a_class_folder_without_pictures_is_refused(self, tmp_path, colour):
        for name in ("cat", "fox"):
            for i in range(10):
                picture(tmp_path / name / f"{i}.png")
        (tmp_path / "dog").mkdir()
        (tmp_path / "dog" / "0.tif").write_bytes(b"none that is read")
        with pytest.raises(DataError, match=r"has the subfolder 'dog' without pictures .*/classes\.txt'"):
            open_data(tmp_path, *colour, None, 0)
        (tmp_path / "classes.txt").write_text("cat\ndog\nfox\n")
        assert set(open_data(tmp_path, *colour, None, 0).train.labels) == {0, 2}

    def test_an_empty_folder(self, tmp_path, colour):
        (tmp_path / "notes.txt").write_text("nothing here")
        with pytest.raises(DataError, match="holds no pictures"):
            open_data(tmp_path, *colour, None, 0)

    def test_an_unreadable_picture_is_named(self, tmp_path, colour):
        picture(tmp_path / "good.png")
        (tmp_path / "bad.jpg").write_bytes(b"no picture")
        with pytest.raises(DataError, match=r"cannot read the picture '.*bad\.jpg'"):
            open_data(tmp_path, *colour, None, 0)

    def test_a_truncated_picture_is_named(self, tmp_path, colour):
        noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
        for i in range(3):
            Image.fromarray(noise).save(tmp_path / f"{i}.png")
            content = (tmp_path / f"{i}.png").read_bytes()
            (tmp_path / f"{i}.png").write_bytes(content[: len(content) // 2])
        with pytest.raises(DataError, match=r"cannot read the picture '.*\d\.png'"):
            next(open_data(tmp_path, *colour, None, 0).train.batches(1))

    def test_a_model_that_takes_no_pictures(self, tmp_path, make_spec):
        picture(tmp_path / "0.png")
        with pytest.raises(DataError, match=r"holds pictures, but the model takes 'x' \(1, 4\)"):
            open_data(tmp_path, (make_spec("x", "n", 4),), {"x": (1, 4)}, None, 0)

    def test_channels_that_pictures_do_not_have(self, tmp_path, make_spec):
        picture(tmp_path / "0.png")
        with pytest.raises(DataError, match="12 channels"):
            open_data(tmp_path, (make_spec("x", "n", 12, 8, 8),), {"x": (1, 12, 8, 8)}, None, 0)

    def test_a_size_smaller_than_the_input(self, tmp_path, colour):
        for i in range(3):
            picture(tmp_path / f"{i}.png", (30, 30))
        with pytest.raises(DataError, match=r"size 4 makes .* smaller than the model's 8 x 8"):
            next(open_data(tmp_path, *colour, Preprocess(size=4), 0).train.batches(1))


def test_pictures_of_kinds_that_are_not_read_are_told(tmp_path, colour):
    for name in ("a", "b"):
        for i in range(3):
            picture(tmp_path / name / f"{i}.png")
    Image.new("RGB", (8, 8)).save(tmp_path / "a" / "3.tiff")
    assert (
        f"folder '{tmp_path}': files of kinds that are not read (.tiff): 1"
        in open_data(tmp_path, *colour, None, 0).notes
    )


def test_a_class_that_is_named_twice_is_refused(tmp_path, colour):
    for name in ("a", "b"):
        picture(tmp_path / name / "0.png")
    (tmp_path / "classes.txt").write_text("a\nb\na\n")
    with pytest.raises(DataError, match="names the class 'a' twice"):
        open_data(tmp_path, *colour, None, 0)
