"""The critic: a Gaussian process that predicts a structure's reward from what was judged before."""

from __future__ import annotations

import numpy as np

_NOISES = (0.03, 0.1, 0.3)
_LENGTHS = (0.5, 1.0, 2.0, 4.0)


class Critic:
    """Gaussian-process regression with a linear and a squared-exponential kernel.

    k(a, b) = a.b / d + exp(-|a - b|^2 / (2 d l^2)), on standardised features of dimension d; the length l and the
    noise are those under which the rewards seen are the most likely (Rasmussen and Williams, 2006, chapter 5).
    """

    def __init__(self, features: np.ndarray, rewards: np.ndarray) -> None:
        """Learn from what was judged.

        Args:
            features: Shape (n, d).
            rewards: Shape (n,).
        """
        self._center, self._width = features.mean(axis=0), features.std(axis=0) + 1e-3
        self._mean, self._scale = float(rewards.mean()), float(rewards.std()) or 1.0
        self._x = self._standard(features)
        y = (rewards - self._mean) / self._scale
        fits = [self._fit(y, length, noise) for length in _LENGTHS for noise in _NOISES]
        _, self._length, self._inverse, self._alpha = max(fits, key=lambda fit: fit[0])

    def predict(self, features: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return mean and standard deviation of the rewards of structures, features shape (m, d)."""
        x = self._standard(features)
        k = _kernel(x, self._x, self._length)
        prior = (x**2).mean(axis=1) + 1.0
        variance = np.maximum(prior - np.einsum("ij,jk,ik->i", k, self._inverse, k), 1e-9)
        return k @ self._alpha * self._scale + self._mean, np.sqrt(variance) * self._scale

    def _standard(self, features: np.ndarray) -> np.ndarray:
        standard: np.ndarray = (features - self._center) / self._width
        return standard

    def _fit(self, y: np.ndarray, length: float, noise: float) -> tuple[float, float, np.ndarray, np.ndarray]:
        """Return (log likelihood, length, inverse of the kernel matrix, its product with y)."""
        matrix = _kernel(self._x, self._x, length) + noise * np.eye(len(y))
        inverse = np.linalg.inv(matrix)
        alpha = inverse @ y
        likelihood = -0.5 * float(y @ alpha) - 0.5 * float(np.linalg.slogdet(matrix)[1])
        return likelihood, length, inverse, alpha


def _kernel(a: np.ndarray, b: np.ndarray, length: float) -> np.ndarray:
    dimension = a.shape[1]
    squares = (a**2).sum(axis=1)[:, None] + (b**2).sum(axis=1)[None, :] - 2 * a @ b.T
    kernel: np.ndarray = a @ b.T / dimension + np.exp(-np.maximum(squares, 0.0) / (2 * dimension * length**2))
    return kernel
