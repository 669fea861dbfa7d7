"""The steps of a run in order: read, score, choose what goes, cut and prove, heal and distil, measure, write.

`compress`, `prune` and `bench` take plain arguments and return records; `run` is the whole sequence, readable in one
sitting. Nothing here decides anything: each step is a function of the package that knows about it.
"""

from onnxprune.pipeline.api import compress, prune
from onnxprune.pipeline.baselines import raise_on_regression
from onnxprune.pipeline.benching import bench
from onnxprune.pipeline.comparing import compare
from onnxprune.pipeline.jobs import preview
from onnxprune.pipeline.profiling import profile
from onnxprune.pipeline.run import run
from onnxprune.pipeline.settings import CompressResult, Settings
from onnxprune.report import Preview

__all__ = [
    "CompressResult",
    "Preview",
    "Settings",
    "bench",
    "compare",
    "compress",
    "preview",
    "profile",
    "prune",
    "raise_on_regression",
    "run",
]
