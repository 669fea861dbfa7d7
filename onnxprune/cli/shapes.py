"""Input sizes from the command line, each with the name of its input."""

from __future__ import annotations

from collections.abc import Sequence

import click

Sizes = tuple[int, ...]


def named_shapes(models: Sequence[str], given: Sequence[tuple[str, Sizes]]) -> dict[str, Sizes] | None:
    """Find the input that sizes without a name belong to.

    Args:
        models: The model files.
        given: Pairs of name and sizes, the name empty where it was left out.

    Returns:
        Sizes by input name; None where nothing was given.

    Raises:
        click.UsageError: A name is missing and a model has several inputs.
    """
    if not given:
        return None
    result = {name: sizes for name, sizes in given if name}
    unnamed = [sizes for name, sizes in given if not name]
    if len(unnamed) > 1:
        raise click.UsageError("--input-shape: give each of several inputs its name, such as image:1x3x224x224")
    for sizes in unnamed:
        result.update({_only_input(model): sizes for model in models})
    return result


def _only_input(model: str) -> str:
    from onnxprune.graph import load

    names = [str(v.name) for v in load(model).graph.inputs if not v.is_initializer()]
    if len(names) != 1:
        raise click.UsageError(
            f"--input-shape: '{model}' has {len(names)} inputs ({', '.join(names)}); say which one, such as "
            f"--input-shape {names[0] if names else 'image'}:1x3x224x224"
        )
    return names[0]
