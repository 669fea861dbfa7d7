"""Bring a model into the one form that the analysis, the surgery and the PyTorch bridge work on.

requires  a model as read from a file
ensures   functions are inlined; constants are initializers; no Identity of an initializer is left; initializers are no
          graph inputs; quantising nodes are ONNX's own where its opset has them; optional outputs without a name are
          left out; per-channel constants that an exporter merged because their values were equal are separate again;
          initial states that are zero are left out; shape arithmetic that is static is folded; single entries are
          repeated by Expand; parts of a sequence are those of a Split; an If whose condition is known is the branch
          that it takes; matrices that are computed of constants are initializers where the file does not grow by that;
          transposes of the last two axes are one node; heads have an axis of their own where their number could not be
          said else; every node and value has a unique name; shapes are inferred; nothing that no output needs is left
"""

from __future__ import annotations

import onnx_ir as ir
from onnx_ir.passes.common import (
    InlinePass,
    LiftConstantsToInitializersPass,
    NameFixPass,
    RemoveInitializersFromInputsPass,
    RemoveUnusedNodesPass,
    TopologicalSortPass,
)

from onnxprune.graph.channel_constants import separate_channel_constants
from onnxprune.graph.computed_weights import fold_computed_weights
from onnxprune.graph.constant_nodes import fold_constant_nodes
from onnxprune.graph.contrib import adopt_quantising
from onnxprune.graph.decided import inline_decided
from onnxprune.graph.head_axes import separate_heads
from onnxprune.graph.repeats import expand_single_entries
from onnxprune.graph.sequences import split_sequences
from onnxprune.graph.shape_values import fold_shape_values
from onnxprune.graph.shapes import infer_shapes, infer_unnamed, name_sizes
from onnxprune.graph.sizes import is_plain
from onnxprune.graph.transposes import join_transposes
from onnxprune.graph.unnamed_outputs import drop_unnamed_outputs
from onnxprune.graph.zero_states import drop_zero_states


def normalise(model: ir.Model) -> ir.Model:
    """Normalise `model` in place and return it; see the module's text for what holds afterwards."""
    drop_unnamed_outputs(model)
    if model.functions:
        InlinePass()(model)
    TopologicalSortPass()(model)
    RemoveInitializersFromInputsPass()(model)
    _settle(model)
    adopt_quantising(model)
    drop_zero_states(model)
    # What the file holds beside the network, too; below, only what a rewrite leaves behind.
    RemoveUnusedNodesPass()(model)
    _share_nothing_with_outputs(model)
    _believe_the_weights(model)
    _forget_meaningless_sizes(model)
    separate_channel_constants(model)
    _infer_and_simplify(model)
    if fold_constant_nodes(model):
        RemoveUnusedNodesPass()(model)
        separate_channel_constants(model)
    if fold_computed_weights(model):
        RemoveUnusedNodesPass()(model)
    if join_transposes(model):
        RemoveUnusedNodesPass()(model)
        infer_shapes(model)
    if separate_heads(model):
        RemoveUnusedNodesPass()(model)
    return model


def _infer_and_simplify(model: ir.Model) -> None:
    """Infer shapes and fold what they decide, until neither gets any further."""
    while True:
        infer_unnamed(model)
        # Sizes behind a folded Reshape become known only then, so a chain of blocks takes a round each.
        while _simplify(model):
            RemoveUnusedNodesPass()(model)
            infer_unnamed(model)
        # Names take rounds of their own for each block, so only what is left to be named gets one.
        name_sizes(model)
        if not _simplify(model):
            return
        RemoveUnusedNodesPass()(model)


def _simplify(model: ir.Model) -> bool:
    """Do one thing that shape inference gets further by; tell whether there was any."""
    if inline_decided(model):
        _settle(model)
        return True
    return split_sequences(model) or expand_single_entries(model) or fold_shape_values(model)


def _settle(model: ir.Model) -> None:
    """Make constants initializers, and names unique."""
    LiftConstantsToInitializersPass(lift_all_constants=True, size_limit=0)(model)
    NameFixPass()(model)
    _name_nodes(model)
    _skip_identities_of_initializers(model)


def _believe_the_weights(model: ir.Model) -> None:
    """Declare every initializer as what it is: tools that edit weights leave stale declarations beside them."""
    for value in model.graph.initializers.values():
        if value.const_value is not None:
            value.shape = ir.Shape(value.const_value.shape.numpy())
            value.dtype = value.const_value.dtype


def _forget_meaningless_sizes(model: ir.Model) -> None:
    """Make sizes such as -1 and '?' unknown: taken as names, they would declare different axes equal.

    So would names that look like the products that sizes are named by.
    """
    for value in [*model.graph.inputs, *model.graph.outputs]:
        if value.shape is not None and not value.is_initializer():
            value.shape = ir.Shape([d if _has_meaning(d) else None for d in value.shape])


def _has_meaning(dim: int | ir.SymbolicDim) -> bool:
    if isinstance(dim, int):
        return dim >= 0
    return dim.value is not None and dim.value.strip("?") != "" and is_plain(dim.value)


def _name_nodes(model: ir.Model) -> None:
    names = {node.name for node in model.graph if node.name}
    counts: dict[str, int] = {}
    for node in model.graph:
        while not node.name:
            index = counts[node.op_type] = counts.get(node.op_type, -1) + 1
            candidate = f"{node.op_type}_{index}"
            if candidate not in names:
                node.name = candidate


def _skip_identities_of_initializers(model: ir.Model) -> None:
    for node in list(model.graph):
        source = node.inputs[0] if node.op_type == "Identity" and node.domain == "" else None
        if source is None or not source.is_initializer() or node.outputs[0].is_graph_output():
            continue
        node.outputs[0].replace_all_uses_with(source)
        model.graph.remove(node, safe=True)


def _share_nothing_with_outputs(model: ir.Model) -> None:
    """Give an initializer that is itself a graph output an Identity, so that outputs come from nodes."""
    for index, value in enumerate(model.graph.outputs):
        if not value.is_initializer():
            continue
        node = ir.node("Identity", [value])
        name, value.name = value.name, f"{value.name}.constant"
        node.outputs[0].name, node.outputs[0].shape, node.outputs[0].type = name, value.shape, value.type
        model.graph.append(node)
        model.graph.outputs[index] = node.outputs[0]
