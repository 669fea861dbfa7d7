"""Cases of the operators that compute."""

from __future__ import annotations

import numpy as np
from bridge_models import Case, array
from case_table import X, cases, positive, weights


@cases("Conv")
def _conv(opset):
    yield Case([X, weights(6, 4, 3, 3), weights(6)], {"pads": [1, 1, 1, 1], "strides": [2, 2]})
    yield Case([X, weights(8, 1, 3, 3)], {"group": 4, "dilations": [2, 1], "pads": [0, 1, 2, 0]})
    yield Case([X, weights(6, 2, 3, 4)], {"group": 2, "auto_pad": "SAME_UPPER", "strides": [2, 3]})
    yield Case([X, weights(6, 4, 2, 4)], {"auto_pad": "SAME_LOWER", "strides": [2, 1]})
    yield Case([X, weights(6, 4, 2, 4)], {"auto_pad": "VALID"})
    yield Case([array(2, 4, 9), weights(6, 4, 3)], {"pads": [1, 1]})
    yield Case([array(1, 2, 5, 6, 7), weights(3, 2, 3, 3, 3)])
    yield Case([X, array(6, 4, 3, 3)])


@cases("ConvTranspose")
def _conv_transpose(opset):
    weight = weights(4, 3, 3, 3)
    yield Case([X, weight, weights(3)], {"strides": [2, 2], "pads": [1, 1, 1, 1], "output_padding": [1, 1]})
    yield Case([X, weight], {"strides": [2, 1], "pads": [0, 1, 2, 0]})
    yield Case([X, weights(4, 2, 2, 2)], {"group": 2, "strides": [2, 2]})
    yield Case([X, weight], {"strides": [2, 2], "output_shape": [18, 16], "auto_pad": "SAME_UPPER"})
    yield Case([X, weight], {"strides": [2, 2], "auto_pad": "SAME_LOWER"})
    yield Case([array(1, 4, 7), weights(4, 3, 3)], {"strides": [2], "dilations": [2]})


@cases("DeformConv")
def _deform_conv(opset):
    offsets, masks = array(2, 36, 9, 8, seed=3), np.abs(array(2, 18, 9, 8, seed=4))
    same = {"pads": [1, 1, 1, 1], "offset_group": 2}
    yield Case([X, weights(6, 4, 3, 3), offsets, weights(6), masks], same)
    yield Case([X, weights(6, 2, 3, 3), offsets[:, :18]], {"pads": [0, 0, 2, 2], "group": 2})
    yield Case([X, weights(6, 4, 2, 2), array(2, 8, 4, 4, seed=5)], {"strides": [2, 2], "kernel_shape": [2, 2]})


@cases("IsInf")
def _is_inf(opset):
    x = np.array([np.inf, -np.inf, 1, np.nan], np.float32)
    for below, above in ((1, 1), (0, 1), (1, 0), (0, 0)):
        yield Case([x], {"detect_negative": below, "detect_positive": above})


@cases("Gemm")
def _gemm(opset):
    yield Case([array(3, 5), weights(4, 5), weights(4)], {"transB": 1})
    yield Case([array(3, 5), weights(5, 4), weights(3, 1)], {"alpha": 0.5, "beta": 2.0})
    yield Case([array(5, 3), weights(5, 4), 0.25], {"transA": 1})
    if opset >= 11:
        yield Case([array(3, 5), weights(5, 4)], {"alpha": 3.0})


def _recurrence(directions: int, gates: int, hidden: int = 5, channels: int = 4) -> list:
    shapes = ((gates * hidden, channels), (gates * hidden, hidden), (2 * gates * hidden,))
    return [weights(directions, *shape, seed=seed) for seed, shape in enumerate(shapes)]


SEQUENCE = array(6, 2, 4)


