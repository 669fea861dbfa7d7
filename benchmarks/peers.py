"""Latency at equal MACs against Torch-Pruning and onnxsim, measured interleaved in one run.

    python benchmarks/zoo.py ZOO && python benchmarks/peers.py ZOO --out benchmarks/results/peers.json

Needs torch-pruning 1.6.1 and onnxsim 0.8.1 beside the project's own packages. For each network Torch-Pruning removes
30 % of the channels (L2 group magnitude) from the PyTorch model, unrounded and rounded to 16, and is exported like the
original (opset 17); onnxsim prunes the ONNX file by 30 %. onnxprune prunes the original's ONNX file to the MACs of each
result. All are measured side by side on one thread.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import torch
import torchvision

import onnxprune
from onnxprune.graph import graph_cost, load, random_inputs, resolve_input_shapes
from onnxprune.latency import LocalDevice, MeasureOptions

NETWORKS = (
    "resnet18",
    "resnet50",
    "googlenet",
    "mobilenet_v2",
    "mobilenet_v3_large",
    "densenet121",
    "efficientnet_b0",
    "squeezenet1_1",
    "regnet_y_400mf",
    "convnext_tiny",
    "shufflenet_v2_x1_0",
)
SHARE = 0.3


def torch_pruned(name: str, round_to: int | None, path: Path) -> None:
    """Prune a torchvision network with Torch-Pruning and export it."""
    import torch_pruning as tp

    torch.manual_seed(0)
    extra = {"aux_logits": False, "init_weights": True} if name == "googlenet" else {}
    model = getattr(torchvision.models, name)(weights=None, **extra).eval()
    example = torch.zeros(1, 3, 224, 224)
    heads = [m for m in model.modules() if isinstance(m, torch.nn.Linear) and m.out_features == 1000]
    heads += [m for m in model.modules() if isinstance(m, torch.nn.Conv2d) and m.out_channels == 1000]
    pruner = tp.pruner.MagnitudePruner(
        model,
        example,
        importance=tp.importance.GroupMagnitudeImportance(p=2),
        pruning_ratio=SHARE,
        round_to=round_to,
        ignored_layers=heads,
    )
    pruner.step()
    torch.onnx.export(
        model, (example,), str(path), input_names=["input"], output_names=["output"], opset_version=17, dynamo=False,
        dynamic_axes={"input": {0: "batch"}, "output": {0: "batch"}},
    )  # fmt: skip


def onnxsim_pruned(source: Path, path: Path) -> None:
    """Prune an ONNX file with onnxsim, and make sure that the result runs."""
    from onnxsim.pruning import apply_structured_pruning

    onnx.save(apply_structured_pruning(onnx.load(source), sparsity=SHARE), path)
    session = ort.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    session.run(None, {session.get_inputs()[0].name: np.zeros((1, 3, 224, 224), np.float32)})


def attempt(make: Callable[[], None]) -> str | None:
    """Run a peer and return what it failed with, if it did."""
    try:
        make()
    except Exception as error:
        return f"{type(error).__name__}: {str(error).splitlines()[0][:160] if str(error) else ''}"
    return None


def macs(path: Path) -> int:
    """Count the MACs of a file at batch 1."""
    return graph_cost(load(path)).macs


def compare(original: Path, peers: dict[str, Path], folder: Path, options: MeasureOptions) -> dict[str, Any]:
    """Prune to each peer's MACs and measure all of them beside the original."""
    files, record = {"original": original}, {"original": {"macs": macs(original)}}
    for peer, path in peers.items():
        files[peer] = path
        record[peer] = {"macs": macs(path)}
        ours = folder / f"ours-{peer}.onnx"
        if record[peer]["macs"] < record["original"]["macs"]:
            onnxprune.prune(original, output=ours, target_macs=record[peer]["macs"], importance="l2")
            files[f"ours at {peer}"] = ours
            record[f"ours at {peer}"] = {"macs": macs(ours)}
    model = load(original)
    feeds = random_inputs(model, resolve_input_shapes(model), 0)
    stats = LocalDevice().measure(files, dict.fromkeys(files, feeds), options)
    for name, figures in stats.items():
        record[name] |= {"p50_ms": round(figures.p50_ms, 4), "spread": round(figures.spread, 4)}
    return record


def benchmark(name: str, zoo: Path, options: MeasureOptions) -> dict[str, Any]:
    """Run everything for one network."""
    result: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        for exporter in ("op17", "dynamo"):
            original = zoo / f"{name}.{exporter}.onnx"
            makers = {"onnxsim": lambda p, o=original: onnxsim_pruned(o, p)}
            if exporter == "op17":
                makers["torch-pruning"] = lambda p: torch_pruned(name, None, p)
                makers["torch-pruning round 16"] = lambda p: torch_pruned(name, 16, p)
            files = {peer: folder / f"{exporter}-{peer.replace(' ', '-')}.onnx" for peer in makers}
            failures = {peer: attempt(lambda m=make, p=files[peer]: m(p)) for peer, make in makers.items()}
            working = {peer: path for peer, path in files.items() if failures[peer] is None}
            result[exporter] = compare(original, working, folder, options)
            result[exporter]["failures"] = {peer: why for peer, why in failures.items() if why}
    return result


def main() -> None:
    """Run the benchmark and write its results after every network."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("zoo", type=Path)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/peers.json"))
    parser.add_argument("--networks", nargs="*", default=NETWORKS)
    parser.add_argument("--sessions", type=int, default=5)
    options = parser.parse_args()
    options.out.parent.mkdir(parents=True, exist_ok=True)
    results: dict[str, Any] = json.loads(options.out.read_text()) if options.out.exists() else {}
    for name in options.networks:
        results[name] = benchmark(name, options.zoo, MeasureOptions(sessions=options.sessions))
        options.out.write_text(json.dumps(results, indent=1) + "\n")
        for exporter, rows in results[name].items():
            for row, figures in rows.items():
                print(name, exporter, row, figures, flush=True)


if __name__ == "__main__":
    main()
