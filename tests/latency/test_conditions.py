"""What a system tells of itself, read from a made-up one, and what is said of it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from onnxprune.latency.conditions import conditions, summary
from onnxprune.latency.on_device.machine import Watch, cpu_model

WELL = {
    **{"elapsed_s": 2.0, "others_s": 0.1, "celsius": 50.0, "mhz": 1500.0, "limit_mhz": 1500.0, "full_mhz": 1500.0},
    **{"throttle_events": 0, "held_back": 0, "firmware_flags": 0},
}
UNTOLD: dict[str, Any] = {
    **dict.fromkeys(["others_s", "celsius", "mhz", "limit_mhz", "full_mhz"]),
    **{"elapsed_s": 2.0, "throttle_events": 0, "held_back": 0, "firmware_flags": 0},
}


def put(root: Path, **files: str) -> None:
    for name, text in files.items():
        path = root / name.replace("__", "/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


@pytest.mark.parametrize("seen", [[], [WELL, WELL], [UNTOLD, UNTOLD]])
def test_nothing_is_said_where_all_is_well_or_unknown(seen: list[dict[str, Any]]) -> None:
    assert conditions(seen) == {}


@pytest.mark.parametrize(
    ("kind", "change", "words"),
    [
        ("throttling", {"throttle_events": 2}, ["its CPU throttled", "at 50 °C"]),
        ("throttling", {"firmware_flags": 0b101}, ["supply voltage is too low", "it throttles"]),
        ("held back", {"held_back": 12}, ["held back 12 times by a limit on its CPU time"]),
        ("slower", {"mhz": 1000.0}, ["1500 MHz after the first round, 1000 MHz after the last"]),
        ("capped", {"limit_mhz": 600.0, "celsius": 85.0}, ["limited to 600 of its 1500 MHz (85 °C)"]),
        ("busy", {"others_s": 4.0}, ["other processes used 1.0 cores"]),
    ],
)
def test_what_bears_on_the_figures_is_said(kind: str, change: dict[str, Any], words: list[str]) -> None:
    found = conditions([WELL, WELL | change])
    assert list(found) == [kind]
    assert all(word in found[kind] for word in words)


def test_the_past_of_the_firmware_is_not_held_against_the_device() -> None:
    assert conditions([WELL | {"firmware_flags": 0x50000}]) == {}


def test_what_the_system_tells_is_read(tmp_path: Path) -> None:
    tick = os.sysconf("SC_CLK_TCK")
    cpu = "sys__devices__system__cpu__cpu0"
    put(
        tmp_path,
        proc__stat=f"cpu  {tick} 0 0 500 0 0 0 0 0 0\n",
        **{f"{cpu}__cpufreq__{name}_freq": "1200000" for name in ("scaling_cur", "scaling_max")},
        **{f"{cpu}__cpufreq__cpuinfo_max_freq": "1500000", f"{cpu}__thermal_throttle__core_throttle_count": "7"},
        sys__class__thermal__thermal_zone0__temp="61500\n",
        sys__devices__platform__soc__get="",
    )
    put(tmp_path, **{"sys__devices__platform__soc__soc:firmware__get_throttled": "0x4\n"})
    watch = Watch(str(tmp_path))
    put(tmp_path, proc__stat=f"cpu  {101 * tick} 0 0 500 0 0 0 0 0 0\n")
    put(tmp_path, **{f"{cpu}__thermal_throttle__core_throttle_count": "9"})
    seen = watch.stop()
    assert 90 < seen.pop("others_s") <= 100
    assert seen.pop("elapsed_s") >= 0
    assert seen == {
        **{"celsius": 61.5, "mhz": 1200.0, "limit_mhz": 1200.0, "full_mhz": 1500.0},
        **{"throttle_events": 2, "held_back": 0, "firmware_flags": 4},
    }


@pytest.mark.parametrize(
    ("told", "folder"),
    [
        ("0::/jobs/one\n", "jobs"),
        ("0::/\n", ""),
        ("9:name=systemd:/other\n1:cpu,cpuacct:/jobs/one\n0::/\n", "cpu,cpuacct/jobs/one"),
    ],
)
def test_a_limit_on_cpu_time_is_seen_wherever_it_is_set(tmp_path: Path, told: str, folder: str) -> None:
    stat = tmp_path / "sys/fs/cgroup" / folder / "cpu.stat"
    stat.parent.mkdir(parents=True)
    stat.write_text("nr_periods 10\nnr_throttled 4\n")
    (tmp_path / "proc/self").mkdir(parents=True)
    (tmp_path / "proc/self/cgroup").write_text(told)
    watch = Watch(str(tmp_path))
    stat.write_text("nr_periods 20\nnr_throttled 11\n")
    seen = watch.stop()
    assert seen["held_back"] == 7
    assert summary([seen])["throttled"]


def test_a_limit_of_a_group_around_counts_whatever_its_own_says(tmp_path: Path) -> None:
    around, own = (tmp_path / "sys/fs/cgroup" / place / "cpu.stat" for place in ("jobs", "jobs/one"))
    own.parent.mkdir(parents=True)
    own.write_text("nr_throttled 1000\n")
    around.write_text("nr_throttled 4\n")
    (tmp_path / "proc/self").mkdir(parents=True)
    (tmp_path / "proc/self/cgroup").write_text("0::/jobs/one\n")
    watch = Watch(str(tmp_path))
    around.write_text("nr_throttled 90\n")
    assert watch.stop()["held_back"] == 86


def test_a_system_that_tells_nothing(tmp_path: Path) -> None:
    assert conditions([Watch(str(tmp_path)).stop()]) == {}


def test_what_was_seen_is_summed_up() -> None:
    seen = [WELL, WELL | {"celsius": 71.0, "mhz": 900.0, "others_s": 2.1, "throttle_events": 1}]
    assert summary(seen) == {
        "celsius": 71.0,
        "lowest_mhz": 900.0,
        "highest_mhz": 1500.0,
        "others_cores": 0.55,
        "throttled": True,
    }
    assert summary([UNTOLD]) == {"throttled": False}
    assert summary([]) == {}


def test_boards_of_one_kind_of_core_are_told_apart(tmp_path: Path) -> None:
    info = "processor\t: 0\nFeatures\t: fp asimd\nCPU implementer\t: 0x41\nCPU part\t: {}\n\nHardware\t: x\n"
    put(tmp_path / "a", proc__cpuinfo=info.format("0xd08"), **{"proc__device-tree__model": "Raspberry Pi 4\0"})
    put(tmp_path / "b", proc__cpuinfo=info.format("0xd0b"), **{"proc__device-tree__model": "Raspberry Pi 5\0"})
    assert cpu_model(str(tmp_path / "a")) == "Raspberry Pi 4 0x41 0xd08 asimd"
    assert cpu_model(str(tmp_path / "b")) == "Raspberry Pi 5 0x41 0xd0b asimd"
