"""Before any work: no result may overwrite what a command reads, nor another result."""

from __future__ import annotations

from typing import Any

import click

from onnxprune.cli.parameters import CONFIG_FILE


def refuse_overwriting(**arguments: Any) -> None:
    """Check the paths of the running command.

    Args:
        **arguments: Its arguments and options by name.

    Raises:
        OutputError: Names both options.
    """
    # Only now: importing it takes a second, which a usage error should not.
    from onnxprune.pipeline.files import check_files

    check_files({**arguments, "config": click.get_current_context().meta.get(CONFIG_FILE)})
