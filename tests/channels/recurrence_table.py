"""The rows of the recurrent operators, beside operator_table.py."""

from __future__ import annotations

import numpy as np

from tests.channels.operator_table import Row, ints

# The channels become what a recurrence reads at each of 36 steps.
STEPS = "t = Reshape(h, s0)\nb = Transpose<perm = [2, 0, 1]>(t)\n"
STEPS_CONSTANTS: dict[str, object] = {"s0": ints(2, 8, 36), "zero_": ints(0), "one_": ints(1)}

RECURRENCES: dict[str, Row] = {
    "LSTM": Row(
        STEPS + "p, q, o = LSTM<hidden_size = 6>(b, w, r, v, , i, j, k)\nd = Squeeze(p, one_)\nz = Squeeze(o, zero_)\n"
        "e = Add(d, z)\ny = MatMul(e, u)",
        units=8 + 6,
        constants=STEPS_CONSTANTS
        | {"w": (1, 24, 8), "r": (1, 24, 6), "v": (1, 48), "i": (1, 2, 6), "j": (1, 2, 6), "k": (1, 18), "u": (6, 5)},
    ),
    "LSTM whose states are outputs": Row(
        STEPS + "p, q, y = LSTM<hidden_size = 6>(b, w, r)",
        constants=STEPS_CONSTANTS | {"w": (1, 24, 8), "r": (1, 24, 6)},
    ),
    "LSTM from zeros": Row(
        STEPS + "sb = Shape(b)\nn = Gather(sb, one_)\nz = Concat<axis = 0>(one_, n, six)\ni = ConstantOfShape(z)\n"
        "p = LSTM<hidden_size = 6>(b, w, r, , , i, i)\nd = Squeeze(p, one_)\ny = MatMul(d, u)",
        units=8 + 6,
        constants=STEPS_CONSTANTS | {"w": (1, 24, 8), "r": (1, 24, 6), "six": ints(6), "u": (6, 5)},
    ),
    "LSTM twice from the same zeros": Row(
        STEPS + "p = LSTM<hidden_size = 6>(b, w, r, , , i, i)\nd = Squeeze(p, one_)\n"
        "q = LSTM<hidden_size = 6>(d, w2, r2, , , i, i)\ne = Squeeze(q, one_)\ny = MatMul(e, u)",
        units=8 + 6 + 6,
        constants=STEPS_CONSTANTS
        | {"i": np.zeros((1, 2, 6), "f"), "w": (1, 24, 8), "r": (1, 24, 6), "w2": (1, 24, 6), "r2": (1, 24, 6)}
        | {"u": (6, 5)},
    ),
    "GRU": Row(
        STEPS
        + "p, q = GRU<hidden_size = 6, linear_before_reset = 1>(b, w, r, v)\nd = Squeeze(q, zero_)\ny = MatMul(d, u)",
        units=8 + 6,
        constants=STEPS_CONSTANTS | {"w": (1, 18, 8), "r": (1, 18, 6), "v": (1, 36), "u": (6, 5)},
    ),
    "GRU both ways": Row(
        STEPS + 'p = GRU<hidden_size = 6, direction = "bidirectional">(b, w, r, v)\n'
        "n = Transpose<perm = [0, 2, 1, 3]>(p)\nd = Reshape(n, m)\ny = MatMul(d, u)",
        units=8 + 6,
        constants=STEPS_CONSTANTS | {"w": (2, 18, 8), "r": (2, 18, 6), "v": (2, 36), "u": (12, 5), "m": ints(0, 0, -1)},
    ),
    "RNN": Row(
        STEPS + "p = RNN<hidden_size = 6>(b, w, r)\nd = Squeeze(p, one_)\ny = MatMul(d, u)",
        units=8 + 6,
        constants=STEPS_CONSTANTS | {"w": (1, 6, 8), "r": (1, 6, 6), "u": (6, 5)},
    ),
    "RNN by batches": Row(
        "t = Reshape(h, s0)\nb = Transpose<perm = [0, 2, 1]>(t)\np = RNN<hidden_size = 6, layout = 1>(b, w, r)\n"
        "d = Squeeze(p, two_)\ny = MatMul(d, u)",
        units=8 + 6,
        constants={"s0": ints(2, 8, 36), "two_": ints(2), "w": (1, 6, 8), "r": (1, 6, 6), "u": (6, 5)},
    ),
    "RNN over channels": Row(
        "t = Reshape(h, s0)\nb = Transpose<perm = [1, 0, 2]>(t)\np = RNN<hidden_size = 6>(b, w, r)\n"
        "d = Squeeze(p, one_)\ny = MatMul(d, u)",
        units=6,
        constants={"s0": ints(2, 8, 36), "one_": ints(1), "w": (1, 6, 36), "r": (1, 6, 6), "u": (6, 5)},
    ),
}
