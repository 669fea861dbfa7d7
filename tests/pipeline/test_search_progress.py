"""What is shown while a search works: every step once, and a bar for what it is of."""

from __future__ import annotations

from onnxprune.pipeline.search_progress import SamplingProgress, SearchProgress
from onnxprune.progress import Observer
from onnxprune.search import Probe, SearchConfig, Verdict, parse_latency


class Steps(Observer):
    """Remembers the steps, and the last note."""

    def __init__(self) -> None:
        self.steps: list[tuple[str, int | None]] = []
        self.note = ""

    def stage(self, name: str, total: int | None = None) -> None:
        self.steps.append((name, total))

    def advance(self, steps: int = 1, *, note: str | None = None) -> None:  # noqa: ARG002
        self.note = note or ""

    def warn(self, message: str) -> None: ...


def test_a_search_that_is_over_is_not_shown_again() -> None:
    shown = Steps()
    progress = SearchProgress(shown, "rl", SearchConfig(evaluations=160), parse_latency("5ms"), again=True)
    progress.tell_probe(Probe(0, 4.0, 4.1, 100))
    progress.tell_confirmation(1, 3)
    assert shown.steps == [("comparing the best", None)]
    assert shown.note == "healing and judging 1 of 3"


def test_a_stage_that_is_sampled_again_has_a_bar_of_its_own() -> None:
    shown = Steps()
    progress = SamplingProgress(shown, 5, clock=iter(range(100)).__next__)
    for _ in range(5):
        progress.tell(Verdict(1.0, 90.0, 10))
    assert shown.note.endswith("about 0 s left")
    progress.tell(Verdict(1.0, 90.0, 10))
    assert [total for _, total in shown.steps] == [5, 4]
    assert shown.note.endswith("about 3 s left")
    for _ in range(4):
        progress.tell(Verdict(1.0, 90.0, 10))
    assert [total for _, total in shown.steps] == [5, 4, 4]
