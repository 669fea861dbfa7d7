"""A report as one HTML page that opens offline, and as Markdown.

`view` turns a report into what is shown, `charts` draws (inline SVG, no script), and the template puts both on the
page.
"""

from onnxprune.report.page.find import find_report
from onnxprune.report.page.markdown import markdown_summary
from onnxprune.report.page.render import html_page
from onnxprune.report.page.side_by_side import bench_markdown, comparison_markdown, failure_markdown

__all__ = [
    "bench_markdown",
    "comparison_markdown",
    "failure_markdown",
    "find_report",
    "html_page",
    "markdown_summary",
]
