"""Is the latency that was asked for the latency that is delivered? Runs over networks and targets, without training.

    python benchmarks/on_target.py NETS/vgg.onnx NETS/mobilenet.onnx --data NETS/cifar10

`measured / target` should lie in [0.95, 1.0].
"""

from __future__ import annotations

import argparse
import json
import tempfile
from functools import partial
from pathlib import Path

import onnxprune

SHARES = (0.8, 0.65, 0.5, 0.4)


def run(
    network: Path, data: Path, share: float, device: str = "local", budget: int | None = 24, *, trains: bool = False
) -> dict[str, float | str]:
    """Prune one network to one target.

    Args:
        network: The network.
        data: Folder with its data.
        share: Latency to reach, as a share of the original's.
        device: Where latency is measured.
        budget: Structures judged at most; None: the default.
        trains: Whether it is `compress` that does it, with an epoch on the validation images, in place of `prune`.
    """
    with tempfile.TemporaryDirectory() as folder:
        try:
            report = (partial(onnxprune.compress, epochs=1) if trains else onnxprune.prune)(
                network,
                output=Path(folder) / "out.onnx",
                target_latency=f"{share:g}x",
                data=str(data / "val.npz"),
                preprocess=str(data / "preprocess.json"),
                allocation="rl",
                search_budget=budget,
                device=device,
                heal=True,
            ).report
        except onnxprune.OnnxPruneError as error:
            return {"failed": str(error)[:200]}
    result = {"measured / target": round(report.target.achieved / report.target.value, 4), "seconds": report.duration_s}
    if report.device is not None and report.device.busy_s is not None:
        result["device seconds"] = report.device.busy_s
    return result


def main() -> None:
    """Run what is missing, and write the results after every run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("networks", type=Path, nargs="+")
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/on_target.json"))
    options = parser.parse_args()
    for network in options.networks:
        for share in SHARES:
            results = json.loads(options.out.read_text()) if options.out.exists() else {}
            key = f"{network.stem} {share:g}x"
            if key not in results:
                results[key] = run(network, options.data, share)
                print(key, results[key], flush=True)
                options.out.write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
