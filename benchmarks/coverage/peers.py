"""What the other tools make of the same network: Torch-Pruning, onnxsim, and onnx2torch with Torch-Pruning.

Each returns the folder's file, or raises. Torch-Pruning (1.6.1) removes 30 % of the channels by L2 group magnitude from
the PyTorch network, layers whose outputs the caller reads excepted; the third does the same to what onnx2torch makes of
the ONNX file; onnxsim (0.8.1) prunes the ONNX file by 30 %.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import onnx
import onnxruntime as ort
import torch
from torch import Tensor, nn

from benchmarks.coverage.ours import SHARE, latency_ratio
from onnxprune.channels import permitted
from onnxprune.graph import graph_cost, load, save

Result = TypeVar("Result")


class NoPyTorchCodeError(RuntimeError):
    """A network is shipped as an ONNX file only."""


def torch_pruning(network: nn.Module, inputs: tuple[Tensor, ...], source: Path, path: Path) -> dict[str, Any]:
    """Prune a PyTorch network and export it with the input names of the source file.

    The seconds that finding its groups takes are returned too.
    """
    import torch_pruning as tp

    before = [tuple(o.shape) for o in outputs_of(network, inputs)]
    seconds, groups = seconds_of(lambda: count_groups(network, inputs))
    pruner = tp.pruner.BasePruner(
        network,
        inputs,
        importance=tp.importance.GroupMagnitudeImportance(p=2),
        pruning_ratio=SHARE,
        ignored_layers=last_layers(network, inputs),
    )
    pruner.step()
    after = [tuple(o.shape) for o in outputs_of(network, inputs)]
    if after != before:
        raise RuntimeError(f"wrong: outputs of shape {after} instead of {before}")
    names = [value.name for value in onnx.load(source, load_external_data=False).graph.input]
    torch.onnx.export(network, inputs, str(path), input_names=names, opset_version=17, dynamo=False)
    return {"grouping_s": round(seconds, 3), "groups": groups}


def in_pytorch(network: nn.Module | None) -> nn.Module:
    """Return the PyTorch network that Torch-Pruning starts from; a shipped file has none."""
    if network is None:
        raise NoPyTorchCodeError("the network is shipped as an ONNX file")
    return network


def count_groups(network: nn.Module, inputs: tuple[Tensor, ...]) -> int:
    """Build Torch-Pruning's graph of a network, and count its groups."""
    import torch_pruning as tp

    graph = tp.DependencyGraph().build_dependency(network, example_inputs=inputs)
    return sum(1 for _ in graph.get_all_groups())


def analysis(network: nn.Module, inputs: tuple[Tensor, ...], source: Path) -> dict[str, Any]:
    """Time Torch-Pruning's graph and groups, and our reading and analysis of the file, in turns; the least of three.

    Torch-Pruning starts from a network in memory, as our analysis does once the file is read.
    """
    rounds = []
    for _ in range(3):
        reading, model = seconds_of(lambda: load(source))
        analysing = seconds_of(lambda model=model: permitted(model))[0]
        rounds.append((reading + analysing, analysing, seconds_of(lambda: count_groups(network, inputs))[0]))
    whole, alone, theirs = (round(min(seconds), 4) for seconds in zip(*rounds, strict=True))
    return {"ours_s": whole, "analysis_s": alone, "torch-pruning_s": theirs}


def seconds_of(work: Callable[[], Result]) -> tuple[float, Result]:
    """Run something, and return its seconds with its result."""
    started = time.perf_counter()
    result = work()
    return time.perf_counter() - started, result


def onnxsim(source: Path, path: Path) -> dict[str, Any]:
    """Prune an ONNX file with onnxsim."""
    from onnxsim.pruning import apply_structured_pruning

    onnx.save(apply_structured_pruning(onnx.load(source), sparsity=SHARE), path)
    return {}


def through_onnx2torch(source: Path, inputs: tuple[Tensor, ...], path: Path) -> dict[str, Any]:
    """Convert with onnx2torch, prune with Torch-Pruning, export."""
    from onnx2torch import convert

    clean = path.with_suffix(".clean.onnx")
    save(load(source), clean)
    return torch_pruning(convert(str(clean)).eval(), inputs, source, path)


def judge(source: Path, result: Path) -> dict[str, Any]:
    """Run a result, and measure it beside the original."""
    session = ort.InferenceSession(str(result), providers=["CPUExecutionProvider"])
    original = ort.InferenceSession(str(source), providers=["CPUExecutionProvider"])
    feeds = {
        mine.name: np.zeros([d if isinstance(d, int) else 2 for d in mine.shape], kind(mine.type))
        for mine in original.get_inputs()
    }
    wanted = [o.shape for o in original.run(None, feeds)]
    got = session.run(None, dict(zip([i.name for i in session.get_inputs()], feeds.values(), strict=True)))
    if [o.shape for o in got] != wanted or not all(np.isfinite(o).all() for o in got):
        raise RuntimeError("wrong: the outputs have other shapes, or are not finite")
    macs = graph_cost(load(result)).macs / graph_cost(load(source)).macs
    return {"macs": round(macs, 4), "latency": latency_ratio(source, result)}


def kind(name: str) -> type[np.generic]:
    """Return numpy's type of an input."""
    return {"tensor(int64)": np.int64, "tensor(int32)": np.int32}.get(name, np.float32)


def outputs_of(network: nn.Module, inputs: tuple[Tensor, ...]) -> list[Tensor]:
    """Run a network and list its output tensors."""
    with torch.no_grad():
        found = network(*inputs)
    return [found] if isinstance(found, Tensor) else list(found)


def last_layers(network: nn.Module, inputs: tuple[Tensor, ...]) -> list[nn.Module]:
    """Find the layers whose outputs are as wide as the network's: what the caller reads must stay."""
    widths = {o.shape[-1] for o in outputs_of(network, inputs)} | {
        o.shape[1] for o in outputs_of(network, inputs) if o.ndim == 4
    }
    layers = [m for m in network.modules() if isinstance(m, nn.Linear | nn.Conv2d)]
    ends = [m for m in layers if (m.out_features if isinstance(m, nn.Linear) else m.out_channels) in widths]
    return ends[-len(widths) :] if len(outputs_of(network, inputs)) == 1 else ends
