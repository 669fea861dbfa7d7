"""Every network of the zoo through the whole line: inspect, prune 30 %, verify, convert, match, train one step.

python benchmarks/zoo.py ZOO && python benchmarks/networks.py ZOO --out benchmarks/results/networks.json
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
import torch

from onnxprune.channels import analyse, prune, verify
from onnxprune.graph import graph_cost, load, random_inputs, resolve_input_shapes
from onnxprune.importance import score_units
from onnxprune.search import keep_mask
from onnxprune.torch_bridge import compare, to_torch, write_weights

SHARE = 0.3


def check(path: Path) -> dict[str, Any]:
    """Run one file through everything and record what came out."""
    model = load(path)
    channels = analyse(model)
    counts = np.array([max(1, round(group.size * (1 - SHARE))) for group in channels.groups])
    keep = keep_mask(channels, score_units("l2", model, channels), counts)
    pruned = prune(model, channels, keep)
    record: dict[str, Any] = {
        "groups": len(channels.groups),
        "macs_before": graph_cost(model).macs,
        "macs_after": graph_cost(pruned).macs,
        "verified_error": verify(model, channels, keep, pruned).relative_error,
    }
    feeds = random_inputs(pruned, resolve_input_shapes(pruned, batch=2), 0)
    module = to_torch(pruned)
    record["converted_error"] = compare(module, pruned, feeds).relative
    record["without_gradient"] = _train_one_step(module, feeds)
    record["parameters"] = len(list(module.parameters()))
    record["written_back_error"] = compare(module, write_weights(module, pruned), feeds).relative
    return record


def _train_one_step(module: torch.nn.Module, feeds: dict[str, np.ndarray]) -> list[str]:
    """Take one SGD step and return the weights that got no gradient."""
    module.train()
    outputs = module(*(torch.from_numpy(array) for array in feeds.values()))
    generator = torch.Generator().manual_seed(0)
    loss = sum((output * torch.randn(output.shape, generator=generator)).mean() for output in outputs)
    loss.backward()
    missing = [name for name, p in module.named_parameters() if p.grad is None or not bool(p.grad.abs().sum() > 0)]
    torch.optim.SGD(module.parameters(), lr=1e-3).step()
    module.eval()
    return missing


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("zoo", type=Path)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/networks.json"))
    options = parser.parse_args()
    options.out.parent.mkdir(parents=True, exist_ok=True)
    results: dict[str, Any] = {}
    for path in sorted(options.zoo.glob("*.onnx")):
        try:
            results[path.name] = check(path)
        except Exception as error:
            results[path.name] = {"failed": f"{type(error).__name__}: {error}"}
        print(path.name, results[path.name], flush=True)
        options.out.write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
