"""What dynamic sizes are called holds when the network runs: one name is one number, and products are what they say."""

from __future__ import annotations

import tempfile
from math import prod
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from onnxprune.graph import load

CHANNELS = 4
KINDS = ("pool", "convolve", "resize", "scale", "flatten", "back", "halve", "count", "expand", "tile", "cut")
STEPS = st.lists(st.tuples(st.sampled_from(KINDS), st.integers(0, 3), st.integers(0, 3)), min_size=2, max_size=8)


class Builder:
    """A network of pictures of any size, node by node."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []
        self.pictures = ["x"]

    def constant(self, *values: float, kind: type = np.int64) -> str:
        self.constants.append(numpy_helper.from_array(np.array(values, kind), f"c{len(self.constants)}"))
        return self.constants[-1].name

    def add(self, op_type: str, inputs: list[str], **attributes: object) -> str:
        name = f"v{len(self.nodes)}"
        self.nodes.append(helper.make_node(op_type, inputs, [name], name=f"n{name}", **attributes))
        return name

    def size(self, picture: str, axis: int) -> str:
        """Return a tensor of one entry, the size of an axis."""
        return self.add("Slice", [self.add("Shape", [picture]), self.constant(axis), self.constant(axis + 1)])

    def step(self, kind: str, first: int, second: int) -> None:
        a, b = (self.pictures[-1 - choice % len(self.pictures)] for choice in (first, second))
        result = None
        if kind == "pool":
            result = self.add("MaxPool", [a], kernel_shape=[2, 2], strides=[1 + first % 2, 1 + second % 2])
        elif kind == "convolve":
            self.constants.append(numpy_helper.from_array(np.ones((3, 3, 3, 3), np.float32), f"c{len(self.constants)}"))
            result = self.add("Conv", [a, self.constants[-1].name], pads=[1, 1, 1 + first % 2, 1])
        elif kind == "resize":
            sizes = [self.size(a, 0), self.constant(3), self.size(b, 2), self.size(b, 3)]
            result = self.add("Resize", [a, "", "", self.add("Concat", sizes, axis=0)], mode="nearest")
        elif kind == "scale":
            result = self.add("Resize", [a, "", self.constant(1, 1, 0.7, 2, kind=np.float32)], mode="nearest")
        elif kind == "flatten":
            self.add("Neg", [self.add("Flatten", [a], axis=1 + first % 3)])
        elif kind == "back":
            result = self.add("Reshape", [self.add("Flatten", [a], axis=1 + first % 3), self.add("Shape", [b])])
        elif kind == "halve":
            half = self.add("Div", [self.size(a, 2), self.constant(2)])
            whole = self.add("Mul", [half, self.constant(2)])
            result = self.add("Slice", [a, self.constant(0), whole, self.constant(2)])
        elif kind == "count":
            scalars = [self.add("Squeeze", [each]) for each in (self.constant(0), self.size(b, 3), self.constant(1))]
            row = self.add("Cast", [self.add("Range", scalars)], to=TensorProto.FLOAT)
            result = self.add("Add", [b, row])
        elif kind == "expand":
            result = self.add("Expand", [self.constant(1.0, kind=np.float32), self.add("Shape", [b])])
        elif kind == "tile":
            repeats = self.add("Concat", [self.size(b, 0), self.constant(1, 2, 1)], axis=0)
            result = self.add("Tile", [a, repeats])
        else:
            result = self.add("Slice", [a, self.constant(0), self.size(b, 3), self.constant(3)])
        self.pictures += [] if result is None else [result]

    def model(self) -> onnx.ModelProto:
        # Every value is read by a node, so that what it is called comes from inference.
        values = [node.output[0] for node in self.nodes]
        ends = [helper.make_node("Identity", [value], [f"out_{value}"]) for value in values]
        outputs = [helper.make_empty_tensor_value_info(end.output[0]) for end in ends]
        x = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 3, "H", "W"])
        graph = helper.make_graph([*self.nodes, *ends], "net", [x], outputs, self.constants)
        inferred = onnx.shape_inference.infer_shapes(
            helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
        )
        for output in inferred.graph.output:
            output.type.tensor_type.ClearField("shape")
        return inferred


def value_of(size: int | str | None, known: dict[str, int]) -> int | None:
    """Return the number that a size stands for; None where a name in it is not known yet."""
    if not isinstance(size, str):
        return size
    numbers = [int(name) if name.isdecimal() else known.get(name) for name in size.split(" · ")]
    return None if None in numbers else prod(numbers)  # type: ignore[arg-type]


def check(model: ir.Model, proto: onnx.ModelProto, sizes: tuple[int, ...]) -> None:
    session = onnxruntime.InferenceSession(proto.SerializeToString(), providers=["CPUExecutionProvider"])
    try:
        found = session.run(None, {"x": np.zeros(sizes, np.float32)})
    except Exception:
        # Sizes that do not fit the network say nothing.
        return
    shapes = {
        output.name.removeprefix("out_"): array.shape
        for output, array in zip(session.get_outputs(), found, strict=True)
    }
    known = {"N": sizes[0], "H": sizes[2], "W": sizes[3]}
    for value in (value for node in model.graph for value in node.outputs if value.name in shapes):
        if value.shape is None:
            continue
        claimed = [size if isinstance(size, int) else size.value for size in value.shape]
        for size, actual in zip(claimed, shapes[str(value.name)], strict=True):
            if isinstance(size, str) and " · " not in size and not size.startswith("min("):
                known.setdefault(size, actual)
            stands_for = value_of(size, known)
            assert stands_for is None or stands_for == actual, (value.name, size, actual)


@pytest.mark.filterwarnings("ignore")
@settings(deadline=None, max_examples=60)
@given(STEPS)
def test_names_are_of_one_size(steps: list[tuple[str, int, int]]) -> None:
    builder = Builder()
    for step in steps:
        builder.step(*step)
    proto = builder.model()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "net.onnx"
        onnx.save(proto, path)
        model = load(path)
    for sizes in [(1, 3, 23, 31), (2, 3, 12, 12), (2, 3, 9, 14)]:
        check(model, proto, sizes)
