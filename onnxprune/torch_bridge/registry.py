"""Our operators in onnx2torch's registry: how one is registered, and the module that most of them become.

onnx2torch's own converters take weights only from initializers, turn other weights into buffers and know few
of the newer opsets. Ours are registered beside them under the domain `onnxprune`, once for each opset they
hold for; `prepare` moves a node to that domain where there is one. An operator without an entry here stays
with onnx2torch.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from onnx2torch.node_converters import registry as onnx2torch_registry
from onnx2torch.onnx_graph import OnnxGraph
from onnx2torch.onnx_node import OnnxNode
from onnx2torch.utils.common import OnnxMapping, OperationConverterResult
from torch import nn

DOMAIN = "onnxprune"
OPSETS = range(7, 27)

Converter = Callable[[OnnxNode, OnnxGraph], OperationConverterResult]
_add_converter: Callable[..., Callable[[Converter], Converter]] = onnx2torch_registry.add_converter
_get_converter: Callable[..., Converter] = onnx2torch_registry.get_converter


def converter(
    *op_types: str, since: int = OPSETS.start, until: int = OPSETS.stop - 1
) -> Callable[[Converter], Converter]:
    """Register a converter of operators for the opsets `since` to `until`, both included."""

    def register(convert: Converter) -> Converter:
        for op_type in op_types:
            for opset in range(since, until + 1):
                _add_converter(operation_type=op_type, version=opset, domain=DOMAIN)(convert)
        return convert

    return register


def register_version(op_type: str, version: int, convert: Converter) -> None:
    """Register a converter for one schema version of a standard operator."""
    _add_converter(operation_type=op_type, version=version)(convert)


def find_converter(domain: str, op_type: str, opset: int) -> Converter | None:
    """Return the converter that onnx2torch would use, None if there is none."""
    try:
        return _get_converter(operation_type=op_type, version=opset, domain=domain)
    except NotImplementedError:
        return None


def undotted(domain: str, op_type: str, opset: int) -> str:
    """Make a converter known under a domain without dots, which onnx2torch's module names cannot hold."""
    alias = domain.replace(".", "_")
    convert = find_converter(domain, op_type, opset)
    if convert is not None and find_converter(alias, op_type, opset) is None:
        _add_converter(operation_type=op_type, version=opset, domain=alias)(convert)
    return alias


class Apply(nn.Module):
    """Calls a function with a node's inputs in ONNX's order.

    Attributes:
        function: What the operator computes; pure, so that copies of the module may share it.
        given: Arguments known at conversion, by position; None for an input the node leaves out.
    """

    def __init__(self, function: Callable[..., Any], given: dict[int, Any]) -> None:
        super().__init__()
        self.function = function
        self.given = given

    def forward(self, *tensors: Any) -> Any:
        """Compute the operator's outputs from the inputs not given at conversion."""
        if not self.given:
            return self.function(*tensors)
        arguments = list(tensors)
        for position, value in self.given.items():
            arguments.insert(position, value)
        return self.function(*arguments)

    def extra_repr(self) -> str:
        """Show the function and its options."""
        name = getattr(getattr(self.function, "func", self.function), "__name__", "function")
        return f"{name}, {getattr(self.function, 'keywords', {})}, given={self.given}"


def apply(
    node: OnnxNode, graph: OnnxGraph, function: Callable[..., Any], settings: Iterable[int] = ()
) -> OperationConverterResult:
    """Convert a node to a module that applies `function` to its inputs.

    Args:
        node: The ONNX node.
        graph: Its graph.
        function: Takes the node's inputs by position.
        settings: Positions passed as numbers or lists of numbers where they are constant.
    """
    settings = frozenset(settings)
    given: dict[int, Any] = {}
    fed: list[str] = []
    for position, name in enumerate(node.input_values):
        if not name:
            given[position] = None
        elif position in settings and name in graph.initializers:
            given[position] = graph.initializers[name].to_numpy().tolist()
        else:
            fed.append(name)
    return result(node, Apply(function, given), fed)


def result(node: OnnxNode, module: nn.Module, inputs: Iterable[str]) -> OperationConverterResult:
    """Pair a module with the names of the values it is called with."""
    return OperationConverterResult(module, OnnxMapping(tuple(inputs), node.output_values))


def ints(node: OnnxNode, name: str) -> tuple[int, ...] | None:
    """Return an attribute that lists integers, None where it is absent; onnx2torch mistakes an empty list."""
    value = node.attributes.get(name)
    if value is None:
        return None
    return tuple(value) if isinstance(value, list) else ()
