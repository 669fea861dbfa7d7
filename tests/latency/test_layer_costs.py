import errno
import json
import tempfile
from dataclasses import replace
from pathlib import Path

import pytest

from onnxprune.latency import LayerCosts, LayerSpec, MeasureOptions, ProfilingTimer
from onnxprune.latency.fake import FakeLayerTimer

CONV = LayerSpec("Conv", 64, 96, size=(14, 14), kernel=(3, 3), pads=(1, 1, 1, 1))
DEPTHWISE = LayerSpec("Conv", 96, 96, size=(14, 14), kernel=(3, 3), pads=(1, 1, 1, 1), width=1)


def product_ms(spec: LayerSpec) -> float:
    return spec.channels_in * spec.channels_out * 1e-3


def blocks_ms(spec: LayerSpec) -> float:
    return -(-spec.channels_in // 16) * -(-spec.channels_out // 16) * 1e-3


def test_a_layer_is_measured_once(tmp_path: Path) -> None:
    timer = FakeLayerTimer(product_ms)
    costs = LayerCosts(timer, tmp_path)
    assert costs.cost_ms(CONV) == costs.cost_ms(replace(CONV)) == pytest.approx(6.144)
    assert timer.timed == [CONV]


def test_a_second_run_measures_nothing(tmp_path: Path) -> None:
    first = LayerCosts(FakeLayerTimer(product_ms), tmp_path)
    first.cost_ms(CONV)
    first.save()
    timer = FakeLayerTimer(lambda _: 0.0)
    assert LayerCosts(timer, tmp_path).cost_ms(CONV) == pytest.approx(6.144)
    assert timer.timed == []


def test_saving_keeps_what_another_process_saved(tmp_path: Path) -> None:
    one, two = (LayerCosts(FakeLayerTimer(product_ms), tmp_path) for _ in range(2))
    one.cost_ms(CONV)
    two.cost_ms(DEPTHWISE)
    one.save()
    two.save()
    timer = FakeLayerTimer(product_ms)
    later = LayerCosts(timer, tmp_path)
    later.cost_ms(CONV)
    later.cost_ms(DEPTHWISE)
    assert timer.timed == []
    assert len(list(tmp_path.iterdir())) == 1


def test_another_hardware_has_its_own_table(tmp_path: Path) -> None:
    first = LayerCosts(FakeLayerTimer(product_ms, "one"), tmp_path)
    first.cost_ms(CONV)
    first.save()
    assert LayerCosts(FakeLayerTimer(lambda _: 7.0, "two"), tmp_path).cost_ms(CONV) == 7.0


@pytest.mark.parametrize("content", ["", "{", "[1]", '{"x": "y"}', "\x00"])
def test_a_broken_table_is_measured_anew(tmp_path: Path, content: str) -> None:
    first = LayerCosts(FakeLayerTimer(product_ms), tmp_path)
    first.cost_ms(CONV)
    first.save()
    (file,) = tmp_path.iterdir()
    file.write_text(content)
    again = LayerCosts(FakeLayerTimer(lambda _: 3.0), tmp_path)
    assert again.cost_ms(CONV) == 3.0
    again.save()
    assert LayerCosts(FakeLayerTimer(product_ms), tmp_path).cost_ms(CONV) == 3.0


def test_a_folder_that_cannot_be_written_does_not_stop_a_run(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    costs = LayerCosts(FakeLayerTimer(product_ms), tmp_path / "file" / "below")
    assert costs.cost_ms(CONV) == pytest.approx(6.144)
    assert not costs.save()
    (tmp_path / "file").unlink()
    assert costs.save()


def test_the_cache_folder_follows_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ONNXPRUNE_CACHE", str(tmp_path / "a"))
    costs = LayerCosts(FakeLayerTimer(product_ms))
    costs.cost_ms(CONV)
    costs.save()
    monkeypatch.delenv("ONNXPRUNE_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "b"))
    costs = LayerCosts(FakeLayerTimer(product_ms))
    costs.cost_ms(CONV)
    costs.save()
    assert len(list((tmp_path / "a").iterdir())) == len(list((tmp_path / "b" / "onnxprune").iterdir())) == 1


def test_a_user_without_a_home_has_a_cache_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_home() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "home", no_home)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    for name in ("ONNXPRUNE_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    assert LayerCosts(FakeLayerTimer(product_ms)).file.parent.parent == tmp_path


def test_a_cache_folder_of_no_name_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ONNXPRUNE_CACHE", "")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert LayerCosts(FakeLayerTimer(product_ms)).file.parent == tmp_path / "onnxprune"


def test_granules_of_both_axes(tmp_path: Path) -> None:
    costs = LayerCosts(FakeLayerTimer(lambda s: s.channels_in * -(-s.channels_out // 8) * 1e-3), tmp_path)
    assert costs.granule(CONV, "in") == 2
    assert costs.granule(CONV, "out") == 8


def test_wide_layers_are_probed_as_narrower_ones(tmp_path: Path) -> None:
    timer = FakeLayerTimer(lambda s: s.channels_out * -(-s.channels_in // 16) * 1e-3)
    costs = LayerCosts(timer, tmp_path)
    assert {costs.granule(CONV.at(wide, 128), "in") for wide in (544, 640, 1024)} == {16}
    assert max(spec.channels_in for spec in timer.timed) == 256


def test_a_depthwise_layer_changes_both_counts_together(tmp_path: Path) -> None:
    timer = FakeLayerTimer(lambda s: -(-s.channels_in // 16) * 1.0)
    costs = LayerCosts(timer, tmp_path)
    assert costs.granule(DEPTHWISE, "in") == 16
    assert all(spec.channels_in == spec.channels_out for spec in timer.timed)


@pytest.mark.parametrize("channels", [(64, 96), (24, 40), (58, 116), (16, 8)])
def test_a_surface_is_exact_for_a_product_and_at_its_own_counts(tmp_path: Path, channels: tuple[int, int]) -> None:
    spec = CONV.at(*channels)
    costs = LayerCosts(FakeLayerTimer(blocks_ms), tmp_path)
    surface = costs.surface(spec, 16, 16)
    for c_in in range(1, channels[0] + 1):
        for c_out in range(1, channels[1] + 1):
            assert surface(c_in, c_out) == pytest.approx(blocks_ms(spec.at(c_in, c_out)))


def test_a_surface_measures_few_points_and_none_above_the_layer(tmp_path: Path) -> None:
    timer = FakeLayerTimer(product_ms)
    surface = LayerCosts(timer, tmp_path).surface(CONV, 16, 16)
    for c_in in range(16, 65):
        for c_out in range(16, 97):
            surface(c_in, c_out)
    assert len(timer.timed) <= 12
    assert all(spec.channels_in <= 64 and spec.channels_out <= 96 for spec in timer.timed)


def test_a_tied_surface_never_falls_with_the_count(tmp_path: Path) -> None:
    # Wider is measured as faster at 64, as noise or a better kernel may have it.
    timer = FakeLayerTimer(lambda s: 1.0 if s.channels_in == 64 else s.channels_in / 40)
    surface = LayerCosts(timer, tmp_path).surface(DEPTHWISE, 8, 8)
    values = [surface(c, c) for c in range(1, 97)]
    assert values == sorted(values)


def test_a_misaligned_original_is_priced_as_measured_until_it_is_pruned(tmp_path: Path) -> None:
    timer = FakeLayerTimer(lambda s: blocks_ms(s) * (1 if s.channels_out % 4 == 0 else 3))
    spec = CONV.at(64, 97)
    surface = LayerCosts(timer, tmp_path).surface(spec, 16, 16)
    assert surface(64, 97) == pytest.approx(timer.time_ms(spec))
    assert surface(64, 96) == pytest.approx(blocks_ms(spec.at(64, 96)))


def test_a_layer_with_more_outputs_than_inputs_a_group_is_one_line(tmp_path: Path) -> None:
    def tied_ms(spec: LayerSpec) -> float:
        assert spec.channels_out == 2 * spec.channels_in
        return -(-spec.channels_in // 16) * 0.1

    spec = LayerSpec("Conv", 96, 192, size=(14, 14), kernel=(3, 3), pads=(1, 1, 1, 1), width=1, width_out=2)
    costs = LayerCosts(FakeLayerTimer(tied_ms), tmp_path)
    assert (costs.granule(spec, "in"), costs.granule(spec, "out")) == (16, 32)
    assert costs.surface(spec, 16, 32)(40, 80) == pytest.approx(0.3)
    assert (192, pytest.approx(0.6)) in costs.measured_counts(spec)


@pytest.mark.parametrize(
    "spec",
    [
        LayerSpec("Conv", 24, 17, size=(6, 6), kernel=(3, 3), pads=(1, 1, 1, 1), strides=(2, 2)),
        LayerSpec("Conv", 24, 24, size=(6, 6), kernel=(3, 3), pads=(1, 1, 1, 1), width=1),
        LayerSpec("Conv", 24, 48, size=(6, 6), kernel=(1, 1), groups=4),
        LayerSpec("Conv", 24, 24, size=(9,), kernel=(3,), dilations=(2,), width=8),
        LayerSpec("ConvTranspose", 8, 5, size=(6, 6), kernel=(2, 2), strides=(2, 2)),
        LayerSpec("Conv", 24, 48, size=(6, 6), kernel=(3, 3), width=1, width_out=2),
        LayerSpec("ConvTranspose", 8, 8, size=(6, 6), kernel=(2, 2), width=1),
        LayerSpec("MatMul", 10, 7, batch=3),
    ],
    ids=lambda spec: f"{spec.op}-{spec.channels_in}-{spec.channels_out}-g{spec.groups}w{spec.width}",
)
def test_every_kind_of_layer_can_be_timed(spec: LayerSpec) -> None:
    assert 0 < ProfilingTimer(MeasureOptions()).time_ms(spec) < 1e4


def test_less_than_a_granule_of_input_channels_costs_less_where_it_is_measured_so(tmp_path: Path) -> None:
    def direct_ms(spec: LayerSpec) -> float:
        """Below a block, input channels are read one by one."""
        channels_in = spec.channels_in if spec.channels_in < 16 else -(-spec.channels_in // 16) * 16
        return channels_in * -(-spec.channels_out // 16) * 1e-3

    spec = CONV.at(32, 96)
    surface = LayerCosts(FakeLayerTimer(direct_ms), tmp_path).surface(spec, 16, 16)
    for c_in in (4, 8, 12, 16, 32):
        assert surface(c_in, 96) == pytest.approx(direct_ms(spec.at(c_in, 96)))
    assert surface(20, 96) == pytest.approx(direct_ms(spec.at(20, 96)))


def test_times_that_are_none_are_measured_anew(tmp_path: Path) -> None:
    first = LayerCosts(FakeLayerTimer(product_ms), tmp_path)
    first.cost_ms(CONV)
    first.save()
    (file,) = tmp_path.iterdir()
    (key,) = json.loads(file.read_text())
    for value in ("NaN", "Infinity", "-1.0", "true"):
        file.write_text(f"{{{json.dumps(key)}: {value}}}")
        assert LayerCosts(FakeLayerTimer(lambda _: 3.0), tmp_path).cost_ms(CONV) == 3.0


def test_a_full_disk_leaves_the_table_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = LayerCosts(FakeLayerTimer(product_ms), tmp_path)
    first.cost_ms(CONV)
    first.save()

    def half(self: Path, text: str) -> None:
        with self.open("w") as file:
            file.write(text[: len(text) // 2])
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_text", half)
    first.cost_ms(DEPTHWISE)
    assert not first.save()
    assert len(list(tmp_path.iterdir())) == 1
    assert LayerCosts(FakeLayerTimer(lambda _: 3.0), tmp_path).cost_ms(CONV) == pytest.approx(6.144)
