"""The ridge regression that all forms of healing come down to."""

from __future__ import annotations

import numpy as np

_NOISE = 1e-2
_MOST = 1.0
_MOST_CHANCE = 0.99


def ridge_for(inputs: int, positions: int, chance: float = 0.0) -> float:
    """Say how strongly to hold weights, as a share of the inputs' mean variance: the more, the fewer the samples.

    With k inputs, n positions, an error of variance s and corrections of size b, the ridge that is least wrong is
    k s / (n b^2) (Hoerl, Kennard and Baldwin, "Ridge regression: some simulations", 1975); s / b^2 is taken as 0.01 of
    the inputs' variance. A covariance C that is shrunk to (1 - a) C + a m I is one with a ridge of a / (1 - a).
    """
    return max(min(_NOISE * inputs / positions, _MOST), chance / (1 - chance))


def shrinkage(covariance: np.ndarray, fourth: float, positions: int) -> float:
    """Return how much of a covariance is chance, from 0 on.

    O. Ledoit and M. Wolf, "A well-conditioned estimator for large-dimensional covariance matrices", 2004.

    Args:
        covariance: Of what was sampled, shape (inputs, inputs).
        fourth: The sum of |x - E[x]|^4 over the samples.
        positions: How many were sampled.
    """
    square = float(np.square(covariance, dtype=np.float64).sum())
    chance = fourth / positions**2 - square / positions
    spread = square - float(np.trace(covariance)) ** 2 / len(covariance)
    return float(np.clip(chance / spread, 0.0, _MOST_CHANCE)) if spread > 0 and np.isfinite(chance) else 0.0


def fourth_moment(x: np.ndarray) -> float:
    """Return the sum of |x|^4 over samples, shape (samples, inputs)."""
    return float((np.einsum("ij,ij->i", x, x, dtype=np.float64) ** 2).sum())


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
