"""Which integers a device computes well with: the forms of int8 that are worth trying on it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

Calibration = Literal["minmax", "percentile", "entropy"]
CALIBRATIONS: tuple[Calibration, ...] = get_args(Calibration)
"""How the range of an activation follows from its values on the calibration samples."""

_SYMMETRIC_PROVIDERS = frozenset({"TensorrtExecutionProvider", "CUDAExecutionProvider", "MIGraphXExecutionProvider"})

_X86 = ("x86_64", "amd64", "i386", "i686", "x86")


@dataclass(frozen=True)
class Scheme:
    """A form of int8; weights are signed and symmetric in all of them.

    Attributes:
        signed: Whether activations are signed.
        symmetric: Whether their zero point is 0.
        narrow: Whether weights keep to seven bits, where sums of sixteen bits would saturate.
    """

    signed: bool = False
    symmetric: bool = False
    narrow: bool = False

    def __str__(self) -> str:
        """Name the types, as onnxruntime's documentation does: U8S8, S8S8."""
        return ("S8S8" if self.signed else "U8S8") + (" with 7-bit weights" if self.narrow else "")


def schemes(provider: str, cpu: str, system: str = "") -> tuple[Scheme, ...]:
    """Return the forms to measure on a device, the one to prefer first.

    Args:
        provider: onnxruntime's execution provider, by its full name.
        cpu: Model and instruction sets, as a device's fingerprint has them.
        system: Operating system and architecture, as it has them too.
    """
    if provider in _SYMMETRIC_PROVIDERS:
        return (Scheme(signed=True, symmetric=True),)
    flags = cpu.split()
    if "avx" in flags or system.lower().endswith(_X86):
        # x86 kernels for signed activations are several times slower, and those without VNNI add in sixteen bits; so
        # where the system does not tell the instruction sets (Windows), seven bits are safe.
        return (Scheme(narrow=not {"avx512_vnni", "avx_vnni"} & set(flags)),)
    return (Scheme(), Scheme(signed=True))
