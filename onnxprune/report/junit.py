"""JUnit XML, which GitLab, Jenkins and others show: what a command checked, one test case each."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal
from xml.etree import ElementTree as ET

from onnxprune.report.units import plain

Outcome = Literal["passed", "failure", "error", "skipped"]


@dataclass(frozen=True)
class Case:
    """One thing that was checked.

    Attributes:
        name: What, such as "target met".
        outcome: "failure" is a verdict on the model, "error" says that the check could not be made.
        message: Why it did not pass; the figures where it did.
    """

    name: str
    outcome: Outcome
    message: str


@dataclass(frozen=True)
class Suite:
    """What one command checked.

    Attributes:
        operation: The command.
        cases: What it checked, in order.
        started: When it began, with a time zone.
        duration_s: Wall-clock seconds.
        properties: Figures by name, for whoever reads them.
    """

    operation: str
    cases: Sequence[Case]
    started: dt.datetime
    duration_s: float
    properties: Mapping[str, str]


def junit_xml(suite: Suite) -> str:
    """Return a document with one test suite, `onnxprune`, of which each check is a test case."""
    counts = {
        "tests": str(len(suite.cases)),
        "failures": str(_count(suite, "failure")),
        "errors": str(_count(suite, "error")),
        "skipped": str(_count(suite, "skipped")),
        "time": f"{suite.duration_s:.3f}",
    }
    root = ET.Element("testsuites", {name: value for name, value in counts.items() if name != "skipped"})
    stamp = suite.started.astimezone(dt.UTC).strftime("%Y-%m-%dT%H:%M:%S")
    top = ET.SubElement(root, "testsuite", {"name": "onnxprune", **counts, "timestamp": stamp})
    if suite.properties:
        properties = ET.SubElement(top, "properties")
        for name, value in suite.properties.items():
            ET.SubElement(properties, "property", {"name": plain(name), "value": plain(value)})
    for number, case in enumerate(suite.cases):
        _add(top, case, suite, 0.0 if number else suite.duration_s)
    ET.indent(root)
    return f'<?xml version="1.0" encoding="UTF-8"?>\n{ET.tostring(root, encoding="unicode")}\n'


def _add(top: ET.Element, case: Case, suite: Suite, seconds: float) -> None:
    name = {"name": plain(case.name), "classname": f"onnxprune.{suite.operation}", "time": f"{seconds:.3f}"}
    element = ET.SubElement(top, "testcase", name)
    message = plain(case.message)
    if case.outcome == "passed":
        ET.SubElement(element, "system-out").text = message
    elif case.outcome == "skipped":
        ET.SubElement(element, "skipped", {"message": message})
    else:
        kind = {"message": message.split("\n", 1)[0], "type": f"onnxprune.{case.outcome}"}
        ET.SubElement(element, case.outcome, kind).text = message


def _count(suite: Suite, outcome: Outcome) -> int:
    return sum(case.outcome == outcome for case in suite.cases)
