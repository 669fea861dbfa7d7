"""Einsum: every letter is an axis, an ellipsis several; what no output letter names is summed over."""

from __future__ import annotations

import onnx_ir as ir

from onnxprune.channels.attention import is_scores, products_behind
from onnxprune.channels.labels import Labels
from onnxprune.channels.map import Axis
from onnxprune.channels.ops.rules import is_weight, named
from onnxprune.channels.registry import flow
from onnxprune.graph.equations import axis_letters
from onnxprune.graph.sizes import dims


@flow("Einsum")
def einsum(node: ir.Node, labels: Labels) -> None:
    """Tie the axes of each letter; a weight's letters that only the output has beside it are produced."""
    values = [value for value in node.inputs if value is not None]
    ranks = [len(dims(value)) for value in values]
    *operands, result = axis_letters(node.attributes.get_string("equation"), ranks)
    if [len(term) for term in operands] != ranks or any(len(set(term)) < len(term) for term in operands):
        labels.pin_all(node.inputs, f"{named(node)} has an equation with a diagonal")
        labels.set(node.outputs[0], (None,) * len(dims(node.outputs[0])))
        return
    joint: dict[str, Axis] = {}
    for letter in dict.fromkeys(letter for term in operands for letter in term):
        places = [(i, term.index(letter)) for i, term in enumerate(operands) if letter in term]
        joint[letter] = _joined(node, labels, values, places)
        constant = [is_weight(values[i]) for i, _ in places]
        if letter not in result and all(map(is_weight, values)):
            labels.pin(joint[letter], f"{named(node)} sums weights over them")
        elif letter not in result:
            # Of an activation, if one has it: a weight is no place where values could be corrected.
            index, axis = places[constant.index(False) if False in constant else 0]
            labels.contract(node, index, axis)
        elif len(places) == 1 and constant[0] and len(values) > 1:
            labels.produce(node, values[places[0][0]], places[0][1])
    labels.set(node.outputs[0], [joint[letter] for letter in result])
    _note_attention(node, labels, joint, operands, result)


def _note_attention(
    node: ir.Node, labels: Labels, joint: dict[str, Axis], operands: list[list[str]], result: list[str]
) -> None:
    """Take note of axes of heads, which queries and keys share, and of entries, which scores have no more."""
    if is_scores(node):
        labels.value_products.update(str(product.name) for product in products_behind(node))
        shared = set(operands[0]) & set(operands[1])
        heads, entries = shared & set(result), shared - set(result)
    elif node.name in labels.value_products:
        heads, entries = set(), set(operands[0]) ^ set(operands[1])
    else:
        return
    labels.head_axes += [axis for letter in heads if (axis := joint[letter]) is not None]
    labels.entry_axes += [axis for letter in entries if (axis := joint[letter]) is not None]


def _joined(node: ir.Node, labels: Labels, values: list[ir.Value], places: list[tuple[int, int]]) -> Axis:
    """Tie the axes of one letter; sizes that differ are broadcast, which fixes them."""
    (first, axis), *others = places
    joint = labels.of(values[first])[axis]
    size = dims(values[first])[axis]
    for index, other in others:
        labelled = labels.of(values[index])[other]
        if dims(values[index])[other] != size:
            labels.pin(joint, f"{named(node)} spreads one entry over them")
            labels.pin(labelled, f"{named(node)} spreads one entry over them")
            joint = None
            continue
        joint = labels.tie(joint, labelled, f"{named(node)} joins them with a fixed axis")
    return joint
