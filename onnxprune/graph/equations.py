"""The equations of Einsum: which axes of its operands are the same, and which of them the result has."""

from __future__ import annotations

from collections.abc import Sequence


def axis_letters(equation: str, ranks: Sequence[int]) -> list[list[str]]:
    """Give every axis a letter.

    Args:
        equation: Of the node.
        ranks: Of its operands.

    Returns:
        The letters of each operand and, last, of the result. The axes that an ellipsis stands for are "...0" and so on,
        the last the same in every operand, as they broadcast. Of operands that do not fit the equation, there may be
        another number of letters than of axes.
    """
    left, arrow, right = equation.replace(" ", "").partition("->")
    operands = left.split(",")
    hidden = max((rank - len(term) + 3 for term, rank in zip(operands, ranks, strict=True) if "..." in term), default=0)

    def spelled(term: str, rank: int) -> list[str]:
        before, dots, after = term.partition("...")
        count = rank - len(before) - len(after) if dots else 0
        return [*before, *(f"...{i}" for i in range(hidden - count, hidden)), *after]

    terms = [spelled(term, rank) for term, rank in zip(operands, ranks, strict=True)]
    if arrow:
        return [*terms, spelled(right, hidden + len(right.replace("...", "")))]
    everything = [letter for term in terms for letter in term]
    once = sorted(letter for letter in set(everything) if everything.count(letter) == 1 and "." not in letter)
    return [*terms, [*(f"...{i}" for i in range(hidden)), *once]]