@cases("LSTM")
def _lstm(opset):
    yield Case([SEQUENCE, *_recurrence(1, 4)], {"hidden_size": 5}, outputs=3)
    yield Case([SEQUENCE, *_recurrence(1, 4)[:2]], {"hidden_size": 5, "direction": "reverse"}, outputs=2)
    states = [None, array(2, 2, 5), array(2, 2, 5, seed=1)]
    both = {"hidden_size": 5, "direction": "bidirectional"}
    yield Case([SEQUENCE, *_recurrence(2, 4), *states], both, outputs=3)


@cases("GRU")
def _gru(opset):
    usual = {"hidden_size": 5, "linear_before_reset": 1}
    yield Case([SEQUENCE, *_recurrence(1, 3)], usual, outputs=2)
    yield Case([SEQUENCE, *_recurrence(1, 3), None, array(1, 2, 5)], usual | {"direction": "reverse"}, outputs=2)
    yield Case([SEQUENCE, *_recurrence(2, 3)], usual | {"direction": "bidirectional"})


@cases("RNN")
def _rnn(opset):
    yield Case([SEQUENCE, *_recurrence(1, 1)], {"hidden_size": 5}, outputs=2)
    both = {"hidden_size": 5, "direction": "bidirectional", "activations": ["Relu", "Relu"]}
    yield Case([SEQUENCE, *_recurrence(2, 1)], both, outputs=2)


@cases("MatMul")
def _matmul(opset):
    yield Case([array(2, 3, 5), weights(5, 4)])
    yield Case([array(2, 3, 5), array(2, 5, 4)])


@cases("BatchNormalization")
def _batch_norm(opset):
    statistics = [weights(4, seed=3), positive(4)]
    yield Case([X, positive(4, seed=5), weights(4), *statistics], {"epsilon": 1e-3})
    yield Case([array(3, 4), positive(4, seed=5), weights(4), *statistics])
    yield Case([array(3, 4, 5), array(4), weights(4), *statistics])
    yield Case([X, positive(4), weights(4), array(4), np.abs(array(4)) + 1])


@cases("InstanceNormalization")
def _instance_norm(opset):
    yield Case([X, positive(4), weights(4)], {"epsilon": 1e-3})
    yield Case([array(2, 4, 6), positive(4), weights(4)])


@cases("GroupNormalization")
def _group_norm(opset):
    size = 2 if opset < 21 else 4
    yield Case([X, positive(size), weights(size)], {"num_groups": 2})


@cases("LayerNormalization")
def _layer_norm(opset):
    yield Case([X, positive(8), weights(8)])
    yield Case([X, positive(9, 8)], {"axis": 2})
    yield Case([X, positive(1, 8), weights(8)], {"axis": -2, "epsilon": 1e-2})


@cases("LRN")
def _lrn(opset):
    yield Case([array(2, 7, 3, 3)], {"size": 3, "alpha": 0.1, "beta": 0.5, "bias": 2.0})


@cases("LpNormalization")
def _lp_norm(opset):
    yield Case([X], {"axis": 1, "p": 2})
    yield Case([X], {"p": 1})


@cases("MeanVarianceNormalization")
def _mvn(opset):
    yield Case([X])


@cases("MaxPool")
def _max_pool(opset):
    yield Case([X], {"kernel_shape": [3, 3], "strides": [2, 2], "pads": [1, 1, 1, 1]})
    yield Case([X], {"kernel_shape": [3, 2], "pads": [0, 1, 2, 0]})
    yield Case([X], {"kernel_shape": [3, 3], "strides": [2, 2], "auto_pad": "SAME_UPPER"})
    yield Case([array(2, 3, 9)], {"kernel_shape": [4], "pads": [3, 3], "strides": [2]})
    yield Case([array(1, 2, 5, 6, 7)], {"kernel_shape": [2, 2, 2]})
    if opset >= 10:
        yield Case([X], {"kernel_shape": [3, 3], "strides": [2, 2], "ceil_mode": 1})
        yield Case([X], {"kernel_shape": [3, 3], "dilations": [2, 1]})
        yield Case([X], {"kernel_shape": [3, 3], "strides": [2, 3], "pads": [0, 1, 1, 0], "ceil_mode": 1})


