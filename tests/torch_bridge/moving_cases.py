"""Cases of the operators that move, select and reshape."""

from __future__ import annotations

import numpy as np
from bridge_models import Case, array
from case_table import X, cases, positive, weights


@cases("Reshape")
def _reshape(opset):
    yield Case([X, [0, -1]])
    yield Case([X, [2, 2, 2, 72]])
    if opset >= 14:
        yield Case([array(0, 3), [0, 5]], {"allowzero": 1})


@cases("Flatten")
def _flatten(opset):
    for axis in (0, 1, 2, 4):
        yield Case([X], {"axis": axis})
    if opset >= 11:
        yield Case([X], {"axis": -1})


@cases("Squeeze")
def _squeeze(opset):
    x = array(2, 1, 3, 1)
    if opset >= 13:
        yield Case([x, [1]])
        yield Case([x, [-1, 1]])
    else:
        yield Case([x], {"axes": [1]})
    yield Case([x])


@cases("Unsqueeze")
def _unsqueeze(opset):
    x = array(2, 3)
    for axes in ([0], [3, 1]):
        yield Case([x, axes]) if opset >= 13 else Case([x], {"axes": axes})
    if opset >= 13:
        yield Case([x, [-1, 0]])


@cases("Transpose")
def _transpose(opset):
    yield Case([X], {"perm": [0, 2, 3, 1]})
    yield Case([X])


@cases("Expand")
def _expand(opset):
    yield Case([array(3, 1), [2, 1, 4]])
    yield Case([array(2, 3, 4), [1]])


@cases("Tile")
def _tile(opset):
    yield Case([array(2, 3), [2, 3]])


@cases("Range")
def _range(opset):
    yield Case([1, 9, 2])
    yield Case([0.5, 4.0, 0.5])


@cases("ConstantOfShape")
def _constant_of_shape(opset):
    yield Case([[2, 3]])


@cases("Trilu")
def _trilu(opset):
    yield Case([array(4, 5), 1], {"upper": 1})
    yield Case([array(4, 5)], {"upper": 0})


@cases("OneHot")
def _one_hot(opset):
    yield Case([np.array([[0, 2], [-1, 1]]), 4, [0.5, 2.0]])
    yield Case([np.array([[0, 2], [3, 1]]), [4], [0.0, 1.0]], {"axis": 1})
    # Beyond the depth nothing is hot.
    yield Case([np.array([0, 5, -1, 4, -5]), 4, [0.0, 1.0]])


@cases("Slice")
def _slice(opset):
    if opset < 10:
        yield Case([X], {"starts": [1, -5], "ends": [1000, -1], "axes": [1, 3]})
        yield Case([X], {"starts": [0, 1], "ends": [1, 3]})
        return
    yield Case([X, [1, -5], [1000, -1], [1, -1]])
    yield Case([X, [0], [9], [2], [2]])
    yield Case([X, [-1, 5], [-1000, 0], [2, 3], [-1, -2]])


@cases("Gather")
def _gather(opset):
    yield Case([X, [2, 0, 2]], {"axis": 1})
    yield Case([X, 1], {"axis": 2})
    yield Case([X, np.array([[0, 1], [2, 2]])], {"axis": 3})
    if opset >= 11:
        yield Case([X, [-1, 0]], {"axis": -1})
        yield Case([X, -1], {"axis": 1})


@cases("GatherElements")
def _gather_elements(opset):
    yield Case([array(3, 4), np.array([[0, -1], [2, 1]])], {"axis": 1})


@cases("GatherND")
def _gather_nd(opset):
    yield Case([X, np.array([[0, 1], [1, -2]])])
    yield Case([X, np.array([[0, 1, 2, 3]])])
    yield Case([X, np.zeros((0, 2), np.int64)])
    if opset >= 12:
        yield Case([X, np.array([[[0, 1]], [[3, -2]]])], {"batch_dims": 1})
        yield Case([X, np.array([[[1], [0], [2], [-1]], [[3], [-2], [0], [0]]])], {"batch_dims": 2})


@cases("NonZero")
def _non_zero(opset):
    yield Case([np.round(X)])
    yield Case([X > 0])
    yield Case([np.float32(3) * np.ones((), np.float32)])


@cases("ScatterElements")
def _scatter_elements(opset):
    yield Case([array(3, 4), np.array([[0, -1], [2, 1]]), array(2, 2)], {"axis": 1})
    if opset >= 16:
        yield Case([array(3, 4), np.array([[0, 0]]), array(1, 2)], {"reduction": "add"})


@cases("Split")
def _split(opset):
    sizes = [1, 3]
    if opset < 13:
        yield Case([X], {"axis": 1, "split": sizes}, outputs=2)
    else:
        yield Case([X, sizes], {"axis": 1}, outputs=2)
    if opset >= 18:
        yield Case([array(2, 7)], {"axis": 1, "num_outputs": 3}, outputs=3)
    else:
        yield Case([X], {"axis": -1}, outputs=2)


@cases("Pad")
def _pad(opset):
    amounts = [0, 1, 2, 0, 0, 0, 1, 3]
    for mode in ("constant", "reflect", "edge"):
        yield Case([X, amounts] if opset >= 11 else [X], {"mode": mode, **({} if opset >= 11 else {"pads": amounts})})
    if opset >= 11:
        yield Case([X, amounts, 2.5])
        yield Case([X, [0, 0, -1, -2, 0, 0, 0, 1]])
    if opset >= 18:
        yield Case([X, [1, 2, 3, 4], None, [-1, 1]])
    if opset >= 19:
        yield Case([X, amounts], {"mode": "wrap"})


@cases("DepthToSpace")
def _depth_to_space(opset):
    yield Case([array(2, 12, 3, 4)], {"blocksize": 2})
    if opset >= 11:
        yield Case([array(2, 12, 3, 4)], {"blocksize": 2, "mode": "CRD"})


@cases("Col2Im")
def _col2im(opset):
    yield Case([array(2, 12, 4), [4, 4], [2, 2]], {"strides": [2, 2]})
    yield Case([array(2, 12, 9), [4, 4], [2, 2]])
    yield Case([array(2, 12, 16), [4, 4], [2, 2]], {"pads": [1, 0, 0, 1]})
    yield Case([array(2, 12, 6), [5, 3], [2, 2]], {"dilations": [2, 1]})


@cases("SpaceToDepth")
def _space_to_depth(opset):
    yield Case([array(2, 3, 6, 4)], {"blocksize": 2})


@cases("Concat")
def _concat(opset):
    yield Case([X, array(2, 3, 9, 8), weights(2, 1, 9, 8)], {"axis": 1})


@cases("Einsum")
def _einsum(opset):
    yield Case([array(2, 3, 4), weights(4, 5)], {"equation": "bij,jk->bik"})


@cases("GridSample")
def _grid_sample(opset):
    grid = np.tanh(array(2, 5, 6, 2))
    modes = ("linear", "nearest", "cubic") if opset >= 20 else ("bilinear", "nearest", "bicubic")
    for mode in modes:
        yield Case([X, grid], {"mode": mode, "padding_mode": "border"}, tolerance=1e-4)
    yield Case([X, grid], {"align_corners": 1, "padding_mode": "reflection"}, tolerance=1e-4)


@cases("QuantizeLinear")
def _quantize(opset):
    yield Case([X, 0.05])
    if opset >= 13:
        yield Case([X, positive(4)], {"axis": 1})
