"""Redundancy planted by construction: where a group's channels are dead, or copies, pruning that many loses nothing."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import numpy_helper

import onnxprune
from onnxprune.latency import predictor

SIDE = 6
# What the ridge of healing leaves of an error of 0.2 to 1; more where what stays has a small variance.
EXACT, NEARLY = 2e-4, 1e-2
# What is zero stays zero through these.
ODD = ("Relu", "Tanh", "LeakyRelu", "HardSwish")


@dataclass(frozen=True)
class Plan:
    """A network of two groups of channels, `first` and `second`, with planted redundancy.

    Attributes:
        live: Distinct channels of each group.
        dead: Channels of each group that say nothing.
        kernel: Of the convolutions.
        activation: Behind each of them.
        norm: Whether BatchNormalizations follow.
        middle: What lies between the groups: nothing, a depthwise convolution, or a residual block.
        end: How the second group is read.
        seed: Of the weights.
    """

    live: int
    dead: int
    kernel: int = 3
    activation: str = "Relu"
    norm: bool = False
    middle: str = "nothing"
    end: str = "Gemm"
    seed: int = 0

    @property
    def channels(self) -> int:
        return self.live + self.dead

    @property
    def is_dead(self) -> np.ndarray:
        """Whether each channel of a group says nothing, scattered, shape (channels,)."""
        return np.random.default_rng(self.seed + 1).permutation(self.channels) >= self.live

    def text(self) -> str:
        pads = [self.kernel // 2] * 4
        conv = f"Conv<pads = {pads}>"

        def layer(out: str, source: str, name: str) -> str:
            norm = f"{out}_n = BatchNormalization({out}_c, {name}_s, {name}_o, {name}_m, {name}_v)"
            return f"""[{name}] {out}_c = {conv}({source}, {name}_w, {name}_b)
                {norm if self.norm else ""}
                {out} = {self.activation}({out}_{"n" if self.norm else "c"})"""

        middle = {
            "nothing": "m = Identity(a)",
            "depthwise": f"m = Conv<group = {self.channels}, pads = [1, 1, 1, 1]>(a, depth_w)",
            "residual": layer("i", "a", "inner") + f"\n{layer('j', 'i', 'outer')}\nm = Add(a, j)",
        }
        end = {
            "Gemm": "p = GlobalAveragePool(b)\nf = Flatten(p)\ny = Gemm(f, last)",
            "Conv": "y = Conv(b, last)",
            "Concat": "k = Concat<axis = 1>(b, x)\ny = Conv(k, last)",
        }
        return f"""<ir_version: 8, opset_import: ["": 17]>
            net (float[n, 3, {SIDE}, {SIDE}] x) => (float[] y) {{
                {layer("a", "x", "first")}
                {middle[self.middle]}
                {layer("b", "m", "second")}
                {end[self.end]}
            }}"""

    def weights(self) -> dict[str, np.ndarray]:
        """Random weights of all layers; none is small."""
        rng = np.random.default_rng(self.seed)
        window = (self.kernel, self.kernel)
        last = {"Gemm": (self.channels, 4), "Conv": (4, self.channels, 1, 1), "Concat": (4, self.channels + 3, 1, 1)}
        layers = {"first": 3, "second": self.channels}
        if self.middle == "residual":
            layers |= {"inner": self.channels, "outer": self.channels}
        found = {"last": uniform(rng, last[self.end])}
        if self.middle == "depthwise":
            found["depth_w"] = uniform(rng, (self.channels, 1, 3, 3))
        for name, inputs in layers.items():
            found |= {f"{name}_w": uniform(rng, (self.channels, inputs, *window))}
            found |= {f"{name}_{kind}": uniform(rng, (self.channels,)) for kind in ("bsom" if self.norm else "b")}
            if self.norm:
                found[f"{name}_v"] = rng.uniform(0.5, 2, self.channels)
        return {name: array.astype(np.float32) for name, array in found.items()}

    def write(self, folder: Path, weights: dict[str, np.ndarray]) -> Path:
        model = onnx.parser.parse_model(self.text())
        model.graph.output[0].type.tensor_type.ClearField("shape")
        model.graph.initializer.extend(numpy_helper.from_array(array, name) for name, array in weights.items())
        path = folder / "planted.onnx"
        onnx.save(model, path)
        return path


def uniform(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    return rng.uniform(0.3, 1.0, shape) * rng.choice([-1, 1], shape)


def silent(plan: Plan, weights: dict[str, np.ndarray]) -> None:
    """Make the layers give zero for the dead channels, without a zero in what reads them."""
    for name, array in weights.items():
        if name.endswith(("_b", "_s", "_o")) or (name.endswith("_w") and not plan.norm and name != "depth_w"):
            array[plan.is_dead] = 0
    if plan.norm:
        # The convolutions may give anything: their normalisation silences it.
        for name in ("first_b", "second_b"):
            weights[name][plan.is_dead] = 1


def unread(plan: Plan, weights: dict[str, np.ndarray]) -> None:
    """Give the dead channels no weight in any layer that reads them."""
    for name in ("second_w", "inner_w", "outer_w"):
        if name in weights:
            weights[name][:, plan.is_dead] = 0
    last = weights["last"] if plan.end == "Gemm" else weights["last"].swapaxes(0, 1)
    last[: plan.channels][plan.is_dead] = 0


def both(plan: Plan, weights: dict[str, np.ndarray]) -> None:
    """Make every weight of the dead channels zero."""
    silent(plan, weights)
    unread(plan, weights)
    for name, array in weights.items():
        if name.endswith(("_w", "_b")):
            array[plan.is_dead] = 0


def copies(plan: Plan, weights: dict[str, np.ndarray]) -> None:
    """Make each channel that counts as dead a copy of some other, in whatever brings it forth."""
    rng = np.random.default_rng(plan.seed + 2)
    source = np.arange(plan.channels)
    source[plan.is_dead] = rng.choice(np.flatnonzero(~plan.is_dead), plan.dead)
    for name, array in weights.items():
        if name != "last":
            array[:] = array[source]


def copies_of_the_median(plan: Plan, weights: dict[str, np.ndarray]) -> None:
    """Make all channels that count as dead, and one beside them, the mean of the others."""
    live = np.flatnonzero(~plan.is_dead)
    for name, array in weights.items():
        if name != "last":
            array[plan.is_dead] = array[live[0]] = array[live[1:]].mean(axis=0)


Plant = Callable[[Plan, dict[str, np.ndarray]], None]
RIGHT: dict[Plant, tuple[str, ...]] = {
    silent: ("taylor", "reconstruction"),
    unread: ("reader_l1", "taylor", "reconstruction"),
    both: ("l1", "l2", "reader_l1", "taylor", "reconstruction"),
}


def plans(activations: Sequence[str], ends: Sequence[str], kernels: Sequence[int]) -> st.SearchStrategy[Plan]:
    return st.builds(
        Plan,
        live=st.integers(2, 6),
        dead=st.integers(1, 6),
        kernel=st.sampled_from(kernels),
        activation=st.sampled_from(activations),
        norm=st.booleans(),
        middle=st.sampled_from(["nothing", "depthwise", "residual"]),
        end=st.sampled_from(ends),
        seed=st.integers(0, 99),
    )


PLANS = plans(ODD, ("Gemm", "Conv", "Concat"), (1, 3))
# A live channel that a Relu or an average hardly lets through, or that is nearly another's multiple, costs hardly more
# than a copy: what live channels see here is wide, and comes through.
LIVELY = plans(("LeakyRelu<alpha = 0.5>",), ("Conv", "Concat"), (3,))


def samples(seed: int, count: int = 64) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((count, 3, SIDE, SIDE)).astype(np.float32)


def pruned_by(path: Path, plan: Plan, importance: str, *, heal: bool = False) -> float:
    """Take so many channels of each group as are planted; return the error of the outputs on samples not seen."""
    share = plan.dead / plan.channels
    result = onnxprune.prune(
        path, ratios={"*": share}, importance=importance, data={"x": samples(0)}, heal=heal, branches=False
    )
    assert {group.channels_after for group in result.report.groups} == {plan.live}
    return error_of(result.output, path)


def error_of(result: Path | bytes, original: Path) -> float:
    x = (samples(1),)
    wanted, got = predictor(original)(x)[0], predictor(result)(x)[0]
    return float(np.abs(got - wanted).max() / np.abs(wanted).max())


@given(plan=PLANS, kind=st.sampled_from([silent, unread, both]), data=st.data())
@settings(max_examples=12, deadline=None, derandomize=True)
def test_dead_channels_go(
    plan: Plan, kind: Plant, data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    criteria = RIGHT[kind] + (("bn_scale",) if plan.norm and kind is not unread else ())
    weights = plan.weights()
    kind(plan, weights)
    path = plan.write(tmp_path_factory.mktemp("planted"), weights)
    assert pruned_by(path, plan, data.draw(st.sampled_from(criteria))) < 1e-5


@given(plan=LIVELY)
@settings(max_examples=15, deadline=None, derandomize=True)
def test_copies_go_and_the_others_make_up_for_them(plan: Plan, tmp_path_factory: pytest.TempPathFactory) -> None:
    weights = plan.weights()
    copies(plan, weights)
    assert pruned_by(plan.write(tmp_path_factory.mktemp("planted"), weights), plan, "reconstruction", heal=True) < EXACT


@given(plan=LIVELY.filter(lambda plan: plan.dead + 2 > plan.live))
@settings(max_examples=15, deadline=None, derandomize=True)
def test_copies_of_the_geometric_median_go(plan: Plan, tmp_path_factory: pytest.TempPathFactory) -> None:
    weights = plan.weights()
    copies_of_the_median(plan, weights)
    assert pruned_by(plan.write(tmp_path_factory.mktemp("planted"), weights), plan, "fpgm", heal=True) < NEARLY


@pytest.mark.parametrize("importance", ["l1", "reader_l1", "taylor", "reconstruction"])
def test_a_group_of_which_all_is_dead_goes_first(tmp_path: Path, importance: str) -> None:
    blocks = " ".join(
        f"a{i} = Conv<kernel_shape = [3, 3], pads = [1, 1, 1, 1]>(r{i}, u{i}) b{i} = Relu(a{i})"
        f" c{i} = Conv<kernel_shape = [3, 3], pads = [1, 1, 1, 1]>(b{i}, v{i}) s{i} = Add(c{i}, r{i})"
        f" r{i + 1} = Relu(s{i})"
        for i in range(3)
    )
    model = onnx.parser.parse_model(f"""
        <ir_version: 8, opset_import: ["" : 17]>
        net (float[N, 3, 8, 8] x) => (float[N, 4, 8, 8] y) {{
            r0 = Conv<kernel_shape = [3, 3], pads = [1, 1, 1, 1]>(x, w) {blocks} y = Conv<kernel_shape = [1, 1]>(r3, z)
        }}
    """)
    rng = np.random.default_rng(0)
    shapes = {"w": (8, 3, 3, 3), "z": (4, 8, 1, 1)} | {f"{n}{i}": (8, 8, 3, 3) for n in "uv" for i in range(3)}
    weights = {name: rng.standard_normal(shape).astype(np.float32) for name, shape in shapes.items()}
    # By the layer that reads them and by their own: nothing of the middle block's eight channels matters.
    weights["u1"][:], weights["v1"][:] = 0, 0
    model.graph.initializer.extend(onnx.numpy_helper.from_array(array, name) for name, array in weights.items())
    for node in model.graph.node:
        node.name = node.output[0]
    onnx.save(model, tmp_path / "net.onnx")
    x = rng.standard_normal((128, 3, 8, 8)).astype(np.float32)
    result = onnxprune.prune(
        tmp_path / "net.onnx",
        ratio=0.12,
        round_to=1,
        importance=importance,
        data=x,
        branches=False,
        allocation="global",
    )
    before, after = (predictor(path)((x[:8],))[0] for path in (tmp_path / "net.onnx", result.output))
    assert {group.name: group.channels_after for group in result.report.groups}["a1"] < 8
    assert after == pytest.approx(before, abs=1e-4)
