"""What the machine is, as far as latency depends on it, and what it does while something is measured."""

from __future__ import annotations

import math
import os
import platform
import re
import time
from pathlib import Path
from typing import Any

from onnxprune.latency.on_device.chips import accelerator, cpu_model, read_text

_CPUS = "sys/devices/system/cpu"


def facts(provider: str, threads: int) -> dict[str, object]:
    """Return what a measured cost depends on here: equal facts mean comparable costs."""
    import onnxruntime as ort

    return {
        "cpu": cpu_model(),
        "system": f"{platform.system()} {platform.machine()}",
        "cores": os.cpu_count() or 1,
        "onnxruntime": ort.__version__,
        "provider": provider,
        "threads": threads,
        **accelerator(provider),
    }


class Watch:
    """What the machine did from here on: load, heat, frequency, as far as the system tells."""

    def __init__(self, root: str = "/") -> None:
        """Begin to watch the system whose `proc` and `sys` lie below `root`."""
        self._root = Path(root)
        self._start = self._now()

    def stop(self) -> dict[str, Any]:
        """Return what was seen; None where the system does not tell."""
        now = self._now()
        elapsed, busy, own, throttled, held = (now[i] - self._start[i] for i in range(len(now)))
        flags = read_text(self._root / "sys/devices/platform/soc/soc:firmware/get_throttled").strip()
        return {
            "elapsed_s": elapsed,
            "others_s": None if math.isnan(busy) else max(busy - own, 0.0),
            "celsius": self._largest("sys/class/thermal", "thermal_zone*/temp"),
            "mhz": self._largest(_CPUS, "cpu[0-9]*/cpufreq/scaling_cur_freq"),
            "limit_mhz": self._largest(_CPUS, "cpu[0-9]*/cpufreq/scaling_max_freq"),
            "full_mhz": self._largest(_CPUS, "cpu[0-9]*/cpufreq/cpuinfo_max_freq"),
            "throttle_events": int(throttled),
            "held_back": max(int(held), 0),
            "firmware_flags": int(flags, 16) if re.fullmatch("(0x)?[0-9a-fA-F]+", flags) else 0,
        }

    def _now(self) -> tuple[float, float, float, float, float]:
        """Return the time, seconds that all cores and this process were busy, times throttled and times held back."""
        throttled = sum(self._numbers(_CPUS, "cpu[0-9]*/thermal_throttle/core_throttle_count"))
        return time.monotonic(), self._busy_s(), sum(os.times()[:4]), throttled, self._held_back()

    def _held_back(self) -> int:
        """Return how often a limit on CPU time held this process back: its control group's, and those around it."""
        counts = [0]
        for line in read_text(self._root / "proc/self/cgroup").splitlines():
            _, kinds, path = line.split(":", 2)
            if kinds and "cpu" not in kinds.split(","):
                continue
            top = self._root / "sys/fs/cgroup" / kinds
            inner = top / path.lstrip("/")
            for folder in (inner, *inner.parents):
                counts += [int(n) for n in re.findall(r"^nr_throttled (\d+)$", read_text(folder / "cpu.stat"), re.M)]
                if folder == top:
                    break
        return sum(counts)

    def _busy_s(self) -> float:
        fields = read_text(self._root / "proc/stat").split("\n", 1)[0].split()[1:9]
        if len(fields) < 8:
            return math.nan
        user, nice, system, _idle, _wait, irq, softirq, steal = (int(field) for field in fields)
        return float(user + nice + system + irq + softirq + steal) / os.sysconf("SC_CLK_TCK")

    def _largest(self, folder: str, files: str) -> float | None:
        """Return the largest number in some files, in thousands."""
        return max((number / 1e3 for number in self._numbers(folder, files)), default=None)

    def _numbers(self, folder: str, files: str) -> list[int]:
        texts = (read_text(path).strip() for path in (self._root / folder).glob(files))
        return [int(text) for text in texts if re.fullmatch("-?[0-9]+", text)]
