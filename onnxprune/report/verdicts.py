"""What a command checked and found, as test cases and figures for a CI system."""

from __future__ import annotations

from onnxprune.errors import (
    MaxDropExceededError,
    NothingToPruneError,
    OnnxPruneError,
    TargetOutOfReachError,
    VerificationError,
)
from onnxprune.report.bench import BenchResult, RegressionRecord
from onnxprune.report.bench_tables import regression_line
from onnxprune.report.comparison import Comparison
from onnxprune.report.figures import LatencyFigures
from onnxprune.report.junit import Case, Outcome
from onnxprune.report.schema import Report
from onnxprune.report.tables import target_met, target_text
from onnxprune.report.units import counted, interval, milliseconds, score_digits

TARGET, DROP, VERIFICATION, OUTPUT = "target met", "max-drop", "verification", "output written"
# From 3 on an exit code is a verdict on the model; below, the command could not do what it was told.
_VERDICT = 3


def run_cases(report: Report, max_drop: float | None, rejection: str | None = None) -> list[Case]:
    """Return what a run checked.

    Args:
        report: Its record.
        max_drop: Points that might be lost at most, or None.
        rejection: Why the result was refused; None: it was not.
    """
    check = report.verification
    proof = f"relative error {check.relative_error:.1e}, allowed {check.tolerance:.0e}"
    refused = Case(OUTPUT, "skipped", f"the result was refused and lies in '{report.output.path}'")
    return [
        Case(TARGET, "passed" if target_met(report.target) else "failure", target_text(report.target)),
        _drop_case(report, max_drop, rejection),
        Case(VERIFICATION, "passed", f"removing equals silencing: {proof}"),
        Case(OUTPUT, "passed", report.output.path) if rejection is None else refused,
    ]


def failed_cases(error: BaseException) -> list[Case]:
    """Return what a run that ended with an error checked before."""
    place = OUTPUT
    for kind, name in (
        ((TargetOutOfReachError, NothingToPruneError), TARGET),
        ((MaxDropExceededError,), DROP),
        ((VerificationError,), VERIFICATION),
    ):
        if isinstance(error, kind):
            place = name
    skipped = [Case(name, "skipped", "the run ended before") for name in (TARGET, DROP, VERIFICATION, OUTPUT)]
    return [failed_case(place, error) if case.name == place else case for case in skipped]


def failed_case(name: str, error: BaseException) -> Case:
    """Return a case that an error ended: a failure where it is a verdict on the model, else an error."""
    verdict = isinstance(error, VerificationError) or (
        isinstance(error, OnnxPruneError) and error.exit_code >= _VERDICT
    )
    outcome: Outcome = "failure" if verdict else "error"
    return Case(name, outcome, said(error))


def said(error: BaseException) -> str:
    """Return what an error says; of Ctrl-C what the terminal shows."""
    return str(error) or ("Interrupted" if isinstance(error, KeyboardInterrupt) else type(error).__name__)


def bench_cases(result: BenchResult) -> list[Case]:
    """Return a case for each model that was measured, and for each that was compared with a baseline."""
    measured = [Case(f"measured {model.path}", "passed", _latency(model.latency)) for model in result.models]
    compared = [
        Case(f"no regression {record.path}", _regression(record), regression_line(record))
        for record in result.regressions
    ]
    return measured + compared


def comparison_cases(comparison: Comparison) -> list[Case]:
    """Return the one case of a comparison that was made."""
    low, high = comparison.latency_ratio_ci95
    parts = [f"latency ratio {comparison.latency_ratio:.3f} (95 % confidence {low:.3f} to {high:.3f})"]
    if comparison.agreement is not None:
        parts.append(f"same top class for {comparison.agreement:.2f} % of {counted(comparison.samples, 'sample')}")
    return [Case("compared", "passed", "; ".join(parts))]


def run_figures(report: Report) -> dict[str, str]:
    """Return the figures of a run by name."""
    before, after = report.before, report.after
    figures = {"target": report.target.requested, "macs-before": str(before.macs), "macs-after": str(after.macs)}
    if before.latency is not None and after.latency is not None:
        figures["latency-before-ms"] = f"{before.latency.p50_ms:.6g}"
        figures["latency-after-ms"] = f"{after.latency.p50_ms:.6g}"
    if (drop := metric_drop(report)) is not None:
        figures["accuracy-drop-points"] = f"{drop:.6g}"
    return figures


def run_outputs(report: Report, file: str) -> dict[str, str]:
    """Return what a later step of a CI job takes of a run, by name; empty where it was not measured.

    Args:
        report: The run's record.
        file: Where that was written.
    """
    before, after, drop = report.before.latency, report.after.latency, metric_drop(report)
    return {
        "model": report.output.path,
        "report": file,
        "latency-before": "" if before is None else f"{before.p50_ms:.6g}",
        "latency-after": "" if after is None else f"{after.p50_ms:.6g}",
        "accuracy-drop": "" if drop is None else f"{drop:.4g}",
    }


def bench_figures(result: BenchResult) -> dict[str, str]:
    """Return the p50 of each model by name."""
    return {f"latency-ms {model.path}": f"{model.latency.p50_ms:.6g}" for model in result.models}


def comparison_figures(comparison: Comparison) -> dict[str, str]:
    """Return the figures of a comparison by name."""
    figures = {"latency-ratio": f"{comparison.latency_ratio:.6g}"}
    if comparison.agreement is not None:
        figures["agreement-percent"] = f"{comparison.agreement:.6g}"
    return figures


def metric_drop(report: Report) -> float | None:
    """Return the points of the metric that were lost; None where it was not measured twice."""
    before, after = report.before.metric, report.after.metric
    if before is None or after is None or before.name != after.name:
        return None
    return before.value - after.value


def _drop_case(report: Report, max_drop: float | None, rejection: str | None) -> Case:
    if rejection is not None:
        return Case(DROP, "failure", rejection)
    drop, metric = metric_drop(report), report.after.metric
    if drop is None or metric is None:
        known = report.before.metric is None
        return Case(DROP, "skipped", "accuracy was not measured" if known else "the metric fails on the result")
    went = "fell" if drop >= 0 else "rose"
    points = score_digits(abs(drop), metric.name)
    lost = f"{metric.name} on {counted(metric.samples, f'{metric.part} sample')} {went} by {points} points"
    if metric.synthetic:
        lost += " (random inputs: says little about accuracy)"
    if max_drop is None:
        return Case(DROP, "skipped", f"no limit was given; {lost}")
    return Case(DROP, "passed", f"{lost}, {max_drop:g} allowed")


def _regression(record: RegressionRecord) -> Outcome:
    if record.verdict == "regression":
        return "failure"
    return "skipped" if record.verdict == "undecided" and record.noisy else "passed"


def _latency(latency: LatencyFigures) -> str:
    confidence = interval(*latency.ci95_ms)
    return f"p50 {milliseconds(latency.p50_ms)} (95 % confidence {confidence}), p90 {milliseconds(latency.p90_ms)}"
