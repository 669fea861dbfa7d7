"""Random valid networks for property tests: branches, joins, groups, shuffles, reshapes, shared weights."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import onnx
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

ACTIVATIONS = ("Relu", "Sigmoid", "Tanh", "HardSwish", "Elu", "Softplus", "LeakyRelu")


@dataclass
class Builder:
    """A network that grows at its end.

    Attributes:
        draw: Hypothesis's source of choices.
        nodes: Nodes so far.
        constants: Initializers by name.
        tensors: Names of 4-D values by (channels, pixels a side).
        end: The latest value's name, channels and pixels a side.
    """

    draw: st.DrawFn
    nodes: list[onnx.NodeProto] = field(default_factory=list)
    constants: dict[str, np.ndarray] = field(default_factory=dict)
    tensors: dict[tuple[int, int], list[str]] = field(default_factory=dict)
    end: tuple[str, int, int] = ("x", 3, 8)
    seed: int = 0

    def pick(self, *choices: object) -> object:
        """Draw one of the choices."""
        return self.draw(st.sampled_from(choices))

    def number(self, low: int, high: int) -> int:
        """Draw an integer."""
        return self.draw(st.integers(low, high))

    def constant(self, array: np.ndarray | tuple[int, ...]) -> str:
        """Add an initializer; a shape stands for random numbers."""
        if isinstance(array, tuple):
            array = np.random.default_rng([self.seed, len(self.constants)]).standard_normal(array) / 2
            array = array.astype(np.float32)
        name = f"c{len(self.constants)}"
        self.constants[name] = array
        return name

    def add(self, op: str, inputs: list[str], outputs: int = 1, **attributes: object) -> str:
        """Add a node and return its first output."""
        names = [f"v{len(self.nodes)}_{i}" for i in range(outputs)]
        self.nodes.append(helper.make_node(op, inputs, names, **attributes))
        return names[0]

    def now(self, name: str, channels: int, pixels: int) -> None:
        """Make a value the end."""
        self.end = (name, channels, pixels)
        self.tensors.setdefault((channels, pixels), []).append(name)

    def conv(self, channels: int, kernel: int = 1, groups: int = 1, stride: int = 1, bias: bool = False) -> None:
        """Convolve the end."""
        name, before, pixels = self.end
        inputs = [name, self.constant((channels, before // groups, kernel, kernel))]
        inputs += [self.constant((channels,))] if bias else []
        pads = [kernel // 2] * 4
        out = self.add("Conv", inputs, group=groups, pads=pads, strides=[stride] * 2)
        self.now(out, channels, (pixels + 2 * (kernel // 2) - kernel) // stride + 1)


def convolution(b: Builder) -> None:
    """A plain convolution."""
    stride = b.pick(1, 1, 2) if b.end[2] >= 4 else 1
    b.conv(b.number(2, 12), b.pick(1, 3), stride=stride, bias=b.pick(True, False))


def grouped(b: Builder) -> None:
    """A grouped or depthwise convolution."""
    channels = b.end[1]
    groups = b.pick(*[g for g in range(2, channels + 1) if channels % g == 0] or [1])
    b.conv(groups * b.number(1, 3), 3, groups=groups)


def transposed(b: Builder) -> None:
    """An upsampling transposed convolution."""
    name, channels, pixels = b.end
    if pixels <= 8:
        groups = b.pick(1, 1, *[g for g in (2, 4) if channels % g == 0])
        width = b.number(1, 6)
        out = b.add("ConvTranspose", [name, b.constant((channels, width, 2, 2))], group=groups, strides=[2, 2])
        b.now(out, width * groups, pixels * 2)


def normalization(b: Builder) -> None:
    """BatchNorm, InstanceNorm, PRelu or a per-channel scale."""
    name, channels, pixels = b.end
    kind = b.pick("BatchNormalization", "InstanceNormalization", "PRelu", "Mul")
    if kind == "BatchNormalization":
        inputs = [b.constant((channels,)) for _ in range(3)] + [b.constant(np.ones(channels, np.float32))]
    elif kind == "InstanceNormalization":
        inputs = [b.constant((channels,)) for _ in range(2)]
    else:
        inputs = [b.constant((channels, 1, 1))]
    b.now(b.add(kind, [name, *inputs]), channels, pixels)


def activation(b: Builder) -> None:
    """An activation."""
    b.now(b.add(b.pick(*ACTIVATIONS), [b.end[0]]), *b.end[1:])


def addition(b: Builder) -> None:
    """A residual join with an earlier value of the same shape."""
    name, channels, pixels = b.end
    other = b.pick(*b.tensors[channels, pixels])
    b.now(b.add(b.pick("Add", "Mul", "Max", "Sub"), [name, other]), channels, pixels)


def concatenation(b: Builder) -> None:
    """A join along channels with earlier values of the same size."""
    name, channels, pixels = b.end
    others = [(c, n) for (c, p), names in b.tensors.items() if p == pixels for n in names]
    picked = [b.pick(*others) for _ in range(b.number(1, 2))]
    total = channels + sum(c for c, _ in picked)
    if total <= 40:
        b.now(b.add("Concat", [name, *(n for _, n in picked)], axis=1), total, pixels)


def splitting(b: Builder) -> None:
    """Split the channels, work on one part, join them in another order."""
    name, channels, pixels = b.end
    if channels >= 2:
        first = b.number(1, channels - 1)
        sizes = b.constant(np.array([first, channels - first]))
        left = b.add("Split", [name, sizes], 2, axis=1)
        right = left[:-1] + "1"
        b.now(right, channels - first, pixels)
        b.conv(channels - first, 3)
        b.now(b.add("Concat", [b.end[0], left], axis=1), channels, pixels)


def slicing(b: Builder) -> None:
    """Take a range of channels, or pick them by index."""
    name, channels, pixels = b.end
    start = b.number(0, channels - 1)
    stop = b.number(start + 1, channels)
    if b.pick(True, False):
        bounds = [b.constant(np.array([n])) for n in (start, stop, 1)]
        b.now(b.add("Slice", [name, *bounds]), stop - start, pixels)
    else:
        picked = b.draw(st.lists(st.integers(0, channels - 1), min_size=1, max_size=8))
        b.now(b.add("Gather", [name, b.constant(np.array(picked))], axis=1), len(picked), pixels)


def shuffle(b: Builder) -> None:
    """ShuffleNet's channel shuffle."""
    name, channels, pixels = b.end
    groups = b.pick(*[g for g in range(1, channels + 1) if channels % g == 0])
    wide = b.add("Reshape", [name, b.constant(np.array([0, groups, channels // groups, pixels, pixels]))])
    turned = b.add("Transpose", [wide], perm=[0, 2, 1, 3, 4])
    b.now(b.add("Reshape", [turned, b.constant(np.array([0, -1, pixels, pixels]))]), channels, pixels)


def excitation(b: Builder) -> None:
    """Squeeze and excitation."""
    name, channels, pixels = b.end
    b.now(b.add("GlobalAveragePool", [name]), channels, 1)
    b.conv(b.number(2, 4))
    activation(b)
    b.conv(channels)
    gate = b.add("Sigmoid", [b.end[0]])
    b.now(b.add("Mul", [name, gate]), channels, pixels)


def padding(b: Builder) -> None:
    """Zero channels in front and behind, as in parameter-free shortcuts."""
    name, channels, pixels = b.end
    before, after = b.number(0, 2), b.number(0, 2)
    pads = b.constant(np.array([0, before, 0, 0, 0, after, 0, 0]))
    b.now(b.add("Pad", [name, pads]), channels + before + after, pixels)


def resampling(b: Builder) -> None:
    """Pool or resize."""
    name, channels, pixels = b.end
    if b.pick(True, False) and pixels >= 2:
        out = b.add(b.pick("MaxPool", "AveragePool"), [name], kernel_shape=[2, 2], strides=[2, 2])
        b.now(out, channels, pixels // 2)
    elif pixels <= 8:
        scales = b.constant(np.array([1, 1, 2, 2], np.float32))
        b.now(b.add("Resize", [name, "", scales], mode="nearest"), channels, pixels * 2)


def channels_last(b: Builder) -> None:
    """A matrix product over channels, as NHWC networks have."""
    name, channels, pixels = b.end
    width = b.number(2, 10)
    last = b.add("Transpose", [name], perm=[0, 2, 3, 1])
    out = b.add("MatMul", [last, b.constant((channels, width))])
    if b.pick(True, False):
        out = b.add("Add", [out, b.constant((width,))])
    if b.pick(True, False):
        out = b.add("Softmax", [out], axis=b.pick(-1, 1))
    b.now(b.add("Transpose", [out], perm=[0, 3, 1, 2]), width, pixels)


def repeated(b: Builder) -> None:
    """The same weights twice."""
    name, channels, pixels = b.end
    weight = b.constant((channels, channels, 1, 1))
    middle = b.add("Relu", [b.add("Conv", [name, weight])])
    b.now(b.add("Conv", [middle, weight]), channels, pixels)


def einsum(b: Builder) -> None:
    """A product over channels, with the weight in front or behind."""
    name, channels, pixels = b.end
    width = b.number(2, 8)
    if b.pick(True, False):
        out = b.add("Einsum", [name, b.constant((channels, width))], equation="nchw,cd->ndhw")
    else:
        out = b.add("Einsum", [b.constant((width, channels)), name], equation="dc,nchw->ndhw")
    b.now(out, width, pixels)


def recurrence(b: Builder) -> None:
    """A recurrence over the pixels, one way or both, with or without biases and a state to start from."""
    name, channels, pixels = b.end
    op, gates = b.pick(("LSTM", 4), ("GRU", 3), ("RNN", 1))
    ways, hidden = b.number(1, 2), b.number(2, 5)
    flat = b.add("Reshape", [name, b.constant(np.array([0, channels, pixels**2]))])
    steps = b.add("Transpose", [flat], perm=[2, 0, 1])
    inputs = [steps, b.constant((ways, gates * hidden, channels)), b.constant((ways, gates * hidden, hidden))]
    if b.pick(True, False):
        inputs.append(b.constant((ways, 2 * gates * hidden)))
    direction = "bidirectional" if ways == 2 else b.pick("forward", "reverse")
    out = b.add(op, inputs, hidden_size=hidden, direction=direction)
    turned = b.add("Transpose", [out], perm=[2, 1, 3, 0])
    b.now(b.add("Reshape", [turned, b.constant(np.array([0, -1, pixels, pixels]))]), ways * hidden, pixels)


BLOCKS = (
    convolution, convolution, grouped, transposed, normalization, activation, addition, concatenation, splitting,
    slicing, shuffle, excitation, padding, resampling, channels_last, repeated,
    einsum, recurrence,
)  # fmt: skip


@st.composite
def networks(draw: st.DrawFn) -> onnx.ModelProto:
    """Draw a network of up to ten blocks with one classifier or map at its end."""
    b = Builder(draw, seed=draw(st.integers(0, 99)))
    b.conv(b.number(3, 10), 3)
    for block in draw(st.lists(st.sampled_from(BLOCKS), min_size=1, max_size=10)):
        block(b)
    head = b.pick("gemm", "flatten", "map")
    name, channels, pixels = b.end
    if head == "map":
        y = b.add("Conv", [name, b.constant((3, channels, 1, 1))])
    elif head == "gemm":
        pooled = b.add("Flatten", [b.add("GlobalAveragePool", [name])])
        y = b.add("Gemm", [pooled, b.constant((4, channels)), b.constant((4,))], transB=1)
    else:
        y = b.add("MatMul", [b.add("Flatten", [name]), b.constant((channels * pixels**2, 4))])
    b.nodes.append(helper.make_node("Identity", [y], ["y"]))
    graph = helper.make_graph(
        b.nodes,
        "generated",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 3, 8, 8])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(array, name) for name, array in b.constants.items()],
    )
    return helper.make_model(graph, ir_version=9, opset_imports=[helper.make_opsetid("", 17)])
