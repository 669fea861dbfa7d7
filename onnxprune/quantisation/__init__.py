"""Static int8 quantisation of float networks, by onnxruntime's own tools."""

from onnxprune.quantisation.scheme import CALIBRATIONS, Calibration, Scheme, schemes
from onnxprune.quantisation.static import quantise

__all__ = ["CALIBRATIONS", "Calibration", "Scheme", "quantise", "schemes"]
