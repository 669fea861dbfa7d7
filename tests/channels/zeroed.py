"""The check that uses none of the analysis' own means: removal equals the network in which weights were set to zero."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime as ort
from onnx import numpy_helper

from onnxprune.channels import ChannelMap, analyse, prune, verify
from onnxprune.graph import load

Constants = Mapping[str, tuple[int, ...] | np.ndarray]
"""Arrays, or shapes of random ones, by name."""


def network(body: str, constants: Constants, first: str = "Conv") -> onnx.ModelProto:
    """Make a network of channels `h`, which a convolution of weights `w` and `b` brings forth, to `y`."""
    model = onnx.parser.parse_model(f"""<ir_version: 8, opset_import: ["": 18]>
        net (float[N, 3, H, W] x) => (float[] y) {{
            c_ = {first}(x, w, b)
            h = Relu(c_)
            {body}
        }}""")
    model.graph.output[0].type.tensor_type.ClearField("shape")
    rng = np.random.default_rng(0)
    for name, value in constants.items():
        array = rng.standard_normal(value).astype(np.float32) if isinstance(value, tuple) else value
        model.graph.initializer.append(numpy_helper.from_array(array, name))
    return model


def check_removal(
    proto: onnx.ModelProto, weights: dict[str, int], x: np.ndarray, *, units: int, folder: Path, seed: int
) -> None:
    """Remove random channels, and compare with the network in which what brings them forth is zero.

    Args:
        proto: A network of an input `x`, in which zeros stay zeros up to where channels are summed over.
        weights: Initializers that bring channels forth, and the axis along which they do.
        x: An input.
        units: How many units there must be.
        folder: Where to write.
        seed: Of the choice of channels.
    """
    onnx.save(proto, folder / "net.onnx")
    model = load(folder / "net.onnx")
    channels = analyse(model)
    assert channels.unit_count == units
    rng = np.random.default_rng(seed)
    keep = rng.random(units) < 0.6
    for group in channels.groups:
        first, *others = rng.permutation(group.units)
        keep[first], keep[others[:1]] = True, False
    pruned = prune(model, channels, keep)
    verify(model, channels, keep, pruned, input_shapes={"x": x.shape})
    expected = run(_zeroed(proto, channels, keep, weights), x)
    assert not np.allclose(expected, run(proto, x), rtol=1e-3)
    np.testing.assert_allclose(run(ir.serde.serialize_model(pruned), x), expected, rtol=1e-4, atol=1e-5)


def _zeroed(proto: onnx.ModelProto, channels: ChannelMap, keep: np.ndarray, weights: dict[str, int]) -> onnx.ModelProto:
    copy = onnx.ModelProto()
    copy.CopyFrom(proto)
    for tensor in copy.graph.initializer:
        axis = weights.get(tensor.name)
        units = channels.axis(tensor.name, axis) if axis is not None else None
        if axis is not None and units is not None:
            array = numpy_helper.to_array(tensor).copy()
            np.moveaxis(array, axis, 0)[(units >= 0) & ~keep[units]] = 0
            tensor.CopyFrom(numpy_helper.from_array(array, tensor.name))
    return copy


def run(model: onnx.ModelProto, x: np.ndarray) -> np.ndarray:
    """Run a network of an input `x`."""
    options = ort.SessionOptions()
    options.log_severity_level = 4
    session = ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return np.asarray(session.run(None, {"x": x})[0])
