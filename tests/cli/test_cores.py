"""Threads in a container: as many as its quota allows, unless the user says otherwise."""

from __future__ import annotations

from pathlib import Path

import pytest

from onnxprune.cli.cores import heed_quota


def system(root: Path, files: dict[str, str]) -> str:
    for name, text in files.items():
        path = root / "sys/fs/cgroup" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return str(root)


@pytest.mark.parametrize(
    ("files", "threads"),
    [
        ({"cpu.max": "200000 100000\n"}, "2"),
        ({"cpu.max": "50000 100000\n"}, "1"),
        ({"cpu.max": "350000 100000\n"}, "3"),
        ({"cpu/cpu.cfs_quota_us": "400000\n", "cpu/cpu.cfs_period_us": "100000\n"}, "4"),
        ({"cpu.max": "max 100000\n"}, None),
        ({"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"}, None),
        ({"cpu.max": "1600000 100000\n"}, None),
        ({}, None),
    ],
)
def test_a_quota_bounds_the_threads(tmp_path: Path, files: dict[str, str], threads: str | None) -> None:
    environ: dict[str, str] = {}
    heed_quota(environ, system(tmp_path, files), cores=16)
    assert environ.get("OMP_NUM_THREADS") == threads


def test_what_the_user_said_stays(tmp_path: Path) -> None:
    environ = {"OMP_NUM_THREADS": "8"}
    heed_quota(environ, system(tmp_path, {"cpu.max": "200000 100000"}), cores=16)
    assert environ == {"OMP_NUM_THREADS": "8"}
