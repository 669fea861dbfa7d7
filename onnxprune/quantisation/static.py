"""A float network as an int8 one: QuantizeLinear and DequantizeLinear around every operator that has int8 kernels.

onnxruntime's tools do the work: BatchNormalizations are folded first, ranges of activations are taken on calibration
samples, weights get a scale for each output channel.
"""

from __future__ import annotations

import contextlib
import io
import logging
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir

from onnxprune.cores import session_threads
from onnxprune.errors import OnnxPruneError, QuantisationError
from onnxprune.graph import load, save
from onnxprune.quantisation.scheme import Calibration, Scheme

# Before it, QuantizeLinear has no axis.
_PER_CHANNEL_OPSET = 13

Feeds = Mapping[str, np.ndarray]


def quantise(
    model: ir.Model, samples: Sequence[Feeds], scheme: Scheme = Scheme(), calibration: Calibration = "minmax"
) -> ir.Model:
    """Quantise a network; the model itself is not changed.

    Args:
        model: A float32 network.
        samples: Inputs that ranges are taken on, an array for each input of the model.
        scheme: The form of int8.
        calibration: How ranges follow from values.

    Raises:
        QuantisationError: onnxruntime's tools cannot quantise it.
    """
    from onnxruntime.quantization import quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    with tempfile.TemporaryDirectory(prefix="onnxprune-") as folder, _quiet(), _few_threads():
        source, prepared, target = (Path(folder) / f"{name}.onnx" for name in ("float", "prepared", "int8"))
        save(model, source)
        try:
            # Shapes are inferred already.
            quant_pre_process(source, prepared, skip_symbolic_shape=True)
            quantize_static(prepared, target, _reader(samples), **_options(model, scheme, calibration))
            # Copied out of the mapped file, which goes with the folder.
            result = _in_memory(load(target))
        except OnnxPruneError:
            raise
        except Exception as error:
            raise QuantisationError(
                f"onnxruntime's tools cannot quantise this network: {_first_line(error)}; leave --quantize out"
            ) from error
    return _described_as(result, model)


def _options(model: ir.Model, scheme: Scheme, calibration: Calibration) -> dict[str, Any]:
    from onnxruntime.quantization import CalibrationMethod, QuantFormat, QuantType

    methods = {
        "minmax": CalibrationMethod.MinMax,
        "percentile": CalibrationMethod.Percentile,
        "entropy": CalibrationMethod.Entropy,
    }
    return {
        "quant_format": QuantFormat.QDQ,
        "per_channel": model.opset_imports.get("", 0) >= _PER_CHANNEL_OPSET,
        "reduce_range": scheme.narrow,
        "activation_type": QuantType.QInt8 if scheme.signed else QuantType.QUInt8,
        "weight_type": QuantType.QInt8,
        "calibrate_method": methods[calibration],
        "extra_options": {"ActivationSymmetric": scheme.symmetric},
    }


def _reader(samples: Sequence[Feeds]) -> Any:
    from onnxruntime.quantization import CalibrationDataReader

    class Reader(CalibrationDataReader):
        def __init__(self) -> None:
            self._left = iter(samples)

        def get_next(self) -> dict[str, np.ndarray] | None:  # type: ignore[override]
            found = next(self._left, None)
            return None if found is None else dict(found)

    return Reader()


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep the tools from printing among our own results."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            yield
    finally:
        logging.disable(before)


@contextlib.contextmanager
def _few_threads() -> Iterator[None]:
    """Let the tools' own sessions, which take no options, keep to the cores that this process may use."""
    import onnxruntime

    usual = onnxruntime.SessionOptions

    class Options(onnxruntime.SessionOptions):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.intra_op_num_threads = session_threads()

    onnxruntime.SessionOptions = Options
    try:
        yield
    finally:
        onnxruntime.SessionOptions = usual


def _in_memory(model: ir.Model) -> ir.Model:
    for value in model.graph.initializers.values():
        tensor = value.const_value
        if isinstance(tensor, ir.ExternalTensor):
            value.const_value = ir.tensor(tensor.numpy().copy(), dtype=tensor.dtype, name=value.name)
    return model


def _described_as(result: ir.Model, model: ir.Model) -> ir.Model:
    """Undo what the tools do beside quantising: domains that nothing uses, and other metadata."""
    used = {node.domain for node in result.graph.all_nodes()} | {""}
    for domain in list(result.opset_imports):
        if domain not in used:
            del result.opset_imports[domain]
    result.producer_name, result.producer_version = model.producer_name, model.producer_version
    result.doc_string, result.domain, result.model_version = model.doc_string, model.domain, model.model_version
    result.metadata_props.clear()
    result.metadata_props.update(model.metadata_props)
    result.graph.name = model.graph.name
    return result


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]
