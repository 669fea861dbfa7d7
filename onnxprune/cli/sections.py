"""Help texts: options under headings, and the exit codes below every command's help."""

from __future__ import annotations

from typing import Any

import click

EXIT_CODES = """\
\b
Exit codes:
  0    done
  1    error: the model, the data, the device or the output cannot be used
  2    usage: an option or a target that cannot be read
  3    the target is out of reach, or nothing can be pruned; nothing is written
  4    --max-drop exceeded; the result is written beside, as *.rejected.onnx
  5    bench --compare: slower than --max-regression allows, and not by chance
  130  interrupted with Ctrl-C; nothing is left half written
  143  stopped by SIGTERM, as a cancelled CI job is; likewise
"""


class SectionOption(click.Option):
    """An option that stands under a heading of the help text."""

    def __init__(self, *args: Any, section: str = "Other", **kwargs: Any) -> None:
        """Make the option.

        Args:
            *args: As click takes them.
            section: The heading.
            **kwargs: As click takes them.
        """
        super().__init__(*args, **kwargs)
        self.section = section


class SectionCommand(click.Command):
    """A command whose help text has its options under headings, in the order of their declaration."""

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the options."""
        sections: dict[str, list[tuple[str, str]]] = {}
        for parameter in self.get_params(ctx):
            record = parameter.get_help_record(ctx)
            if isinstance(parameter, click.Option) and record is not None:
                sections.setdefault(getattr(parameter, "section", "Other"), []).append(record)
        for name, records in sorted(sections.items(), key=lambda section: section[0] == "Other"):
            with formatter.section(name):
                formatter.write_dl(records)
