"""What healing regains: accuracy right after pruning, with and without it, no training.

    python benchmarks/healing.py NETS/vgg.onnx --data NETS/cifar10 --out benchmarks/results/healing.json
    python benchmarks/healing.py ZOO/resnet50.onnx --out benchmarks/results/healing.json

The same share of every group goes, the channels of the smallest l1 norm first; healing sees 512 unlabelled training
images. `regained` is the share of the lost points that it brings back. `all` cuts every group; `inner` leaves alone
those that residual additions tie together over several blocks. Without --data only the time is measured, on random
inputs.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

import numpy as np

from onnxprune.channels import prune, verify
from onnxprune.graph import input_specs, to_bytes
from onnxprune.importance import score_units
from onnxprune.latency import predictor
from onnxprune.pipeline.prepare import Network, read_network
from onnxprune.pipeline.structure import Structure
from onnxprune.pipeline.training import heal
from onnxprune.progress import SilentObserver
from onnxprune.search import keep_mask, make_plan
from onnxprune.search.problem import Subject, paper_problem
from onnxprune.training import DataSplits, evaluate, load_preprocess, open_data, synthetic_data

_SAMPLES = 512
_TIED = 3
"""Producers of a group from which on it is no block's own: a convolution and the depthwise one behind it are two."""
_RATIOS = (0.3, 0.5)


def open_parts(network: Network, parts: Path | None) -> DataSplits:
    """Open 512 training images without their labels, and the test part; or random inputs."""
    if parts is None:
        return synthetic_data(network.inputs, network.input_shapes, _SAMPLES, 0)
    with np.load(parts / "train.npz") as arrays:
        chosen = np.sort(np.random.default_rng(0).choice(len(arrays["x"]), _SAMPLES, replace=False))
        images = {"x": arrays["x"][chosen]}
    settings = load_preprocess(str(parts / "preprocess.json"))
    files = {part: str(parts / f"{part}.npz") for part in ("val", "test")}
    return open_data(images, input_specs(network.model), network.input_shapes, settings, 0, **files)


def cut(network: Network, scores: np.ndarray, ratio: float, *, inner: bool) -> Structure:
    """Remove a share of the groups, and prove the removal."""
    groups = network.channels.groups
    counts = np.array(
        [g.size if inner and len(g.producers) >= _TIED else max(1, round(g.size * (1 - ratio))) for g in groups]
    )
    keep = keep_mask(network.channels, scores, counts)
    pruned = prune(network.model, network.channels, keep)
    proof = verify(network.model, network.channels, keep, pruned, input_shapes=network.input_shapes)
    problem = paper_problem(Subject(network.model, network.channels, network.shapes, scores), 1)
    return Structure(make_plan(problem, counts, 0.0, 0.0, ()), pruned, proof, "uniform")


def measure(path: Path, parts: Path | None) -> dict[str, Any]:
    """Prune one network in every way, and heal."""
    network = read_network(path, None, 1)
    data = open_parts(network, parts)
    scores = score_units("l1", network.model, network.channels)
    judge = None if parts is None else lambda model: evaluate(predictor(to_bytes(model)), data.test).primary
    record: dict[str, Any] = {} if judge is None else {"original": judge(network.model)}
    tied = any(len(group.producers) >= _TIED for group in network.channels.groups)
    for inner in (False, True) if tied else (False,):
        for ratio in _RATIOS:
            structure = cut(network, scores, ratio, inner=inner)
            started = time.monotonic()
            healed = heal(network, structure, data, 0, SilentObserver())
            row: dict[str, Any] = {"seconds": round(time.monotonic() - started, 1)}
            if judge is not None:
                before, after, whole = judge(structure.pruned), judge(healed), record["original"]
                row |= {"pruned": before, "healed": after, "regained": round((after - before) / (whole - before), 3)}
            record[f"{'inner' if inner else 'all'} {ratio:g}"] = row
            print(path.stem, "inner" if inner else "all", ratio, row, flush=True)
    return record


def main() -> None:
    """Measure the networks given, and write the results after every one."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("networks", type=Path, nargs="+")
    parser.add_argument("--data", type=Path)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/healing.json"))
    options = parser.parse_args()
    for path in options.networks:
        results = json.loads(options.out.read_text()) if options.out.exists() else {}
        results[path.stem] = measure(path, options.data)
        options.out.write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