@cases("AveragePool")
def _average_pool(opset):
    for count in (0, 1):
        padded = {"pads": [1, 1, 1, 1], "count_include_pad": count}
        yield Case([X], {"kernel_shape": [3, 3], "strides": [2, 2], **padded})
        yield Case([X], {"kernel_shape": [3, 2], "pads": [0, 1, 2, 0], "count_include_pad": count})
        if opset >= 10:
            yield Case([X], {"kernel_shape": [3, 3], "strides": [2, 3], "ceil_mode": 1, **padded})
    yield Case([X], {"kernel_shape": [3, 3], "strides": [2, 2], "auto_pad": "SAME_LOWER"})
    yield Case([array(2, 3, 9)], {"kernel_shape": [2]})
    if opset >= 19:
        yield Case([X], {"kernel_shape": [3, 3], "dilations": [2, 1], "pads": [1, 1, 1, 1]})


@cases("LpPool")
def _lp_pool(opset):
    yield Case([X], {"kernel_shape": [3, 2], "p": 2, "strides": [2, 1]})


@cases("GlobalAveragePool", "GlobalMaxPool")
def _global_pool(opset):
    yield Case([X])
    yield Case([array(2, 3, 5)])


@cases("Clip")
def _clip(opset):
    if opset < 11:
        yield Case([X], {"min": -0.5, "max": 0.5})
        yield Case([X], {"min": 0.0})
        yield Case([X])
        return
    yield Case([X, -0.5, 0.5])
    yield Case([X, None, 0.5])
    yield Case([X, 0.0])
    yield Case([X, np.array(-0.1, np.float32), np.array(0.2, np.float32)])


@cases("PRelu")
def _prelu(opset):
    yield Case([X, weights(4, 1, 1)])
    yield Case([X, weights(1)])
    yield Case([array(2, 4, 4, 4), weights(4)])


@cases("Softmax", "LogSoftmax", "Hardmax")
def _softmax(opset):
    yield Case([X])
    yield Case([X], {"axis": 1})
    yield Case([X], {"axis": 2})
    if opset >= 11:
        yield Case([X], {"axis": -1})


@cases("Dropout")
def _dropout(opset):
    if opset < 12:
        yield Case([X], {"ratio": 0.3})
    else:
        yield Case([X, 0.3])
        yield Case([X])


@cases("HardSigmoid")
def _hard_sigmoid(opset):
    yield Case([X])
    yield Case([X], {"alpha": 1 / 6, "beta": 0.5})


@cases("Gelu")
def _gelu(opset):
    yield Case([X])
    yield Case([X], {"approximate": "tanh"})


@cases("HardSwish", "Mish", "Relu", "Selu", "Sigmoid", "Softplus", "Softsign", "Tanh", "Identity", "Shrink")
@cases("Abs", "Erf", "Exp", "Neg", "Floor", "Ceil", "Round", "Sign", "IsNaN", "Sin", "Cos", "Asinh", "Cosh")
@cases("Atan", "Sinh", "Shape", "Size", "ThresholdedRelu", "Elu", "Celu", "LeakyRelu", "Reciprocal")
def _unary(opset):
    yield Case([X])


@cases("Asin", "Acos", "Tan", "Atanh")
def _bounded(opset):
    yield Case([np.tanh(X) * 0.9])


@cases("Sqrt", "Log")
def _of_positive(opset):
    yield Case([np.abs(X) + 0.1])


@cases("Acosh")
def _acosh(opset):
    yield Case([np.abs(X) + 1.1])


@cases("Add", "Sub", "Mul", "Div")
def _binary(opset):
    yield Case([X, weights(4, 1, 1)])
    yield Case([X, array(8)])


