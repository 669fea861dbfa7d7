"""Healing in closed form: the weights that read removed channels are solved again, so that layers give what they gave.

A layer that lost inputs can make up for them with those that stayed, as far as they are correlated: its weights are
the ridge regression of the original's outputs on the remaining inputs, over sampled positions of calibration samples.
`collect_moments` runs the original once; `heal_weights` then heals any candidate structure without running anything.
No labels and no gradients are needed. (He et al., "Channel pruning", arXiv 1707.06168, section 3.1, without its
running of the pruned network.) What is left of it
`onnxprune.training.Matcher` corrects, which runs it.
"""

from onnxprune.healing.activations import open_values
from onnxprune.healing.integers import healed_as_floats, requantised
from onnxprune.healing.layers import Layer as SolvableLayer
from onnxprune.healing.layers import patches, positions_of, solvable_layers
from onnxprune.healing.moments import (
    MOST_INPUTS,
    Moment,
    Moments,
    Samples,
    collect_moments,
    heal_weights,
    solving_macs,
    wanted_positions,
)
from onnxprune.healing.solve import correction, product, ridge_for

__all__ = [
    "MOST_INPUTS",
    "Moment",
    "Moments",
    "Samples",
    "SolvableLayer",
    "collect_moments",
    "correction",
    "heal_weights",
    "healed_as_floats",
    "open_values",
    "patches",
    "positions_of",
    "product",
    "requantised",
    "ridge_for",
    "solvable_layers",
    "solving_macs",
    "wanted_positions",
]
