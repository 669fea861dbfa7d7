"""The rows of the widening table hold: versions differ in types alone."""

from __future__ import annotations

import pytest
from onnx import defs

from onnxprune.torch_bridge.converters.widened import WIDENED
from onnxprune.torch_bridge.registry import DOMAIN, OPSETS, find_converter

# What the networks of image classification, detection and segmentation are made of.
OPERATORS = """
    Abs Add ArgMax ArgMin AveragePool BatchNormalization Cast CastLike Ceil Celu Clip Concat
    ConstantOfShape Conv ConvTranspose Cos CumSum DeformConv DepthToSpace DequantizeLinear Div Dropout Einsum Elu
    Equal Erf Exp Expand Flatten Floor Gather GatherElements GatherND Gelu Gemm GlobalAveragePool
    GlobalMaxPool Greater GreaterOrEqual GridSample GroupNormalization HardSigmoid HardSwish Hardmax
    Identity InstanceNormalization LRN LayerNormalization LeakyRelu Less LessOrEqual Log LogSoftmax
    LpNormalization LpPool MatMul Max MaxPool Mean MeanVarianceNormalization Min Mish Mod Mul Neg
    NonZero Not OneHot Or PRelu Pad Pow QuantizeLinear Range Reciprocal ReduceL1 ReduceL2 ReduceLogSum
    ReduceLogSumExp ReduceMax ReduceMean ReduceMin ReduceProd ReduceSum ReduceSumSquare Relu Reshape
    Resize Round ScatterElements ScatterND Selu Shape Shrink Sigmoid Sign Sin Size Slice Softmax
    Softplus Softsign SpaceToDepth Split Sqrt Squeeze Sub Sum Tanh ThresholdedRelu Tile TopK Transpose
    Trilu Unsqueeze Where Xor
""".split()  # noqa: SIM905


def schema(op_type: str, version: int) -> defs.OpSchema:
    return defs.get_schema(op_type, max_inclusive_version=version)


@pytest.mark.parametrize(("op_type", "known", "lacking"), [(op, *row) for op, rows in WIDENED.items() for row in rows])
def test_widened_versions_have_the_same_signature(op_type, known, lacking):
    old, new = schema(op_type, known), schema(op_type, lacking)
    assert (old.since_version, new.since_version) == (known, lacking)
    assert [i.name for i in old.inputs] == [i.name for i in new.inputs]
    assert [o.name for o in old.outputs] == [o.name for o in new.outputs]
    assert set(old.attributes) == set(new.attributes)


@pytest.mark.parametrize("op_type", OPERATORS)
def test_every_opset_that_has_an_operator_has_a_converter(op_type):
    first = min(s.since_version for s in defs.get_all_schemas_with_history() if s.name == op_type and not s.domain)
    lacking = [
        opset
        for opset in OPSETS
        if opset >= first and not (find_converter(DOMAIN, op_type, opset) or find_converter("", op_type, opset))
    ]
    assert lacking == []