@cases("Pow")
def _pow(opset):
    yield Case([X, 2.0])
    yield Case([np.abs(X), [0.5]])
    yield Case([np.abs(X), array(4, 1, 1)])


@cases("Sum", "Mean", "Max", "Min")
def _n_ary(opset):
    yield Case([X, X[::-1].copy(), X[:, ::-1].copy()])
    yield Case([X])
    if opset >= 8:
        yield Case([X, weights(4, 1, 1)])


@cases("Less", "Greater", "LessOrEqual", "GreaterOrEqual")
def _compare(opset):
    x, y = (np.round(array(3, 4, seed=seed)) for seed in (0, 1))
    yield Case([x, y])


@cases("Equal")
def _equal(opset):
    kind = np.int32 if opset < 11 else np.float32
    yield Case([np.round(array(3, 4, seed=seed)).astype(kind) for seed in (0, 1)])


@cases("And", "Or", "Xor")
def _logical(opset):
    yield Case([array(3, 4) > 0, array(3, 4, seed=1) > 0])


@cases("Not")
def _not(opset):
    yield Case([array(3, 4) > 0])


@cases("Where")
def _where(opset):
    yield Case([array(3, 4) > 0, array(3, 4), 0.0])


@cases("Cast")
def _cast(opset):
    for to in (6, 7, 9, 10, 11):
        yield Case([X], {"to": to}, tolerance=1e-3)


@cases("CastLike")
def _cast_like(opset):
    yield Case([X, np.ones(1, np.int32)])


@cases("CumSum")
def _cumsum(opset):
    yield Case([X, 1])
    yield Case([X, -1], {"exclusive": 1, "reverse": 1})


@cases("DFT")
def _dft(opset):
    axis = {"axis": 2} if opset < 20 else {}
    given = [] if opset < 20 else [None, 2]
    yield Case([array(2, 3, 8, 1), *given], axis)
    yield Case([array(2, 3, 8, 2), *given], axis)
    yield Case([array(2, 3, 8, 2), *given], {**axis, "inverse": 1})
    yield Case([array(2, 3, 8, 1), *given], {**axis, "onesided": 1})
    yield Case([array(2, 3, 8, 1), 5, *given[1:]], axis)
    yield Case([array(2, 8, 3, 1)] if opset < 20 else [array(2, 3, 8, 1)])


@cases("ReduceL1", "ReduceL2", "ReduceLogSum", "ReduceLogSumExp", "ReduceMax", "ReduceMean", "ReduceMin")
@cases("ReduceProd", "ReduceSumSquare")
def _reduce(opset):
    x = np.abs(X) + 0.1
    yield Case([x])
    yield Case([x], {"keepdims": 0})
    for axes in ([1], [2, 3], [0]):
        if opset >= 18:
            yield Case([x, axes], {"keepdims": 0})
        else:
            yield Case([x], {"axes": axes, "keepdims": 0})
    if opset >= 18:
        yield Case([x, [-2, -1]])
        yield Case([x], {"noop_with_empty_axes": 1})


@cases("ReduceSum")
def _reduce_sum(opset):
    if opset >= 13:
        yield Case([X, [1, 3]], {"keepdims": 0})
        yield Case([X])
    else:
        yield Case([X], {"axes": [1, 3]})


@cases("ArgMax", "ArgMin")
def _arg(opset):
    yield Case([X], {"axis": 1})
    yield Case([X], {"axis": 2, "keepdims": 0})
    if opset >= 12:
        yield Case([np.round(X)], {"axis": 1, "select_last_index": 1})


@cases("TopK")
def _top_k(opset):
    if opset < 10:
        yield Case([X], {"k": 3, "axis": 1}, outputs=2)
    else:
        yield Case([X, [3]], {"axis": 1}, outputs=2)
    if opset >= 11:
        yield Case([X, [2]], {"axis": -1, "largest": 0}, outputs=2)
