"""What judging a candidate costs beside running the same images through onnxruntime alone.

    python benchmarks/evaluator.py NETS/resnet56-cifar10.onnx --data NETS/cifar10

Both run a network of half the latency on the same images in the same batches, in turns. `judging` is the evaluation of
a candidate that is open, `whole` includes cutting, healing and opening it.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from learning import prepare

from onnxprune.channels import prune
from onnxprune.graph import to_bytes
from onnxprune.latency import predictor
from onnxprune.pipeline.prepare import read_network
from onnxprune.search import full_counts, keep_mask
from onnxprune.training import load_preprocess, open_data

_BATCH, _ROUNDS = 64, 5


def seconds(work: Callable[[], object]) -> float:
    """Time one call."""
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def compare(options: argparse.Namespace) -> dict[str, float]:
    """Time judging, plain onnxruntime, and judging from nothing."""
    environment, judge, _ = prepare(options)
    counts = environment.act(np.zeros(environment.groups))
    assert counts is not None
    network, problem = read_network(options.network, None, 1), environment.problem
    pruned = prune(network.model, network.channels, keep_mask(problem.channels, problem.scores, counts))
    settings = load_preprocess(str(options.data / "preprocess.json"))
    parts = open_data(str(options.data / "val.npz"), network.inputs, network.input_shapes, settings, 0)
    samples = judge.looks[-1]
    images = next(parts.train.batches(samples)).inputs[0]
    batches = [np.ascontiguousarray(images[start : start + _BATCH]) for start in range(0, samples, _BATCH)]
    predict = predictor(to_bytes(pruned))
    # The first candidate waits for PyTorch to be imported and for the original's layers to be noted.
    judge.judge(full_counts(problem.channels), samples)
    whole = seconds(lambda: judge.judge(counts, samples))
    ratios, plain = [], []
    for _ in range(_ROUNDS):
        plain.append(seconds(lambda: [predict((batch,)) for batch in batches]))
        ratios.append(seconds(lambda: judge.judge(counts, samples)) / plain[-1])
    return {
        "samples": samples,
        "plain_s": round(float(np.median(plain)), 3),
        "judging / plain": round(float(np.median(ratios)), 3),
        "whole / plain": round(whole / float(np.median(plain)), 3),
    }


def main() -> None:
    """Compare on one network and write the result."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("network", type=Path)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--share", type=float, default=0.5)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/evaluator.json"))
    options = parser.parse_args()
    results = json.loads(options.out.read_text()) if options.out.exists() else {}
    results[options.network.stem] = compare(options)
    print(options.network.stem, results[options.network.stem])
    options.out.write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
