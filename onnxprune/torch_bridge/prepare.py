"""Rewrite a copy of a model so that onnx2torch converts it with weights as parameters and outputs in order.

requires  a model as `onnxprune.graph.load` gives it
ensures   weights are Weight nodes, read by all that read the initializer; BatchNorms name their statistics
          instead of reading them; operators with a converter of ours are in our domain, the others have one
          of onnx2torch's; shape arithmetic is on the CPU; one Outputs node collects the outputs; node names
          are unique and usable as module names. The given model is not changed.
"""

from __future__ import annotations

import onnx_ir as ir
from onnx_ir.passes.common import (
    InlinePass,
    LiftConstantsToInitializersPass,
    RemoveInitializersFromInputsPass,
    RemoveUnusedNodesPass,
    TopologicalSortPass,
)

from onnxprune.errors import ConversionError
from onnxprune.graph import inlined
from onnxprune.torch_bridge.placement import place_shape_arithmetic
from onnxprune.torch_bridge.registry import DOMAIN, OPSETS, find_converter, undotted
from onnxprune.torch_bridge.roles import Roles, roles

_STANDARD = ("", "ai.onnx")


def prepare(model: ir.Model) -> tuple[ir.Model, Roles]:
    """Return the rewritten copy of `model` and the roles of its float initializers.

    Raises:
        ConversionError: An operator, or the opset, has no converter.
    """
    opset = _opset(model)
    copy = model.clone()
    sorted_roles = roles(copy)
    if copy.functions:
        InlinePass()(copy)
    known = set(copy.graph.initializers)
    LiftConstantsToInitializersPass(lift_all_constants=True, size_limit=0)(copy)
    RemoveInitializersFromInputsPass()(copy)
    TopologicalSortPass()(copy)
    RemoveUnusedNodesPass()(copy)
    for name, value in copy.graph.initializers.items():
        if name not in known and value.dtype is not None and value.dtype.is_floating_point():
            sorted_roles.fixed[name] = "it is a Constant node, not an initializer"
    weights = tuple(name for name in sorted_roles.weights if name in copy.graph.initializers)
    for name in set(sorted_roles.weights) - set(weights):
        sorted_roles.fixed[name] = "no output depends on it"
    _drop_unused_outputs(copy.graph)
    _name_statistics(copy.graph)
    _choose_converters(copy.graph, opset)
    for name in weights:
        _make_weight(copy.graph, name)
    _collect_outputs(copy.graph)
    place_shape_arithmetic(copy.graph)
    RemoveUnusedNodesPass()(copy)
    _name_nodes(copy.graph)
    copy.graph.opset_imports.update({"": opset, DOMAIN: opset})
    return inlined(copy), Roles(weights, sorted_roles.statistics, sorted_roles.fixed)


def _opset(model: ir.Model) -> int:
    opset = model.opset_imports.get("", model.opset_imports.get("ai.onnx", 0))
    if opset not in OPSETS:
        raise ConversionError(
            f"opset {opset} cannot be converted to PyTorch, only {OPSETS.start} to {OPSETS.stop - 1}. "
            "Convert the model with onnx.version_converter, or export it again"
        )
    return opset


def _drop_unused_outputs(graph: ir.Graph) -> None:
    """Cut trailing outputs that nothing reads, so that a node with one result counts as one."""
    for node in graph:
        count = len(node.outputs)
        while count > 1 and not node.outputs[count - 1].uses() and not node.outputs[count - 1].is_graph_output():
            count -= 1
        # The number of a Split's outputs says what it computes.
        if node.op_type != "Split":
            node.resize_outputs(count)


def _name_statistics(graph: ir.Graph) -> None:
    for node in graph:
        if node.op_type != "BatchNormalization" or node.domain not in _STANDARD:
            continue
        mean, variance = node.inputs[3], node.inputs[4]
        if mean is None or variance is None or not (mean.is_initializer() and variance.is_initializer()):
            continue
        node.attributes.add(ir.AttrString("mean", str(mean.name)))
        node.attributes.add(ir.AttrString("variance", str(variance.name)))
        node.attributes.add(ir.AttrString("source", str(node.name)))
        node.resize_inputs(3)


def _choose_converters(graph: ir.Graph, opset: int) -> None:
    missing = []
    for node in graph:
        # The second name of the standard domain has a dot as well.
        node.domain = "" if node.domain in _STANDARD else node.domain
        if not node.domain and find_converter(DOMAIN, node.op_type, opset) is not None:
            node.domain = DOMAIN
            continue
        version = graph.opset_imports.get(node.domain, 1) if node.domain else opset
        several = len(node.outputs) > 1 and not node.domain
        if several or find_converter(node.domain, node.op_type, version) is None:
            name = f"{node.domain}::{node.op_type}" if node.domain else node.op_type
            missing.append(f"{name} (node '{node.name}', opset {version})")
        elif "." in node.domain:
            node.domain = undotted(node.domain, node.op_type, version)
            graph.opset_imports[node.domain] = version
    if missing:
        shown = ", ".join(missing[:5]) + (f" and {len(missing) - 5} more" if len(missing) > 5 else "")
        raise ConversionError(
            f"no PyTorch converter for {shown}. Prune without training (`onnxprune prune`, without --heal), or "
            "register a converter with onnx2torch.node_converters.registry.add_converter before converting"
        )


def _make_weight(graph: ir.Graph, name: str) -> None:
    value = graph.initializers.pop(name)
    node = ir.Node(DOMAIN, "Weight", [], [ir.AttrString("initializer", name)], num_outputs=1, name=name)
    output = node.outputs[0]
    output.shape, output.type = value.shape, value.type
    for use in tuple(value.uses()):
        use.node.replace_input_with(use.idx, output)
    for index, result in enumerate(graph.outputs):
        if result is value:
            graph.outputs[index] = output
    output.name = name
    graph.insert_before(graph[0], node)


def _collect_outputs(graph: ir.Graph) -> None:
    node = ir.Node(DOMAIN, "Outputs", list(graph.outputs), num_outputs=1, name="outputs")
    collected = node.outputs[0]
    collected.name, collected.type = "onnxprune.outputs", ir.TensorType(ir.DataType.FLOAT)
    graph.append(node)
    graph.outputs.clear()
    graph.outputs.append(collected)


def _name_nodes(graph: ir.Graph) -> None:
    """Name nodes so that onnx2torch, which names modules after them, gives each its own."""
    taken: set[tuple[str, str]] = set()
    for node in graph:
        # A folder for onnx2torch's own nodes too, lest one is named as an attribute of every module ("type").
        prefix = "" if node.domain == DOMAIN else "onnx/"
        base = name = prefix + (node.name or node.op_type).replace(".", "/")
        count = 0
        while (node.domain, name) in taken:
            count += 1
            name = f"{base}_{count}"
        taken.add((node.domain, name))
        node.name = name
