"""What Jenkins' xUnit schema and GitLab's parser want of a JUnit file."""

from __future__ import annotations

import re
from xml.etree import ElementTree as ET

_ATTRIBUTES = {
    "testsuites": {"name", "time", "tests", "failures", "errors", "disabled"},
    "testsuite": {"name", "tests", "failures", "errors", "skipped", "time", "timestamp", "hostname", "id", "package"},
    "properties": set(),
    "property": {"name", "value"},
    "testcase": {"name", "classname", "time", "assertions", "status"},
    "skipped": {"type", "message"},
    "error": {"type", "message"},
    "failure": {"type", "message"},
    "system-out": set(),
}
_REQUIRED = {"testsuite": {"name"}, "testcase": {"name", "classname"}, "property": {"name", "value"}}
# The schema orders children: (name, how many).
_CHILDREN = {
    "testsuites": r"(testsuite )*",
    "testsuite": r"(properties )?(testcase )*(system-out )?(system-err )?",
    "properties": r"(property )*",
    "testcase": r"(skipped )?(error )*(failure )*(system-out )*(system-err )*",
}


def check_structure(root: ET.Element) -> None:
    """Fail where the document is not of the common schema, or its counts are wrong."""
    assert root.tag == "testsuites"
    for element in root.iter():
        assert set(element.keys()) <= _ATTRIBUTES[element.tag], element.tag
        assert _REQUIRED.get(element.tag, set()) <= set(element.keys())
        children = "".join(f"{child.tag} " for child in element)
        assert re.fullmatch(_CHILDREN.get(element.tag, ""), children), f"{element.tag}: {children}"
        assert element.get("time") is None or float(element.get("time", "")) >= 0
    for suite in root:
        assert int(suite.get("tests", "")) == len(suite.findall("testcase"))
        for name, tag in (("failures", "failure"), ("errors", "error"), ("skipped", "skipped")):
            assert int(suite.get(name, "")) == len(suite.findall(f"testcase/{tag}"))
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d", suite.get("timestamp", ""))
