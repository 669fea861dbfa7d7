"""What the user keeps stays, whatever else goes; patterns that name nothing or contradict each other are refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from onnxprune.channels import ChannelMap, analyse, find_branches, hints, permitted, prune, restrict, short_name, verify
from onnxprune.errors import PatternError
from onnxprune.graph import load, to_bytes
from tests.channels.network_strategy import networks
from tests.residual import residual_cnn


def loaded(proto: onnx.ModelProto, folder: Path) -> ir.Model:
    onnx.save(proto, folder / "net.onnx")
    return load(folder / "net.onnx")


@pytest.fixture
def residual(tmp_path: Path) -> ir.Model:
    return loaded(residual_cnn(), tmp_path)


@pytest.fixture
def layers(tmp_path: Path) -> ChannelMap:
    nodes = [
        onnx.helper.make_node("Conv", ["x", "layer1.0.conv1.weight"], ["a"], "/layer1/layer1.0/conv1/Conv"),
        onnx.helper.make_node("Conv", ["x", "w2"], ["b"], "/layer1/layer1.0/conv2/Conv"),
        onnx.helper.make_node("Concat", ["a", "b"], ["c"], "/layer1/Concat", axis=1),
        onnx.helper.make_node("Conv", ["c", "w3"], ["d"], "/layer2/conv[0]/Conv"),
        onnx.helper.make_node("Conv", ["d", "w4"], ["y"], "/fc/Conv"),
    ]
    shapes = {"layer1.0.conv1.weight": (6, 3), "w2": (2, 3), "w3": (4, 8), "w4": (5, 4)}
    weights = [
        onnx.numpy_helper.from_array(np.ones((*shape, 1, 1), np.float32), name) for name, shape in shapes.items()
    ]
    ends = [onnx.helper.make_tensor_value_info(name, 1, ["n", size, 4, 4]) for name, size in {"x": 3, "y": 5}.items()]
    graph = onnx.helper.make_graph(nodes, "net", ends[:1], ends[1:], weights)
    opset = [onnx.helper.make_opsetid("", 17)]
    return analyse(loaded(onnx.helper.make_model(graph, opset_imports=opset, ir_version=8), tmp_path))


def names(channels: ChannelMap) -> list[str]:
    return [group.name for group in channels.groups]


def test_nothing_asked_changes_nothing(residual: ir.Model) -> None:
    channels = analyse(residual)
    assert restrict(channels) is channels


def test_a_group_of_one_unit_is_fixed(tmp_path: Path) -> None:
    proto = onnx.parser.parse_model("""<ir_version: 10, opset_import: ["": 21]>
        net (float[2, 3, 4, 4] x) => (float[2, 5, 4, 4] y) {
            a = Conv(x, w)
            b = GroupNormalization<num_groups = 1>(a, scale, shift)
            c = Conv(b, v)
            d = Relu(c)
            y = Conv(d, z)
        }""")
    shapes = {"w": (8, 3, 1, 1), "v": (4, 8, 1, 1), "z": (5, 4, 1, 1), "scale": (8,), "shift": (8,)}
    for name, shape in shapes.items():
        proto.graph.initializer.append(onnx.numpy_helper.from_array(np.ones(shape, np.float32), name))
    channels = permitted(loaded(proto, tmp_path))
    assert [group.size for group in channels.groups] == [4]
    assert [(entry.channels, entry.hint) for entry in channels.fixed] == [(8, hints.WHOLE), (5, hints.CALLER)]


def test_keep_fixes_the_whole_group_and_says_why(residual: ir.Model) -> None:
    whole = analyse(residual)
    channels = restrict(whole, keep=["down*"])
    assert names(whole) == ["stem", "up1", "up2"]
    assert names(channels) == ["up1", "up2"]
    assert channels.unit_count == 32
    assert [(f.producer, f.channels, f.reason, f.hint) for f in channels.fixed] == [
        *(("stem", 8, "they share channels with 'down1', which --keep 'down*' names", "leave out --keep 'down*'"),),
        *((name, 8, "--keep 'down*' names it", "leave out --keep 'down*'") for name in ("down1", "down2")),
        ("classifier", 10, "they are the model's output 'scores'", "nothing: the caller reads them"),
    ]


def test_only_fixes_all_others(residual: ir.Model) -> None:
    channels = restrict(analyse(residual), only=["up1", "classifier"])
    assert names(channels) == ["up1"]
    assert {f.producer: f.reason for f in channels.fixed}["up2"] == "no --only pattern names it"
    assert {f.producer: f.hint for f in channels.fixed}["up2"] == "an --only pattern that names 'up2'"


def test_one_unit_map_and_the_other_give_the_same_network(residual: ir.Model) -> None:
    whole = analyse(residual)
    part = restrict(whole, keep=["up1"])
    keep = np.arange(part.unit_count) % 3 != 0
    among_all = np.ones(whole.unit_count, dtype=bool)
    among_all[np.concatenate([group.units for group in whole.groups if group.name != "up1"])] = keep
    small, same = prune(residual, part, keep), prune(residual, whole, among_all)
    assert to_bytes(small) == to_bytes(same)


def test_part_of_an_axis_can_stay(layers: ChannelMap) -> None:
    channels = restrict(layers, keep=["layer1.0/conv1/Conv"])
    assert names(channels) == ["/layer1/layer1.0/conv2/Conv", "/layer2/conv[0]/Conv"]
    joined = channels.axis("c", 1)
    assert joined is not None
    assert joined.tolist() == [-1] * 6 + [0, 1]


@pytest.mark.parametrize(
    "pattern",
    ["/layer1/layer1.0/conv1/Conv", "layer1.0/conv1*", "layer1/*conv1*", "/*/*conv1/Conv", "layer1.0.conv1.weight"],
)
def test_a_producer_goes_by_several_names(layers: ChannelMap, pattern: str) -> None:
    assert names(restrict(layers, only=[pattern])) == ["/layer1/layer1.0/conv1/Conv"]


def test_brackets_of_a_name_match_themselves(layers: ChannelMap) -> None:
    assert names(restrict(layers, only=["layer2/conv[0]/Conv"])) == ["/layer2/conv[0]/Conv"]
    assert names(restrict(layers, only=["layer1.0/conv[13]/Conv"])) == ["/layer1/layer1.0/conv1/Conv"]


@pytest.mark.parametrize("option", ["keep", "only"])
def test_a_pattern_that_names_nothing_says_what_is_near(layers: ChannelMap, option: str) -> None:
    message = rf"--{option} 'layr2\*' names no node .* nearest are 'layer2/conv\[0\]/Conv'"
    with pytest.raises(PatternError, match=message):
        restrict(layers, **{option: ["layr2*"]})


@pytest.mark.parametrize(
    ("keep", "only", "message"),
    [
        ("up*", "up1", "--keep 'up*' and --only 'up1' contradict each other: both name 'up1'"),
        ("classifier", "*", "--keep 'classifier' and --only '*' contradict each other: both name 'classifier'"),
        ("stem", "down2", "--keep 'stem' and --only 'down2' contradict each other: 'stem' and 'down2' share"),
    ],
)
def test_contradictions_name_both(residual: ir.Model, keep: str, only: str, message: str) -> None:
    with pytest.raises(PatternError) as caught:
        restrict(analyse(residual), keep=[keep], only=[only])
    assert message in str(caught.value)


def test_a_branch_with_a_kept_node_does_not_go(residual: ir.Model) -> None:
    whole = analyse(residual)
    assert set(find_branches(residual, whole)) == {1, 2}
    kept = restrict(whole, keep=["down1"])
    assert [kept.groups[index].name for index in find_branches(residual, kept)] == ["up2"]
    assert find_branches(residual, restrict(whole, only=["up1"])) == {}
    assert list(find_branches(residual, restrict(whole, only=["up1", "down1"]))) == [1]


@pytest.mark.parametrize(
    ("name", "short"),
    [("/layer1/layer1.0/conv1/Conv", "layer1.0/conv1/Conv"), ("conv", "conv"), ("/a/b/Conv", "a/b/Conv")],
)
def test_short_names(name: str, short: str) -> None:
    assert short_name(name) == short


@given(proto=networks(), seed=st.integers(0, 9), data=st.data())
@settings(
    max_examples=60,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much],
)
def test_what_is_kept_stays_and_the_rest_can_go(
    proto: onnx.ModelProto, seed: int, data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    model = loaded(proto, tmp_path_factory.mktemp("restricted"))
    whole = analyse(model)
    kept = data.draw(st.sampled_from(sorted(whole.outputs_of)))
    channels = restrict(whole, keep=[kept])
    weight, axis = channels.outputs_of[kept]
    before = model.graph.initializers.get(weight)
    rng = np.random.default_rng(seed)
    keep = rng.random(channels.unit_count) < 0.5
    for group in channels.groups:
        keep[rng.choice(group.units)] = True
    for branch in find_branches(model, channels).values():
        for index in branch.groups:
            keep[channels.groups[index].units] = False
    pruned = prune(model, channels, keep)
    verify(model, channels, keep, pruned, seed=seed)
    after = pruned.graph.initializers.get(weight)
    assert (before is None) == (after is None)
    if before is not None and after is not None:
        assert before.shape is not None
        assert after.shape is not None
        assert after.shape[axis] == before.shape[axis]
    assert sum(entry.channels for entry in channels.fixed if entry.producer == kept) > 0
