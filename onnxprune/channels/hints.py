"""What would free channels that are fixed: the few answers that there are."""

from __future__ import annotations

CALLER = "nothing: the caller reads them"
RULE = "a rule for the operator (CONTRIBUTING.md, 'Add an operator')"
SIZES = "sizes known beforehand: export the model without dynamic axes"
INDICES = "indices that are constants: export the model so that they are"
RANK = "a known rank: export the model so that shape inference gets through"
TIED = "nothing here: they could only go with an axis that is fixed itself"
TOGETHER = "nothing: the operator computes something else without them"
POSITIONS = "nothing: the axis holds positions, not channels"
WHOLE = "nothing: they are a single unit"
WIDTH = "nothing: a convolution's groups stay equally wide (whole groups can go)"
SUBGRAPH = "the operator without its subgraphs: export the model without If, Loop and Scan"
EMBEDDING = "--unit embedding, which is approximate and wants training"
