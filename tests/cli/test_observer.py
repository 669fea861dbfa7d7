"""Progress: lines in logs, bars on terminals, warnings in both."""

from __future__ import annotations

import io

from rich.console import Console

from onnxprune.cli.observer import BarObserver, LineObserver


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def test_lines_at_each_stage_and_now_and_then_within() -> None:
    lines: list[str] = []
    clock = Clock()
    with LineObserver(lines.append, clock=clock) as observer:
        observer.stage("measuring layers", 40)
        for _ in range(30):
            clock.now += 1.0
            observer.advance(note="loss 0.5")
        clock.now += 1.0
        observer.stage("writing")
    assert lines == [
        "[   0.0 s] measuring layers",
        "[  10.0 s] measuring layers: 10/40 loss 0.5",
        "[  20.0 s] measuring layers: 20/40 loss 0.5",
        "[  30.0 s] measuring layers: 30/40 loss 0.5",
        "[  31.0 s] writing",
    ]


def test_a_stage_of_unknown_length_shows_its_note() -> None:
    lines: list[str] = []
    clock = Clock()
    observer = LineObserver(lines.append, clock=clock)
    observer.stage("finding the structure")
    clock.now += 11
    observer.advance(note="4.1 ms")
    assert lines[-1] == "[  11.0 s] finding the structure: 4.1 ms"


def test_quiet_lines_are_warnings_only() -> None:
    lines: list[str] = []
    observer = LineObserver(lines.append, quiet=True)
    observer.stage("training", 2)
    observer.advance(2)
    observer.warn("no data")
    assert lines == ["Warning: no data"]
    assert observer.warned == ["no data"]


def test_bars_end_full_and_warnings_stay_on_screen() -> None:
    console = Console(file=io.StringIO(), force_terminal=True, width=120, color_system=None)
    with BarObserver(console) as observer:
        observer.stage("measuring [layers]", 4)
        observer.advance(3, note="3 of 4")
        observer.warn("a [warning]")
        observer.stage("writing")
    text = console.file.getvalue()  # type: ignore[attr-defined]
    assert "Warning: a [warning]" in text
    assert "measuring [layers]" in text
    assert "writing" in text
    assert text.count("✓") >= 2
    assert observer.warned == ["a [warning]"]


def test_a_stage_that_failed_is_not_shown_as_done() -> None:
    console = Console(file=io.StringIO(), force_terminal=True, width=120, color_system=None)
    observer = BarObserver(console)
    observer.__enter__()
    observer.stage("training", 10)
    observer.__exit__(RuntimeError, RuntimeError(), None)
    assert "✓" not in console.file.getvalue()  # type: ignore[attr-defined]
