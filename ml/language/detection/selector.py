"""The selector: a logistic regression from scores to logits, with K x K + K numbers or with 2 K."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from ml.language.detection.grams import LARGEST

__all__ = ["Selector", "fit_selector", "fit_weights", "selector_loss", "softmax"]


@dataclass(frozen=True, eq=False)
class Selector:
    """z = w x + b for 2 K numbers, z = W x + b for K x K + K; probabilities are the softmax of z.

    x are scores minus their mean over languages, so that adding one number to a column of W, or one to all of b, leaves
    decisions and probabilities as they are.

    Raises ValueError for arrays of other shapes, and numbers that are not finite or beyond 1e30.
    """

    weights: np.ndarray  #: float64 (K,), or (K, K)
    offsets: np.ndarray  #: float64 (K,)

    def __post_init__(self) -> None:
        k = len(self.offsets) if self.offsets.ndim == 1 else -1
        if self.weights.shape not in ((k,), (k, k)) or {self.weights.dtype, self.offsets.dtype} != {np.dtype(float)}:
            raise ValueError(
                f"a selector needs weights (K,) or (K, K) and offsets (K,), got {self.weights.shape}, "
                f"{self.offsets.shape}"
            )
        if not (np.all(np.abs(self.weights) <= LARGEST) and np.all(np.abs(self.offsets) <= LARGEST)):
            raise ValueError(f"weights and offsets of a selector must be finite, at most {LARGEST:g}")

    @property
    def size(self) -> int:
        """How many numbers it has."""
        return self.weights.size + self.offsets.size

    def logits(self, x: np.ndarray) -> np.ndarray:
        """Return z (..., K) of scores (..., K)."""
        return (x * self.weights if self.weights.ndim == 1 else x @ self.weights.T) + self.offsets

    def reduced(self) -> Selector:
        """Return the selector of 2 K numbers nearest to this one.

        The matrix diag(w) + 1 v^T nearest to W in the Frobenius norm has v_j, the mean of column j without its diagonal
        entry, and w_j = W_jj - v_j. The part 1 v^T adds v . x to all logits, and cancels: where W has this form, the
        reduced selector decides as the full one, and has its probabilities.
        """
        if self.weights.ndim == 1:
            return self
        k = len(self.offsets)
        diagonal = np.diag(self.weights)
        return Selector(diagonal - (self.weights.sum(axis=0) - diagonal) / (k - 1), self.offsets)


def softmax(z: np.ndarray) -> np.ndarray:
    """Return exp(z) divided by its sum over the last axis."""
    e = np.exp(z - z.max(axis=-1, keepdims=True))
    return e / e.sum(axis=-1, keepdims=True)


def selector_loss(selector: Selector, x: np.ndarray, counts: np.ndarray) -> tuple[float, float]:
    """Return the mean of -log p of the true language in nats, and the share of wrong decisions.

    x : scores (n, K); counts : (n, K), how often a row has which language
    """
    z = selector.logits(x)
    loss = -np.sum(counts * np.log(np.maximum(softmax(z), 1e-300))) / counts.sum()
    right = counts[np.arange(len(z)), z.argmax(axis=1)].sum() / counts.sum()
    return float(loss), float(1 - right)


def fit_weights(s: np.ndarray, q: np.ndarray, counts: np.ndarray) -> tuple[float, float]:
    """Return the two weights t, u, not negative, under which softmax(t s + u q + b) has the least loss, with its b.

    s, q : scores (n, K) of grams and of lists; counts : as in :func:`selector_loss`
    """

    def value(p: np.ndarray) -> tuple[float, np.ndarray]:
        loss, g = _loss(p[0] * s + p[1] * q + p[2:], counts)
        return loss, np.concatenate([[np.vdot(g, s), np.vdot(g, q)], g.sum(axis=0)])

    k = s.shape[1]
    found = _minimum(value, np.concatenate([[0.3, 0.9], np.zeros(k)]), [(0.0, None)] * 2 + [(None, None)] * k)
    return float(found[0]), float(found[1])


def fit_selector(x: np.ndarray, counts: np.ndarray, start: float, *, full: bool = False) -> Selector:
    """Return the selector of the least loss plus 1e-5 |w - start|^2: with 2 K numbers, or K x K + K.

    start : the weight of all scores to begin with
    """
    k = x.shape[1]
    size = k * k if full else k
    first = np.concatenate([(start * np.eye(k) if full else np.full(k, start)).ravel(), np.zeros(k)])

    def value(p: np.ndarray) -> tuple[float, np.ndarray]:
        weights, off = p[:size], p[:size] - first[:size]
        loss, g = _loss(Selector(weights.reshape(k, k) if full else weights, p[size:]).logits(x), counts)
        of_weights = (g.T @ x).ravel() if full else np.einsum("nk,nk->k", g, x)
        return loss + 1e-5 * float(off @ off), np.concatenate([of_weights + 2e-5 * off, g.sum(axis=0)])

    found = _minimum(value, first)
    return Selector(found[:size].reshape(k, k) if full else found[:size].copy(), found[size:].copy())


def _loss(z: np.ndarray, counts: np.ndarray) -> tuple[float, np.ndarray]:
    """Return the loss and its gradient with respect to z."""
    total = counts.sum()
    p = softmax(z)
    loss = -np.sum(counts * np.log(np.maximum(p, 1e-300))) / total
    return float(loss), (p * counts.sum(axis=1, keepdims=True) - counts) / total


def _minimum(value: Any, first: np.ndarray, bounds: Any = None) -> np.ndarray:
    from scipy.optimize import minimize

    found = minimize(value, first, jac=True, method="L-BFGS-B", bounds=bounds, options={"maxiter": 100, "ftol": 1e-7})
    return np.asarray(found.x, float)
