"""Keep shape arithmetic in the CPU's memory.

PyTorch takes sizes from the CPU. On a GPU, a Reshape whose shape was computed there would wait for the device
each time, and a ShuffleNet with a dynamic batch computes 77 of them. So whatever is computed from shapes
alone stays on the CPU, and is moved only where it meets data.

requires  a graph whose trained initializers are Weight nodes
ensures   a node computes on the CPU exactly if its inputs come from shapes and constants; constants that such
          nodes read are HostConstant nodes; results that meet data pass through ToDevice
"""

from __future__ import annotations

import onnx_ir as ir

from onnxprune.torch_bridge.registry import DOMAIN
from onnxprune.torch_bridge.settings import is_setting

_ALWAYS_HOST = {"Shape", "Size", "ConstantOfShape", "Range"}


def place_shape_arithmetic(graph: ir.Graph) -> None:
    """Insert HostConstant and ToDevice nodes into `graph`."""
    host: set[ir.Value] = set()
    constants: dict[ir.Value, ir.Value] = {}
    moved: dict[ir.Value, ir.Value] = {}
    for node in list(graph):
        if _runs_on_host(node, host):
            host.update(node.outputs)
            _read_host_constants(graph, node, constants)
        else:
            _read_from_device(graph, node, host, moved)


def _runs_on_host(node: ir.Node, host: set[ir.Value]) -> bool:
    if node.op_type in _ALWAYS_HOST:
        return True
    if node.domain == DOMAIN and node.op_type in ("Weight", "Outputs"):
        return False
    inputs = [value for value in node.inputs if value is not None]
    if not all(value in host or value.is_initializer() for value in inputs):
        return False
    # Constants alone: integers are sizes; floats (a quantised weight, a table) are data.
    return any(value in host for value in inputs) or not any(_is_float(value) for value in inputs)


def _is_float(value: ir.Value) -> bool:
    return value.const_value is not None and value.const_value.dtype.is_floating_point()


def _read_host_constants(graph: ir.Graph, node: ir.Node, constants: dict[ir.Value, ir.Value]) -> None:
    for position, value in enumerate(node.inputs):
        if value is None or not value.is_initializer() or value.const_value is None:
            continue
        if node.domain == DOMAIN and is_setting(node, position):
            continue
        if value not in constants:
            # A large one lies in the model's file, where onnx2torch does not look for it.
            attribute = ir.AttrTensor("value", ir.tensor(value.const_value.numpy(), name=value.name))
            source = ir.Node(DOMAIN, "HostConstant", [], [attribute], num_outputs=1, name=f"{value.name}.host")
            source.outputs[0].name = f"{value.name}.host"
            graph.insert_before(graph[0], source)
            constants[value] = source.outputs[0]
        node.replace_input_with(position, constants[value])


def _read_from_device(graph: ir.Graph, node: ir.Node, host: set[ir.Value], moved: dict[ir.Value, ir.Value]) -> None:
    for position, value in enumerate(node.inputs):
        if value is None or value not in host or is_setting(node, position):
            continue
        if value not in moved:
            move = ir.Node(DOMAIN, "ToDevice", [value], num_outputs=1, name=f"{value.name}.data")
            move.outputs[0].name = f"{value.name}.data"
            graph.insert_before(node, move)
            moved[value] = move.outputs[0]
        node.replace_input_with(position, moved[value])
