"""The page of a report: one file, every figure in words too, nothing of a model's names is markup."""

from __future__ import annotations

import re
from collections import Counter
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path

import pytest

from onnxprune.errors import ReportError
from onnxprune.report import LearningRecord, Report, TargetRecord
from onnxprune.report.page import find_report, html_page, markdown_summary
from onnxprune.report.page.svg import Scale
from onnxprune.report.schema import JudgedStructure
from tests.report.large import large_report
from tests.report.records import figures, make_report, metric

VOID = {"meta", "link", "br", "wbr", "hr", "img", "input"}


class Parsed(HTMLParser):
    """A page's elements in order, checked to be closed in order, and the text of it."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self._open: list[str] = []
        self.feed(page)
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data

    def ids(self) -> list[str]:
        return [value for _, attributes in self.elements if (value := attributes.get("id")) is not None]

    def count(self, tag: str, class_: str = "") -> int:
        found = (a for t, a in self.elements if t == tag)
        return sum(not class_ or class_ in (a.get("class") or "").split() for a in found)


@pytest.fixture(scope="module")
def large() -> str:
    return html_page(large_report())


def bare_report() -> Report:
    """A report of a run that measured and learned nothing."""
    plain = figures(1000, 1.0, 90.0).model_copy(update={"latency": None, "metric": None})
    changes = {"groups": (), "fixed": (), "search": (), "training": None, "export_check": None, "device": None}
    return make_report(before=plain, after=plain, warnings=(), command=None, **changes)


@pytest.mark.parametrize("report", [make_report(), large_report(20, 6), bare_report()], ids=["small", "large", "bare"])
def test_a_page_loads_nothing(report: Report) -> None:
    page = html_page(report)
    parsed = Parsed(page)
    assert {"script", "iframe", "object", "embed"}.isdisjoint(tag for tag, _ in parsed.elements)
    assert [a for _, a in parsed.elements if "src" in a] == []
    links = [a["href"] or "" for _, a in parsed.elements if "href" in a]
    assert {link[0] for link in links if not link.startswith("data:")} == {"#"}
    assert "url(" not in page
    assert "@import" not in page


def test_what_the_device_was_like_is_told() -> None:
    page = html_page(make_report())
    for name, value in (
        ("highest temperature, °C", "71.5"),
        ("throttled while it measured", "yes"),
        ("asked for, s", "12"),
    ):
        assert value in page.split(name)[1][:60]


def test_links_and_labels_lead_somewhere(large: str) -> None:
    parsed = Parsed(large)
    ids = parsed.ids()
    assert [name for name, times in Counter(ids).items() if times > 1] == []
    wanted = [(a["href"] or "")[1:] for _, a in parsed.elements if (a.get("href") or "").startswith("#")]
    wanted += [name for _, a in parsed.elements for name in (a.get("aria-labelledby") or "").split()]
    assert set(wanted) <= set(ids)


def test_a_page_reads_without_seeing_it(large: str) -> None:
    parsed = Parsed(large)
    levels = [int(tag[1]) for tag, _ in parsed.elements if re.fullmatch("h[1-6]", tag)]
    assert levels.count(1) == 1
    assert all(after <= before + 1 for before, after in pairwise(levels))
    charts = [a for tag, a in parsed.elements if tag == "svg" and "chart" in (a["class"] or "").split()]
    assert len(charts) == 1 + 12 + 4
    assert {chart["role"] for chart in charts} == {"img"}
    assert parsed.count("title") == parsed.count("desc") + 1  # the page's own
    assert all(a.get("aria-hidden") == "true" for t, a in parsed.elements if t == "svg" and "role" not in a)
    # Behind each chart its figures, beside those that are shown as tables anyway.
    assert parsed.count("table") == parsed.count("caption") == len(charts) + 3 + 1


def test_a_page_says_what_came_of_it() -> None:
    text = " ".join(Parsed(html_page(make_report())).text.split())
    for part in ("model.onnx, compressed", "2.07x as fast: 1.24 ms → 0.600 ms", "92.50 % → 92.08 % (-0.42 points)"):
        assert part in text
    for part in ("Target met", "trained on few pictures", "1000 test samples", "Some CPU", "12.0 M", "0000000000"):
        assert part in text
    assert "onnxprune compress model.onnx --target-latency 50%" in text


def test_a_missed_target_is_said() -> None:
    target = make_report().target.model_copy(update={"achieved": 0.7})
    report = make_report(target=target)
    assert "Target missed" in html_page(report)
    assert "❌ Target missed" in markdown_summary(report)


def test_random_inputs_are_no_accuracy() -> None:
    before, after = (figures(1000, 1.0, v).model_copy(update={"metric": metric(v, synthetic=True)}) for v in (100, 90))
    page = html_page(make_report(before=before, after=after))
    assert "random inputs: says little about accuracy" in page
    assert "-10.00 points)" not in page.split("At a glance")[0]


def test_parts_without_figures_are_left_out() -> None:
    page = html_page(bare_report())
    assert Parsed(page).count("svg", "chart") == 0
    for heading in ("Latency", "Search and training", "Staircases", "Command"):
        assert f">{heading}</h" not in page


def test_of_the_measured_structures_the_delivered_one_is_starred() -> None:
    report = large_report()
    first, *others = report.search
    starred = report.model_copy(update={"search": (first.model_copy(update={"delivered": True}), *others)})
    before, after = (html_page(shown).count('class="chosen"') for shown in (report, starred))
    # The mark itself and its sample in the legend.
    assert after == before + 2


def test_of_a_ratio_more_removed_is_further_right_on_the_front() -> None:
    target = TargetRecord(kind="ratio", requested="0.3", value=0.3, unit="share of channels removed", achieved=0.3125)
    judged = [
        JudgedStructure(
            round=0, source=source, channels=(count,), reward=m, metric=m, samples=64, cost=cost, elapsed_s=1.0
        )
        for source, count, m, cost in (("global", 12, 80.0, 0.3125), ("uniform", 8, 70.0, 0.5), ("rl", 11, 65.0, 0.4))
    ]
    learning = LearningRecord(agent="rl", stopped_by="evaluations", judged=tuple(judged))
    text = Parsed(html_page(make_report(target=target, learning=learning))).text
    assert "Chosen: 31.2 % predicted, 80.00 %." in text
    assert "lies outside" not in text
    assert "predicted cost (share of channels removed)" in text
    front = text[text.index("on the front: predicted cost") :]
    assert re.findall(r"(?:50|40|31)\.\d %", front)[:2] == ["50.0 %", "31.2 %"]


def test_a_metric_of_the_users_is_no_percentage() -> None:
    report = large_report()
    own = {
        when: getattr(report, when).model_copy(update={"metric": metric(value, name="mine:minus_error", samples=64)})
        for when, value in (("before", -0.1234), ("after", -0.25))
    }
    shown = report.model_copy(update=own)
    text = Parsed(html_page(shown)).text
    assert "mine:minus_error -0.1234 → -0.25 (-0.1266 points)" in text
    for said in ("validation metric (%)", "metric, untrained (%)", "metric (%)"):
        assert said in Parsed(html_page(report)).text
        assert said not in text
    assert not re.search(r"[\d.]+ % untrained|predicted, -?[\d.]+ %", text)
    assert "| mine:minus\\_error (64 test samples) | -0.1234 | -0.25 | -0.1266 points |" in markdown_summary(shown)


def test_names_are_no_markup() -> None:
    evil = "<script>alert(1)</script>\"'&amp;"
    report = large_report(8, 4)
    group = report.groups[0].model_copy(update={"name": evil, "producers": (evil,)})
    layer = report.layers[0].model_copy(update={"name": evil})
    changes = {"groups": (group,), "layers": (layer, *report.layers[1:]), "warnings": (evil,), "command": evil}
    report = report.model_copy(update=changes)
    parsed = Parsed(html_page(report))
    assert parsed.count("script") == 0
    assert parsed.text.count(evil) >= 3
    assert not re.search(r"(?<!\\)<", markdown_summary(report).split("<details>")[0])


def test_a_large_report_stays_small(large: str) -> None:
    assert len(large.encode()) < 3_000_000


def test_same_report_same_page(large: str) -> None:
    assert html_page(large_report()) == large


def test_markdown() -> None:
    text = markdown_summary(make_report())
    assert text.startswith("### onnxprune: model.onnx\n")
    rows = [line for line in text.splitlines() if line.startswith("|")]
    assert {row.count("|") - row.count(r"\|") for row in rows} == {5}
    assert "| latency p50 | 1.24 ms | 0.600 ms | -52 % (2.1x) |" in rows
    assert "| top-1 (1000 test samples) | 92.50 % | 92.08 % | -0.42 points |" in rows
    assert "> ⚠️ trained on few pictures" in text
    assert text.endswith("```sh\nonnxprune compress model.onnx --target-latency 50%\n```\n")


def test_a_report_is_found(tmp_path: Path) -> None:
    with pytest.raises(ReportError, match="there is no file or folder"):
        find_report(tmp_path / "none")
    with pytest.raises(ReportError, match="holds no report"):
        find_report(tmp_path)
    (tmp_path / "run.json").write_text("{}")
    with pytest.raises(ReportError, match="onnxprune resume"):
        find_report(tmp_path)
    (tmp_path / "a.report.json").write_text("{}")
    assert find_report(tmp_path) == tmp_path / "a.report.json"
    (tmp_path / "b.report.json").write_text("{}")
    with pytest.raises(ReportError, match=r"2 reports \(a.report.json, b.report.json\)"):
        find_report(tmp_path)
    (tmp_path / "report.json").write_text("{}")
    assert find_report(tmp_path) == tmp_path / "report.json"


@pytest.mark.parametrize(
    ("scale", "ticks"),
    [
        (Scale(0, 1, 0, 100), ["0.0", "0.2", "0.4", "0.6", "0.8", "1.0"]),
        (Scale(0.1, 0.31, 0, 100), ["0.10", "0.15", "0.20", "0.25", "0.30"]),
        (Scale(0, 0.011, 0, 100), ["0.0000", "0.0025", "0.0050", "0.0075", "0.0100"]),
        (Scale(0, 2, 0, 100, whole=True), ["0", "1", "2"]),
        (Scale(-30, 160, 0, 100), ["0", "50", "100", "150"]),
    ],
)
def test_ticks_are_round_and_told_apart(scale: Scale, ticks: list[str]) -> None:
    assert [text for _, text in scale.ticks()] == ticks
    assert all(scale.low <= value <= scale.high for value, _ in scale.ticks())
