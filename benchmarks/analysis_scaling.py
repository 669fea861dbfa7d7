"""Does the analysis stay linear in the size of the graph? CPU time and memory on generated graphs of growing size.

    python benchmarks/analysis_scaling.py

A graph is a chain of residual blocks: convolutions, BatchNorm, Relu, an Add with the block's input, and a Concat.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
import tracemalloc
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from onnxprune.channels import analyse
from onnxprune.graph import load

NODES = (1250, 2500, 5000, 10000, 20000)
_REPEATS = 5
_CHANNELS = 16


class _Chain:
    """A network that grows at its end."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []

    def constant(self, *shape: int) -> str:
        name = f"c{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.full(shape, 0.1, np.float32), name))
        return name

    def add(self, op: str, *inputs: str, **attributes: int) -> str:
        output = f"v{len(self.nodes)}"
        self.nodes.append(helper.make_node(op, inputs, [output], f"n{len(self.nodes)}", **attributes))
        return output

    def convolve(self, x: str, width: int = _CHANNELS) -> str:
        return self.add("Conv", x, self.constant(_CHANNELS, width, 1, 1))

    def normalise(self, x: str) -> str:
        return self.add("BatchNormalization", x, *(self.constant(_CHANNELS) for _ in range(4)))


def network(count: int) -> onnx.ModelProto:
    """Build a network of `count` nodes or a few more."""
    chain = _Chain()
    end = chain.add("Conv", "x", chain.constant(_CHANNELS, 3, 1, 1))
    while len(chain.nodes) < count - 1:
        inner = chain.add("Relu", chain.normalise(chain.convolve(end)))
        total = chain.add("Add", chain.normalise(chain.convolve(inner)), end)
        joined = chain.add("Concat", total, inner, axis=1)
        end = chain.add("Relu", chain.convolve(joined, 2 * _CHANNELS))
    chain.nodes.append(helper.make_node("Identity", [end], ["y"], "last"))
    graph = helper.make_graph(
        chain.nodes,
        "chain",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 3, 8, 8])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        chain.constants,
    )
    return helper.make_model(graph, ir_version=9, opset_imports=[helper.make_opsetid("", 17)])


def measure(count: int) -> dict[str, float]:
    """Load and analyse one network."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "chain.onnx"
        onnx.save(network(count), path)
        start = time.process_time()
        model = load(path)
        loading = time.process_time() - start
    seconds = []
    for _ in range(_REPEATS):
        start = time.process_time()
        channels = analyse(model)
        seconds.append(time.process_time() - start)
    tracemalloc.start()
    analyse(model)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return {
        "nodes": len(model.graph),
        "units": channels.unit_count,
        "groups": len(channels.groups),
        "load_s": round(loading, 3),
        "analyse_s": round(statistics.median(seconds), 3),
        "analyse_us_per_node": round(statistics.median(seconds) / len(model.graph) * 1e6, 1),
        "analyse_peak_mb": round(peak / 1e6, 1),
    }


def main() -> None:
    """Measure every size and write the results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/analysis_scaling.json"))
    options = parser.parse_args()
    results = []
    for count in NODES:
        results.append(measure(count))
        print(results[-1], flush=True)
    options.out.write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
