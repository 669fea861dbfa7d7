"""`report.json`: written and read back the same, and refused with a reason otherwise."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from pydantic import ValidationError

from onnxprune.errors import OutputError, ReportError
from onnxprune.report import SCHEMA_VERSION, BenchedModel, BenchResult, Report, read_report, write_report
from onnxprune.report.record import Record
from tests.report.records import latency, make_report

DOCUMENT = Path(__file__).parents[2] / "docs" / "report.md"


def test_json_round_trip_keeps_everything() -> None:
    report = make_report()
    again = Report.from_json(report.to_json())
    assert again == report
    assert again.started_at.tzinfo is not None
    assert again.before.latency is not None
    assert again.before.latency.samples_ms == ((1.24, 1.24), (1.24, 1.24))


def test_file_round_trip(tmp_path: Path) -> None:
    write_report(make_report(), tmp_path / "report.json")
    assert read_report(tmp_path / "report.json") == make_report()
    assert [path.name for path in tmp_path.iterdir()] == ["report.json"]


def test_optional_parts_may_be_missing() -> None:
    report = make_report(operation="prune", training=None, export_check=None, device=None, command=None)
    assert Report.from_json(report.to_json()) == report


def test_json_is_standard_and_has_number_lists_on_one_line() -> None:
    text = make_report().to_json()
    content = json.loads(text, parse_constant=lambda constant: pytest.fail(f"{constant} is no JSON"))
    assert content["schema_version"] == SCHEMA_VERSION
    assert content["training"]["epochs"][1]["train_loss"] is None
    assert re.search(r"^\s*\[1\.24, 1\.24\],?$", text, re.MULTILINE)


def test_strings_are_not_reformatted() -> None:
    odd = "a list [\n 1,\n 2\n] and [ 1,  2 ]"
    assert Report.from_json(make_report(warnings=(odd,)).to_json()).warnings == (odd,)


def test_other_schema_version_is_refused() -> None:
    content = json.loads(make_report().to_json())
    content["schema_version"] = 99
    with pytest.raises(ReportError, match=r"schema version 99; this onnxprune reads 1.*0\.1\.0"):
        Report.from_json(json.dumps(content))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("not json", "it is not JSON"),
        ("[1, 2]", "no field 'schema_version'"),
        ("{}", "no field 'schema_version'"),
        ('{"schema_version": 1}', "field '.*': Field required"),
    ],
)
def test_what_is_no_report_is_refused(text: str, message: str) -> None:
    with pytest.raises(ReportError, match=message):
        Report.from_json(text)


def test_wrong_type_names_the_field() -> None:
    content = json.loads(make_report().to_json())
    content["before"]["macs"] = "many"
    with pytest.raises(ReportError, match=r"field 'before\.macs'"):
        Report.from_json(json.dumps(content))


def test_missing_report_file(tmp_path: Path) -> None:
    with pytest.raises(ReportError, match=r"missing\.json' cannot be read: No such file"):
        read_report(tmp_path / "missing.json")


def test_writing_into_a_missing_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="does not exist"):
        write_report(make_report(), tmp_path / "none" / "report.json")


def test_records_are_immutable_and_refuse_unknown_fields_and_infinity() -> None:
    report = make_report()
    with pytest.raises(ValidationError):
        report.seed = 1  # type: ignore[misc]
    with pytest.raises(ValidationError):
        make_report(speed="fast")
    with pytest.raises(ValidationError):
        make_report(duration_s=float("inf"))


def test_bench_result_round_trip() -> None:
    report = make_report()
    assert report.device is not None
    model = BenchedModel(path="a.onnx", file_bytes=10, macs=20, parameters=30, latency=latency(1.0))
    result = BenchResult(
        onnxprune_version="0.1.0", environment=report.environment, device=report.device, models=(model,)
    )
    assert BenchResult.model_validate_json(result.to_json()) == result


def _all_records() -> set[type[Record]]:
    found: set[type[Record]] = set()
    waiting = [Record]
    while waiting:
        children = waiting.pop().__subclasses__()
        found.update(children)
        waiting += children
    return {record for record in found if record.__module__.startswith("onnxprune.")}


@pytest.mark.parametrize("record", sorted(_all_records(), key=lambda r: r.__name__), ids=lambda r: r.__name__)
def test_every_field_is_documented(record: type[Record]) -> None:
    sections = re.split(r"^#+ ", DOCUMENT.read_text(encoding="utf-8"), flags=re.MULTILINE)
    section = next((s for s in sections if s.startswith(f"`{record.__name__}`")), None)
    assert section is not None, f"docs/report.md has no section on {record.__name__}"
    documented = set(re.findall(r"^\| `(\w+)` \|", section, re.MULTILINE))
    assert documented == set(record.model_fields)
