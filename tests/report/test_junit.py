"""JUnit XML: the structure that CI systems read, and text that XML cannot hold."""

from __future__ import annotations

import datetime as dt
from xml.etree import ElementTree as ET

import pytest
from hypothesis import given
from hypothesis import strategies as st

from onnxprune import errors
from onnxprune.report.junit import Case, Suite, junit_xml
from onnxprune.report.verdicts import failed_cases, run_cases
from tests.report.junit_structure import check_structure
from tests.report.records import make_report

START = dt.datetime(2026, 11, 24, 4, 0, tzinfo=dt.timezone(dt.timedelta(hours=1)))


def suite(*cases: Case, **properties: str) -> Suite:
    return Suite("compress", cases, START, 12.5, properties)


def test_counts_and_places() -> None:
    cases = (
        Case("a", "passed", "fine"),
        Case("b", "failure", "x\ny"),
        Case("c", "error", "e"),
        Case("d", "skipped", "s"),
    )
    root = ET.fromstring(junit_xml(suite(*cases, figure="1")))
    check_structure(root)
    (top,) = root
    assert {name: top.get(name) for name in ("name", "tests", "failures", "errors", "skipped", "timestamp")} == {
        **{"name": "onnxprune", "tests": "4", "failures": "1", "errors": "1", "skipped": "1"},
        "timestamp": "2026-11-24T03:00:00",
    }
    assert top.findtext("testcase[@name='a']/system-out") == "fine"
    failure = top.find("testcase[@name='b']/failure")
    assert failure is not None
    assert (failure.get("message"), failure.text) == ("x", "x\ny")
    assert top.find("testcase[@name='c']/error") is not None
    assert sum(float(case.get("time", "")) for case in top.iter("testcase")) == 12.5


@given(st.text(), st.text(), st.sampled_from(["passed", "failure", "error", "skipped"]))
def test_any_text_gives_valid_xml(name: str, message: str, outcome: str) -> None:
    root = ET.fromstring(junit_xml(suite(Case(name, outcome, message), **{"p": message})).encode())  # type: ignore[arg-type]
    check_structure(root)


def outcomes(cases: list[Case]) -> dict[str, str]:
    return {case.name: case.outcome for case in cases}


def test_a_run_that_ended_well() -> None:
    cases = run_cases(make_report(), 1.0)
    assert set(outcomes(cases).values()) == {"passed"}
    assert "fell by 0.42 points, 1 allowed" in cases[1].message
    assert outcomes(run_cases(make_report(), None))["max-drop"] == "skipped"
    better = make_report(before=make_report().after, after=make_report().before)
    assert "rose by 0.42 points, 1 allowed" in run_cases(better, 1.0)[1].message


def test_a_target_that_the_last_measurement_missed() -> None:
    report = make_report()
    late = report.target.model_copy(update={"achieved": report.target.value * 1.02})
    cases = run_cases(report.model_copy(update={"target": late}), 1.0)
    assert outcomes(cases)["target met"] == "failure"


def test_a_result_that_was_refused() -> None:
    assert outcomes(run_cases(make_report(), 0.1, "top-1 fell by 0.42 points")) == {
        **{"target met": "passed", "max-drop": "failure", "verification": "passed", "output written": "skipped"},
    }


@pytest.mark.parametrize(
    ("error", "place", "outcome"),
    [
        (errors.TargetOutOfReachError("x"), "target met", "failure"),
        (errors.NothingToPruneError("x"), "target met", "failure"),
        (errors.VerificationError("x"), "verification", "failure"),
        (errors.ModelFileError("x"), "output written", "error"),
        (errors.OutputError("x"), "output written", "error"),
        (RuntimeError(), "output written", "error"),
        (KeyboardInterrupt(), "output written", "error"),
    ],
)
def test_a_run_that_failed(error: BaseException, place: str, outcome: str) -> None:
    cases = outcomes(failed_cases(error))
    assert cases.pop(place) == outcome
    assert set(cases.values()) == {"skipped"}
