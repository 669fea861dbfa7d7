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
        click.UsageError: A name is missing and a model has several inputs, or an input gets two sizes.
    """
    if not given:
        return None
    result: dict[str, Sizes] = {}
    for name, sizes in given:
        if name:
            _add(result, name, sizes)
    unnamed = [sizes for name, sizes in given if not name]
    if len(unnamed) > 1:
        raise click.UsageError("--input-shape: give each of several inputs its name, such as image:1x3x224x224")
    for sizes in unnamed:
        for name in dict.fromkeys(_only_input(model) for model in models):
            _add(result, name, sizes)
    return result


def _add(shapes: dict[str, Sizes], name: str, sizes: Sizes) -> None:
    if name in shapes:
        raise click.UsageError(f"--input-shape: input '{name}' gets sizes twice")
    shapes[name] = sizes


def _only_input(model: str) -> str:
    from onnxprune.graph import load

    names = [str(v.name) for v in load(model).graph.inputs if not v.is_initializer()]
    if len(names) != 1:
        raise click.UsageError(
            f"--input-shape: '{model}' has {len(names)} inputs ({', '.join(names)}); say which one, such as "
            f"--input-shape {names[0] if names else 'image'}:1x3x224x224"
        )
    return names[0]
