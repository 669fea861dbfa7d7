"""One small network per operator: a producer of 8 channels, the operator, a reader; and how many units it leaves."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import onnx


@dataclass(frozen=True)
class Row:
    """A graph from `h`, 8 positive channels of 6 x 6 pixels in 2 samples, to `a`, which a convolution reads.

    Attributes:
        body: Nodes, in ONNX's text form; they may also make `y`, the network's output, themselves.
        units: How many of the channels can be removed.
        constants: Initializers by name; a shape stands for random numbers.
        read: Channels that `a` has.
        opset: Of the network.
    """

    body: str
    units: int = 8
    constants: dict[str, object] = field(default_factory=dict)
    read: int = 8
    opset: int = 20


def build(row: Row, seed: int = 0) -> onnx.ModelProto:
    """Build the network of a row."""
    rng = np.random.default_rng(seed)
    constants = {"first": (8, 3, 3, 3), "one": np.float32(1), "half": np.float32(0.6)} | row.constants
    body = row.body
    if "y =" not in body:
        constants["last"] = (5, row.read, 1, 1)
        body += "\ny = Conv(a, last)"
    text = f"""
    <ir_version: 8, opset_import: ["": {row.opset}]>
    net (float[2, 3, 6, 6] x) => (float[] y) {{
        c = Conv<pads = [1, 1, 1, 1]>(x, first)
        s = Sigmoid(c)
        h = Max(s, tenth)
        {body}
    }}"""
    model = onnx.parser.parse_model(text)
    model.graph.output[0].type.tensor_type.ClearField("shape")
    constants["tenth"] = np.float32(0.1)
    for name, value in constants.items():
        array = rng.standard_normal(value).astype(np.float32) if isinstance(value, tuple) else np.asarray(value)
        model.graph.initializer.append(onnx.numpy_helper.from_array(array, name))
    return model


def ints(*values: int) -> np.ndarray:
    """Return a constant that names sizes, axes or indices."""
    return np.array(values, dtype=np.int64)


UNARY = (
    "Abs", "Acos", "Asin", "Asinh", "Atan", "Atanh", "Ceil", "Celu", "Cos", "Cosh", "Dropout", "Elu", "Erf", "Exp",
    "Floor", "Gelu", "HardSigmoid", "HardSwish", "Identity", "LeakyRelu", "Log", "Mish", "Neg", "Reciprocal", "Relu",
    "Round", "Selu", "Shrink", "Sigmoid", "Sign", "Sin", "Sinh", "Softplus", "Softsign", "Sqrt", "Tan", "Tanh",
    "ThresholdedRelu",
)  # fmt: skip
COMPARISONS = ("Equal", "Greater", "GreaterOrEqual", "Less", "LessOrEqual")
LOGICAL = ("And", "Or", "Xor")
BITWISE = ("BitwiseAnd", "BitwiseOr", "BitwiseXor")
ARITHMETIC = ("Add", "Sub", "Mul", "Div", "Pow", "PRelu")
POOLING = ("GlobalAveragePool", "GlobalMaxPool", "GlobalLpPool")
WINDOWS = ("MaxPool", "AveragePool", "LpPool")
SCALE = {"t": np.linspace(0.2, 0.9, 8, dtype=np.float32).reshape(8, 1, 1)}

ROWS: dict[str, Row] = {
    **{op: Row(f"a = {op}(h)") for op in UNARY},
    **{op: Row(f"b = {op}(h, half)\na = Cast<to = 1>(b)") for op in COMPARISONS},
    **{
        op: Row(f"b = Greater(h, half)\nd = Less(h, t)\ne = {op}(b, d)\na = Cast<to = 1>(e)", constants=SCALE)
        for op in LOGICAL
    },
    **{
        op: Row(
            f"b = Mul(h, ten)\nd = Cast<to = 6>(b)\ne = {op}(d, d)\na = Cast<to = 1>(e)",
            constants={"ten": np.float32(10)},
        )
        for op in BITWISE
    },
    **{op: Row(f"a = {op}(h, t)", constants=SCALE) for op in ARITHMETIC},
    **{op: Row(f"b = {op}(h)\na = Mul(h, b)") for op in POOLING},
    **{op: Row(f"a = {op}<kernel_shape = [2, 2]>(h)") for op in WINDOWS},
    "Acosh": Row("b = Add(h, one)\na = Acosh(b)"),
    "Not": Row("b = Greater(h, half)\nd = Not(b)\na = Cast<to = 1>(d)"),
    "IsNaN": Row("b = IsNaN(h)\nd = Cast<to = 1>(b)\na = Add(d, h)"),
    "IsInf": Row("b = IsInf(h)\nd = Cast<to = 1>(b)\na = Add(d, h)"),
    "BitwiseNot": Row(
        "b = Mul(h, ten)\nd = Cast<to = 6>(b)\ne = BitwiseNot(d)\na = Cast<to = 1>(e)",
        constants={"ten": np.float32(10)},
    ),
    "Cast": Row("b = Cast<to = 11>(h)\na = Cast<to = 1>(b)"),
    "CastLike": Row("a = CastLike(h, one)"),
    "Clip": Row("a = Clip(h, tenth, half)"),
    "Clip 6": Row("a = Clip<min = 0.1, max = 0.5>(h)", opset=8),
    "Swish": Row("a = Swish(h)", opset=24),
    "Max": Row("a = Max(h, t, half)", constants=SCALE),
    "Min": Row("a = Min(h, t)", constants=SCALE),
    "Mean": Row("a = Mean(h, t, c)", constants=SCALE),
    "Sum": Row("a = Sum(h, t, c)", constants=SCALE),
    "Mod": Row("a = Mod<fmod = 1>(h, t)", constants=SCALE),
    "Where": Row("b = Greater(h, half)\na = Where(b, h, t)", constants=SCALE),
    "PRelu of each channel": Row("a = PRelu(c, t)", constants=SCALE),
    "BatchNormalization": Row(
        "a = BatchNormalization(h, g, b, m, v)",
        constants={"g": (8,), "b": (8,), "m": (8,), "v": np.linspace(0.5, 2, 8, dtype=np.float32)},
    ),
    "BatchNormalization of one channel": Row(
        "p = ReduceMax<keepdims = 0>(h, ax)\nd = BatchNormalization(p, g, b, m, v)\ny = MatMul(d, w)",
        constants={"ax": ints(0, 2, 3), "w": (8, 5)} | {n: np.array([0.7], np.float32) for n in "gbmv"},
    ),
    "InstanceNormalization": Row("a = InstanceNormalization(h, g, b)", constants={"g": (8,), "b": (8,)}),
    "LayerNormalization": Row(
        "b = Transpose<perm = [0, 2, 3, 1]>(h)\nd = LayerNormalization(b, g)\na = Transpose<perm = [0, 3, 1, 2]>(d)",
        units=0,
        constants={"g": (8,)},
    ),
    "LayerNormalization of rows": Row("a = LayerNormalization(h, g)", constants={"g": (6,)}),
    "LayerNormalization of rows, scaled by channel": Row(
        "a = LayerNormalization(h, g, k)", constants={"g": (8, 1, 6), "k": (8, 6, 1)}
    ),
    "LayerNormalization of rows, scaled by computed numbers": Row(
        "d = Sigmoid(g)\na = LayerNormalization(h, d)", constants={"g": (2, 8, 6, 6)}
    ),
    "RMSNormalization": Row("a = RMSNormalization(h, g)", constants={"g": (6,)}, opset=23),
    "RMSNormalization of rows, scaled by channel": Row(
        "a = RMSNormalization(h, g)", constants={"g": (8, 6, 6)}, opset=23
    ),
    "BatchNormalization in training, over channels": Row(
        "b = Transpose<perm = [0, 2, 3, 1]>(h)\nd, e, f = BatchNormalization<training_mode = 1>(b, g, k, m, v)\n"
        "a = Transpose<perm = [0, 3, 1, 2]>(d)",
        units=0,
        constants={"g": (6,), "k": (6,), "m": (6,), "v": np.ones(6, np.float32)},
    ),
    "GroupNormalization": Row(
        "a = GroupNormalization<num_groups = 4>(h, g, b)", units=4, constants={"g": (8,), "b": (8,)}, opset=21
    ),
    "GroupNormalization 18": Row(
        "a = GroupNormalization<num_groups = 2>(h, g, b)", units=2, constants={"g": (2,), "b": (2,)}
    ),
    "GroupNormalization as InstanceNormalization": Row(
        "b = Reshape(h, r)\nd = InstanceNormalization(b, g, k)\na = Reshape(d, r2)",
        units=2,
        constants={"r": ints(0, 2, -1), "g": (2,), "k": (2,), "r2": ints(0, 8, 6, 6)},
    ),
    "GroupNormalization spelled out": Row(
        "b = Reshape(h, r)\nm = ReduceMean(b, i)\nd = Sub(b, m)\nq = Mul(d, d)\nv = ReduceMean(q, i)\nf = Sqrt(v)\n"
        "e = Div(d, f)\na = Reshape(e, r2)",
        units=2,
        constants={"r": ints(2, 2, 4, 6, 6), "i": ints(2, 3, 4), "r2": ints(2, 8, 6, 6)},
    ),
    "GroupNormalization of single channels": Row(
        "a = GroupNormalization<num_groups = 8>(h, g, b)", constants={"g": (8,), "b": (8,)}
    ),
    "MeanVarianceNormalization": Row("a = MeanVarianceNormalization(h)"),
    "MeanVarianceNormalization of channels": Row("a = MeanVarianceNormalization<axes = [1]>(h)", units=0),
    "Dropout in training": Row("a = Dropout(h, half, t)", units=0, constants={"t": np.bool_(True)}),
    "Dropout in evaluation": Row("a = Dropout(h, half, t)", constants={"t": np.bool_(False)}),
    "LRN": Row("a = LRN<size = 3>(h)", units=0),
    "QuantizeLinear": Row(
        "b = QuantizeLinear(h, q, z)\na = DequantizeLinear(b, q, z)",
        constants={"q": np.float32(0.01), "z": np.uint8(3)},
    ),
    "DequantizeLinear of each channel": Row(
        "d = DequantizeLinear<axis = 0>(w, q, z)\na = Conv(h, d)",
        units=16,
        constants={
            "w": np.arange(64, dtype=np.int8).reshape(8, 8, 1, 1),
            "q": np.linspace(0.01, 0.02, 8, dtype=np.float32),
            "z": np.zeros(8, np.int8),
        },
    ),
    "Conv": Row("a = Conv(h, w, b)", units=16, constants={"w": (8, 8, 1, 1), "b": (8,)}),
    "Conv depthwise": Row("a = Conv<group = 8>(h, w)", constants={"w": (8, 1, 3, 3)}),
    "Conv depthwise, two each": Row("a = Conv<group = 8>(h, w)", constants={"w": (16, 1, 3, 3)}, read=16),
    "Conv of two wide groups": Row(
        "b = Conv(h, v)\na = Conv<group = 2>(b, w)",
        units=8 + 12 + 6,
        constants={"v": (24, 8, 1, 1), "w": (12, 12, 1, 1)},
        read=12,
    ),
    "Conv of two narrow groups": Row("a = Conv<group = 2>(h, w)", units=2, constants={"w": (12, 4, 1, 1)}, read=12),
    "Conv of four groups": Row("a = Conv<group = 4>(h, w)", units=4, constants={"w": (12, 2, 1, 1)}, read=12),
    "DeformConv": Row(
        "o = Conv<pads = [1, 1, 1, 1]>(h, t)\na = DeformConv<pads = [1, 1, 1, 1]>(h, w, o, b)",
        units=14,
        constants={"t": (18, 8, 3, 3), "w": (6, 8, 3, 3), "b": (6,)},
        read=6,
    ),
    "DeformConv of groups, with a mask": Row(
        "o = Conv<pads = [1, 1, 1, 1]>(h, t)\nm = Conv<pads = [1, 1, 1, 1]>(h, u)\n"
        "a = DeformConv<pads = [1, 1, 1, 1], group = 4, offset_group = 2>(h, w, o, , m)",
        units=2,
        constants={"t": (36, 8, 3, 3), "u": (18, 8, 3, 3), "w": (8, 2, 3, 3)},
    ),
    "ConvTranspose": Row("a = ConvTranspose(h, w, b)", units=14, constants={"w": (8, 6, 2, 2), "b": (6,)}, read=6),
    "ConvTranspose of groups": Row(
        "a = ConvTranspose<group = 4>(h, w)", units=4, constants={"w": (8, 3, 2, 2)}, read=12
    ),
    "Concat": Row("a = Concat<axis = 1>(h, c, h)", read=24),
    "Concat of pixels": Row("a = Concat<axis = 2>(h, c)"),
    "Constant": Row("b = Constant<value_float = 2.0>()\na = Mul(h, b)"),
    "Shape": Row("b = Shape(h)\nd = Reshape(h, b)\na = Relu(d)"),
    "Shape of channels": Row(
        "b = Shape<start = 1, end = 2>(h)\nd = Concat<axis = 0>(n, b, m)\na = Reshape(h, d)",
        constants={"n": ints(2), "m": ints(-1, 6)},
    ),
    "Size": Row("b = Size(h)\nd = Cast<to = 1>(b)\ne = Div(d, d)\na = Mul(h, e)"),
    "ConstantOfShape": Row("b = Shape(h)\nd = ConstantOfShape(b)\na = Add(h, d)"),
    "ConstantOfShape as a weight": Row(
        "d = ConstantOfShape<value = float[1] {0.5}>(f)\na = Conv(h, d)",
        units=8 + 64,
        constants={"f": ints(64, 8, 1, 1)},
        read=64,
    ),
    "Range": Row(
        "b = Range(zero, six, unit)\nd = Cast<to = 1>(b)\na = Add(h, d)",
        constants={"zero": np.int64(0), "six": np.int64(6), "unit": np.int64(1)},
    ),
    "EyeLike": Row("b = EyeLike(e)\na = Add(h, b)", constants={"e": (6, 6)}),
    "EyeLike of channels": Row(
        "p = GlobalMaxPool(h)\nd = Squeeze(p, ax)\nb = EyeLike(d)\ne = Add(b, k)\nf = MatMul(d, w)\ng = MatMul(e, u)\n"
        "y = Add(f, g)",
        units=0,
        constants={"ax": ints(2, 3), "k": (2, 8), "w": (8, 5), "u": (8, 5)},
    ),
    "RandomNormal": Row(
        "b = RandomNormal<shape = [6, 6]>()\nd = Mul(b, zero)\na = Add(h, d)", constants={"zero": np.float32(0)}
    ),
    "RandomUniform": Row(
        "b = RandomUniform<shape = [6, 6]>()\nd = Mul(b, zero)\na = Add(h, d)", constants={"zero": np.float32(0)}
    ),
    "TopK": Row("a, i = TopK<axis = 3>(h, k)", constants={"k": ints(2)}),
    "TopK of channels": Row("a, i = TopK<axis = 1>(h, k)", units=0, constants={"k": ints(2)}, read=2),
    "CumSum": Row("a = CumSum(h, i)", constants={"i": np.int64(2)}),
    "CumSum of channels": Row("a = CumSum(h, i)", units=0, constants={"i": np.int64(1)}),
    "Softmax": Row("a = Softmax<axis = -1>(h)"),
    "Softmax of channels": Row("a = Softmax<axis = 1>(h)", units=0),
    "Softmax 1": Row("a = Softmax<axis = 2>(h)", opset=9),
    "LogSoftmax": Row("a = LogSoftmax<axis = 2>(h)"),
    "Hardmax": Row("a = Hardmax<axis = 3>(h)"),
    "ArgMax": Row("b = ArgMax<axis = 2>(h)\na = Cast<to = 1>(b)"),
    "ArgMin": Row("b = ArgMin<axis = 1>(h)\na = Cast<to = 1>(b)", units=0, read=1),
    "MaxPool with indices": Row("a, i = MaxPool<kernel_shape = [2, 2]>(h)"),
    "MaxPool whose indices are read": Row(
        "b, i = MaxPool<kernel_shape = [2, 2]>(h)\nj = Cast<to = 1>(i)\na = Mul(b, j)", units=0
    ),
    "Resize": Row('a = Resize<mode = "nearest">(h, , k)', constants={"k": np.array([1, 1, 2, 2], np.float32)}),
    "Resize to sizes": Row('a = Resize<mode = "linear">(h, , , k)', constants={"k": ints(2, 8, 9, 9)}),
    "GridSample": Row("a = GridSample(h, g)", constants={"g": (2, 6, 6, 2)}),
    "RoiAlign": Row(
        "a = RoiAlign<output_height = 2, output_width = 2>(h, g, i)", constants={"g": (3, 4), "i": ints(0, 1, 1)}
    ),
    "MaxRoiPool": Row("a = MaxRoiPool<pooled_shape = [2, 2]>(h, g)", constants={"g": np.array([[0, 0, 0, 4, 4]], "f")}),
    "Upsample": Row("a = Upsample(h, k)", constants={"k": np.array([1, 1, 2, 2], np.float32)}, opset=9),
    "Pad": Row("a = Pad(h, p)", constants={"p": ints(0, 0, 1, 1, 0, 0, 1, 1)}),
    "Pad channels": Row("a = Pad(h, p)", constants={"p": ints(0, 2, 0, 0, 0, 3, 0, 0)}, read=13),
    "Pad away channels": Row("a = Pad(h, p)", constants={"p": ints(0, -2, 0, 0, 0, 1, 0, 0)}, read=7),
    "Pad by reflection": Row(
        'a = Pad<mode = "reflect">(h, p)', units=0, constants={"p": ints(0, 1, 0, 0, 0, 0, 0, 0)}, read=9
    ),
    "Pad 2": Row("a = Pad<pads = [0, 1, 0, 0, 0, 1, 2, 2]>(h)", read=10, opset=9),
    "Pad axes": Row("a = Pad(h, p, , ax)", constants={"p": ints(1, 1), "ax": ints(1)}, read=10),
    "Reshape": Row("b = Reshape(h, r)\na = Transpose<perm = [0, 1, 2, 3]>(b)", constants={"r": ints(2, 8, 9, 4)}),
    "Reshape into groups": Row(
        "b = Reshape(h, r)\nd = Transpose<perm = [0, 2, 1, 3, 4]>(b)\na = Reshape(d, r2)",
        units=4,
        constants={"r": ints(2, 2, 4, 6, 6), "r2": ints(2, 8, 6, 6)},
    ),
    "Flatten": Row("b = Flatten(h)\ny = Gemm(b, w)", constants={"w": (288, 5)}),
    "Squeeze": Row(
        "b = GlobalMaxPool(h)\nd = Squeeze(b, ax)\ny = MatMul(d, w)", constants={"ax": ints(2, 3), "w": (8, 5)}
    ),
    "Squeeze 1": Row(
        "b = GlobalMaxPool(h)\nd = Squeeze<axes = [2, 3]>(b)\ny = MatMul(d, w)", constants={"w": (8, 5)}, opset=11
    ),
    "Unsqueeze": Row("b = Unsqueeze(h, ax)\na = Squeeze(b, ax)", constants={"ax": ints(2)}),
    "Transpose": Row("b = Transpose<perm = [1, 3, 2, 0]>(h)\na = Transpose<perm = [3, 0, 1, 2]>(b)"),
    "Expand": Row("b = GlobalMaxPool(h)\na = Expand(b, r)", constants={"r": ints(2, 8, 6, 6)}),
    "Expand along channels": Row(
        "b = ReduceMax<axes = [1]>(h)\nd = Expand(b, r)\na = Mul(h, d)",
        units=0,
        constants={"r": ints(2, 8, 6, 6)},
        opset=11,
    ),
    "Tile of one channel": Row(
        "b = Conv(h, w)\nd = Sigmoid(b)\ne = Tile(d, r)\na = Mul(h, e)",
        constants={"w": (1, 8, 1, 1), "r": ints(1, 8, 1, 1)},
    ),
    "Tile": Row("a = Tile(h, r)", constants={"r": ints(1, 3, 1, 1)}, read=24),
    "Col2Im": Row(
        "f = Reshape(h, r)\na = Col2Im<strides = [2, 2]>(f, i, k)",
        units=2,
        constants={"r": ints(0, 8, 36), "i": ints(12, 12), "k": ints(2, 2)},
        read=2,
        opset=18,
    ),
    "Col2Im of one channel": Row(
        "b = Conv(h, w)\nf = Reshape(b, r)\na = Col2Im<strides = [2, 2]>(f, i, k)",
        units=8,
        constants={"w": (4, 8, 1, 1), "r": ints(0, 4, 36), "i": ints(12, 12), "k": ints(2, 2)},
        read=1,
        opset=18,
    ),
    "Col2Im of the same channels twice": Row(
        "b = Concat<axis = 1>(h, h)\nf = Reshape(b, r)\na = Col2Im<strides = [2, 2]>(f, i, k)",
        units=2,
        constants={"r": ints(0, 16, 36), "i": ints(12, 12), "k": ints(2, 2)},
        read=4,
        opset=18,
    ),
    "DepthToSpace": Row("a = DepthToSpace<blocksize = 2>(h)", units=2, read=2),
    "DepthToSpace CRD": Row(
        'b = Conv(h, w)\na = DepthToSpace<blocksize = 2, mode = "CRD">(b)',
        units=8 + 4,
        constants={"w": (16, 8, 1, 1)},
        read=4,
    ),
    "SpaceToDepth": Row("a = SpaceToDepth<blocksize = 2>(h)", read=32),
    "SpaceToDepth of channels": Row(
        "t = Transpose<perm = [0, 2, 1, 3]>(h)\na = SpaceToDepth<blocksize = 2>(t)", units=0, read=24
    ),
    "Attention": Row("a = Attention(h, h, h)", opset=23),
    "Attention among positions": Row(
        "t = Transpose<perm = [0, 2, 1, 3]>(h)\nb = Attention(t, t, t)\na = Transpose<perm = [0, 2, 1, 3]>(b)",
        units=0,
        opset=23,
    ),
    "Attention of positions": Row(
        "t = Transpose<perm = [0, 2, 1, 3]>(h)\nb = Attention(t, k, k)\na = Transpose<perm = [0, 2, 1, 3]>(b)",
        constants={"k": (2, 6, 5, 6)},
        opset=23,
    ),
    "Attention of positions in order": Row(
        "t = Transpose<perm = [0, 2, 1, 3]>(h)\nb = Attention<is_causal = 1>(t, k, k)\n"
        "a = Transpose<perm = [0, 2, 1, 3]>(b)",
        units=0,
        constants={"k": (2, 6, 5, 6)},
        opset=23,
    ),
    "Attention of masked positions": Row(
        "t = Transpose<perm = [0, 2, 1, 3]>(h)\nb = Attention(t, k, k, m)\na = Transpose<perm = [0, 2, 1, 3]>(b)",
        units=0,
        constants={"k": (2, 6, 5, 6), "m": (8, 5)},
        opset=23,
    ),
    "ReduceL2 of weights": Row(
        "t = Tanh(v)\nn = ReduceL2<axes = [1, 2, 3]>(t)\nu = Div(t, n)\na = Conv(h, u)",
        units=4,
        constants={"v": (4, 8, 1, 1)},
        read=4,
        opset=17,
    ),
    "LpNormalization of weights": Row(
        "t = Tanh(v)\nu = LpNormalization<axis = 1>(t)\na = Conv(h, u)", units=4, constants={"v": (4, 8, 1, 1)}, read=4
    ),
    "Einsum of weights": Row(
        'e = Einsum<equation = "ochw,ochw->o">(v, v)\nn = Reshape(e, t)\nu = Div(v, n)\na = Conv(h, u)',
        units=4,
        constants={"v": (4, 8, 1, 1), "t": ints(4, 1, 1, 1)},
        read=4,
    ),
    "RotaryEmbedding": Row(
        "a = RotaryEmbedding(h, cos, sin)", constants={"cos": (2, 6, 3), "sin": (2, 6, 3)}, opset=23
    ),
    "RotaryEmbedding of positions": Row(
        "t = Transpose<perm = [0, 2, 1, 3]>(h)\nb = RotaryEmbedding(t, cos, sin)\n"
        "a = Transpose<perm = [0, 2, 1, 3]>(b)",
        units=0,
        constants={"cos": (2, 8, 3), "sin": (2, 8, 3)},
        opset=23,
    ),
    "Einsum": Row('b = Einsum<equation = "nchw->nc">(h)\ny = MatMul(b, w)', constants={"w": (8, 5)}),
    "Einsum that sums over channels": Row(
        'b = Einsum<equation = "nchw->nhw">(h)\na = Unsqueeze(b, u)', constants={"u": ints(1)}, read=1
    ),
    "Einsum with a weight": Row(
        'a = Einsum<equation = "nchw, cd -> ndhw">(h, w)', units=20, constants={"w": (8, 12)}, read=12
    ),
    "Einsum with a moved weight": Row(
        't = Transpose(w)\na = Einsum<equation = "cd,nchw->ndhw">(t, h)', units=20, constants={"w": (12, 8)}, read=12
    ),
    "Einsum over two axes that can both go": Row(
        'e = Conv(x, v)\nb = Einsum<equation = "nchw,nkhw->nck">(h, e)\ny = Einsum<equation = "nck,ckd->nd">(b, u)',
        units=8 + 6,
        constants={"v": (6, 3, 1, 1), "u": (8, 6, 5)},
    ),
    "Einsum over two axes": Row(
        'r = Reshape(c, f)\nb = Einsum<equation = "ngchw,gcd->ndhw">(r, w)\na = Relu(b)',
        units=12 + 4,
        constants={"f": ints(2, 4, 2, 6, 6), "w": (4, 2, 12)},
        read=12,
    ),
    "Einsum that scales": Row('a = Einsum<equation = "nchw,c->nchw">(h, w)', constants={"w": (8,)}),
    "Einsum of two activations": Row(
        'b = Einsum<equation = "nchw,nkhw->nck">(h, c)\na = Einsum<equation = "nck,nkhw->nchw">(b, h)'
    ),
    "Einsum with a diagonal": Row('a = Einsum<equation = "nchw,cc->nchw">(h, w)', units=0, constants={"w": (8, 8)}),
    "Einsum with an ellipsis": Row('a = Einsum<equation = "...w,wv->...v">(h, w)', constants={"w": (6, 6)}),
    "Einsum with an ellipsis of samples": Row(
        't = Transpose<perm = [0, 2, 3, 1]>(h)\nd = Einsum<equation = "...c,cd->...d">(t, w)\n'
        'y = Einsum<equation = "...d,d">(d, v)',
        units=20,
        constants={"w": (8, 12), "v": (12,)},
    ),
}
