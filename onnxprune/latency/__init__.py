"""How fast a network is, measured and never guessed: devices, timing statistics, and what single layers cost.

A `Device` runs models and returns latency samples, compared models interleaved. `LayerCosts` knows what a
layer costs at any channel count on a device, from measurements of single layers that are kept on disk.
"""

from onnxprune.latency.attribution import LayerTime, layer_times
from onnxprune.latency.choosing import choose, opened
from onnxprune.latency.device import Device, Feeds, InspectableDevice, ModelSource
from onnxprune.latency.inside import NodeProfile, PeakMemory
from onnxprune.latency.layer_costs import LayerCosts, ProfilingTimer
from onnxprune.latency.layers import LayerSpec, NumberFormat
from onnxprune.latency.local import LocalDevice
from onnxprune.latency.options import MeasureOptions
from onnxprune.latency.prediction import predictor
from onnxprune.latency.ratio import p50_ratio
from onnxprune.latency.regression import Regression, check_sessions, regression
from onnxprune.latency.spec import DeviceSpec, read_spec
from onnxprune.latency.stats import BUSY_SPREAD, LatencyStats, summarise

__all__ = [
    "BUSY_SPREAD",
    "Device",
    "DeviceSpec",
    "Feeds",
    "InspectableDevice",
    "LatencyStats",
    "LayerCosts",
    "LayerSpec",
    "LayerTime",
    "LocalDevice",
    "MeasureOptions",
    "ModelSource",
    "NodeProfile",
    "NumberFormat",
    "PeakMemory",
    "ProfilingTimer",
    "Regression",
    "check_sessions",
    "choose",
    "layer_times",
    "opened",
    "p50_ratio",
    "predictor",
    "read_spec",
    "regression",
    "summarise",
]
