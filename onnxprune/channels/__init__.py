"""Which channels can go, what must go with them, and taking them out.

The analysis runs the graph once on labels instead of numbers: every axis of every tensor carries the *unit* each of
its indices belongs to. Units are removed whole; units that live on the same axes form a group. Surgery removes any
set of units and gives a new, smaller model; verification proves that removing equals silencing, and that what was
read is what the file says.
"""

from onnxprune.channels.analysis import analyse
from onnxprune.channels.attention import AttentionUnit
from onnxprune.channels.branches import Branch, find_branches
from onnxprune.channels.map import ChannelMap, Contraction, FixedChannels, Group, GroupKind
from onnxprune.channels.patterns import producer_names, short_name
from onnxprune.channels.reading import verify_reading
from onnxprune.channels.restriction import (
    UNITS,
    Restriction,
    nothing_left,
    permitted,
    restrict,
    with_embedding_hints,
)
from onnxprune.channels.surgery import embed, prune
from onnxprune.channels.unreached import unreached_weights
from onnxprune.channels.verification import Verification, verify

__all__ = [
    "UNITS",
    "AttentionUnit",
    "Branch",
    "ChannelMap",
    "Contraction",
    "FixedChannels",
    "Group",
    "GroupKind",
    "Restriction",
    "Verification",
    "analyse",
    "embed",
    "find_branches",
    "nothing_left",
    "permitted",
    "producer_names",
    "prune",
    "restrict",
    "short_name",
    "unreached_weights",
    "verify",
    "verify_reading",
    "with_embedding_hints",
]
