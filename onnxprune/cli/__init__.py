"""The command line: parse, call the library, print. Nothing imports it.

`main` is the entry point. Everything heavy is imported inside the commands, so that `onnxprune --help` loads
neither numpy nor ONNX.
"""

from onnxprune.cli.main import main

__all__ = ["main"]
