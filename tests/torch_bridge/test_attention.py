"""Attention, RMSNormalization and RotaryEmbedding, of opset 23, against onnxruntime; what is refused is named."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest
from bridge_models import Case, array, parse, relative_difference, single

from onnxprune.errors import ConversionError
from onnxprune.torch_bridge import to_torch

# Two samples, 4 heads of 6 entries (values: 5), 7 queries, 9 keys.
Q, K, V = array(2, 4, 7, 6), array(2, 4, 9, 6, seed=1), array(2, 4, 9, 5, seed=2)
SHARED_K, SHARED_V = array(2, 2, 9, 6, seed=1), array(2, 2, 9, 5, seed=2)
Q3, K3, V3 = array(2, 7, 24), array(2, 9, 24, seed=1), array(2, 9, 20, seed=2)
SHARED_K3, SHARED_V3 = array(2, 9, 12, seed=1), array(2, 9, 10, seed=2)
SQUARE = array(2, 4, 7, 6, seed=1), array(2, 4, 7, 5, seed=2)
MASK = array(7, 9, seed=3) > -0.5
HEADS = {"q_num_heads": 4, "kv_num_heads": 4}
CASES = {
    "four axes": Case([Q, K, V]),
    "three axes": Case([Q3, K3, V3], HEADS),
    "shared keys": Case([Q, SHARED_K, SHARED_V]),
    "shared keys of three axes": Case([Q3, SHARED_K3, SHARED_V3], {"q_num_heads": 4, "kv_num_heads": 2}),
    "a boolean mask": Case([Q, K, V, MASK]),
    "a mask of each head": Case([Q, K, V, array(4, 7, 9)]),
    "a mask of each sample": Case([Q3, K3, V3, array(2, 1, 7, 9)], HEADS),
    "causal": Case([Q, *SQUARE], {"is_causal": 1}),
    "causal across": Case([Q, K, V], {"is_causal": 1}),
    "causal with an additive mask": Case([Q, *SQUARE, array(7, 7)], {"is_causal": 1, "scale": 0.3}),
    "causal with a boolean mask": Case([Q, *SQUARE, (array(7, 7) > -1) | np.eye(7, dtype=bool)], {"is_causal": 1}),
    "a scale": Case([Q3, K3, V3], HEADS | {"scale": 0.7}),
}
NORMS = {
    "the last axis": Case([Q, array(6).tolist()]),
    "several axes": Case([Q, array(4, 7, 6).tolist()], {"axis": 1, "epsilon": 0.1}),
    "one scale for rows": Case([Q, array(7, 1).tolist()], {"axis": -2}),
}
POSITIONS = np.array([[3, 1, 4, 1, 5, 0, 2], [0, 1, 2, 3, 4, 5, 6]])
ROTATIONS = {
    "four axes": Case([Q, array(2, 7, 3), array(2, 7, 3, seed=1)]),
    "three axes": Case([Q3, array(2, 7, 3), array(2, 7, 3, seed=1)], {"num_heads": 4}),
    "named positions": Case([Q, array(8, 3), array(8, 3, seed=1), POSITIONS]),
    "neighbours": Case([Q3, array(8, 3), array(8, 3, seed=1), POSITIONS], {"num_heads": 4, "interleaved": 1}),
    "some entries": Case([Q, array(2, 7, 2), array(2, 7, 2, seed=1)], {"rotary_embedding_dim": 4}),
}
REFUSED = {
    "a softcap": Case([Q, K, V], {"softcap": 2.0}),
    "past or present keys and values": Case([Q, K, V, None, array(2, 4, 3, 6), array(2, 4, 3, 5)], outputs=3),
    "its scores as an output": Case([Q, K, V], outputs=4),
}


@pytest.mark.parametrize("name", CASES)
def test_attention_equals_onnxruntime(name: str) -> None:
    assert relative_difference(*single("Attention", 23, CASES[name])) <= 1e-5


@pytest.mark.parametrize("name", NORMS)
def test_rms_normalisation_equals_onnxruntime(name: str) -> None:
    assert relative_difference(*single("RMSNormalization", 23, NORMS[name])) <= 1e-5


@pytest.mark.parametrize("name", ROTATIONS)
def test_rotation_equals_onnxruntime(name: str) -> None:
    assert relative_difference(*single("RotaryEmbedding", 23, ROTATIONS[name])) <= 1e-5


@pytest.mark.parametrize("name", REFUSED)
def test_what_pytorch_has_not_is_refused_by_name(name: str) -> None:
    model, _ = single("Attention", 23, REFUSED[name])
    with pytest.raises(ConversionError, match=f"Attention.*{name}"):
        to_torch(ir.serde.deserialize_model(model))


def test_the_scale_of_a_norm_is_trained() -> None:
    body = "agraph (float[2, 3] x, float[3] g) => (float[2, 3] y) { y = RMSNormalization (x, g) }"
    module = to_torch(parse(body, opset=23, g=array(3)))
    assert list(module.weight_names.values()) == ["g"]
