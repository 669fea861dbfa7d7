"""The ridge regression that all forms of healing come down to."""

from __future__ import annotations

import numpy as np

_NOISE = 1e-2
_MOST = 1.0


def ridge_for(inputs: int, positions: int) -> float:
    """Say how strongly to hold weights, as a share of the inputs' mean variance: the more, the fewer the samples.

    With k inputs, n positions, an error of variance s and corrections of size b, the ridge that is least wrong is
    k s / (n b^2) (Hoerl, Kennard and Baldwin, "Ridge regression: some simulations", 1975); s / b^2 is taken as 0.01 of
    the inputs' variance.
    """
    return min(_NOISE * inputs / positions, _MOST)


def correction(gram: np.ndarray, cross: np.ndarray, ridge: float) -> np.ndarray | None:
    """Solve min over D of E|r - D x|^2 + l |D|^2: what to add to the weights so that the error r is made up for.

    Args:
        gram: E[x x'], shape (inputs, inputs).
        cross: E[r x'], shape (channels out, inputs).
        ridge: l as a share of the mean of the diagonal.

    Returns:
        D, shape (channels out, inputs); None where there is no finite solution.
    """
    strength = ridge * float(np.trace(gram)) / len(gram)
    if not np.isfinite(strength) or strength <= 0:
        return None
    import torch

    regular = torch.from_numpy(gram.astype(np.float64, copy=True))
    regular.diagonal().add_(strength)
    factor, failed = torch.linalg.cholesky_ex(regular)
    if int(failed):
        return None
    solution: np.ndarray = torch.cholesky_solve(torch.from_numpy(cross.T.astype(np.float64)), factor).numpy().T
    return solution if np.isfinite(solution).all() else None


def product(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Return the matrix product of two arrays of one type.

    By PyTorch's threads: numpy's, which wait for work beside them on the same cores, made healing twice as slow.
    """
    import torch

    result: np.ndarray = (torch.from_numpy(left) @ torch.from_numpy(right)).numpy()
    return result
