"""BatchNorm scales: a channel with a small scale is switched off already (Liu et al. 2017, "Network Slimming")."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from onnxprune.errors import CriterionError
from onnxprune.importance.registry import Criterion, CriterionInputs, SliceScores, register


def _scales(inputs: CriterionInputs) -> Iterator[SliceScores]:
    found = False
    for node in inputs.model.graph:
        scale = node.inputs[1] if node.op_type == "BatchNormalization" else None
        units = inputs.channels.axis(str(scale.name), 0) if scale is not None else None
        if scale is None or scale.const_value is None or units is None:
            continue
        found = True
        yield SliceScores(f"'{scale.name}'", units, np.abs(scale.const_value.numpy().astype(np.float32)))
    if not found:
        raise CriterionError(
            "importance 'bn_scale' needs BatchNormalization, and no removable channel of the model has one: exporters "
            "fold it into the convolutions. Use l1, reader_l1 or fpgm, or export again with "
            "torch.onnx.export(..., dynamo=False, training=TrainingMode.PRESERVE, do_constant_folding=False)"
        )


register(Criterion("bn_scale", "absolute BatchNorm scale", "batchnorm", _scales))
