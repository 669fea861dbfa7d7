"""What a run did, as data and as tables.

`Report` is the versioned record that `report.json` holds, and `report.assembly` makes its parts of what the
layers below return; `inspect_model` says which channels of a model can be removed; `BenchResult` compares
latencies. Each turns into JSON and into a table for the terminal. Nothing here measures, prunes or prints.
"""

from onnxprune.report.assembly import model_figures, model_file
from onnxprune.report.baseline import Baseline, device_line, differences, read_baseline
from onnxprune.report.bench import (
    BenchedModel,
    BenchResult,
    CopyFigures,
    LayersRecord,
    LayerTimeRecord,
    MemoryFigures,
    RegressionRecord,
)
from onnxprune.report.bench_tables import (
    bench_lines,
    bench_table,
    layer_tables,
    regression_line,
    runs_table,
    sizes_table,
)
from onnxprune.report.comparison import Comparison, OutputDifference, WorstSample
from onnxprune.report.coverage import coverage
from onnxprune.report.environment import Environment, environment
from onnxprune.report.figures import DeviceFigures, LatencyFigures, MetricFigures, ModelFigures, ModelFile
from onnxprune.report.inspection import Inspection, inspect_model
from onnxprune.report.picture import picture_page, svg
from onnxprune.report.preview import DataPart, Preview, StepEstimate
from onnxprune.report.record import Operation, write_report
from onnxprune.report.schema import (
    SCHEMA_VERSION,
    ExportCheck,
    LayerRecord,
    LearningRecord,
    QuantisationRecord,
    Report,
    StageRecord,
    StepTime,
    TargetRecord,
    VersionRecord,
    read_report,
)
from onnxprune.report.tables import (
    changes_table,
    fixed_table,
    groups_table,
    inspection_lines,
    outcome_lines,
    summary_table,
    versions_table,
)

__all__ = [
    "SCHEMA_VERSION",
    "Baseline",
    "BenchResult",
    "BenchedModel",
    "Comparison",
    "CopyFigures",
    "DataPart",
    "DeviceFigures",
    "Environment",
    "ExportCheck",
    "Inspection",
    "LatencyFigures",
    "LayerRecord",
    "LayerTimeRecord",
    "LayersRecord",
    "LearningRecord",
    "MemoryFigures",
    "MetricFigures",
    "ModelFigures",
    "ModelFile",
    "Operation",
    "OutputDifference",
    "Preview",
    "QuantisationRecord",
    "RegressionRecord",
    "Report",
    "StageRecord",
    "StepEstimate",
    "StepTime",
    "TargetRecord",
    "VersionRecord",
    "WorstSample",
    "bench_lines",
    "bench_table",
    "changes_table",
    "coverage",
    "device_line",
    "differences",
    "environment",
    "fixed_table",
    "groups_table",
    "inspect_model",
    "inspection_lines",
    "layer_tables",
    "model_figures",
    "model_file",
    "outcome_lines",
    "picture_page",
    "read_baseline",
    "read_report",
    "regression_line",
    "runs_table",
    "sizes_table",
    "summary_table",
    "svg",
    "versions_table",
    "write_report",
]
