"""Sums over pairs of times: an answer to an impulse against what came before."""

from __future__ import annotations

import numpy as np

__all__ = ["convolution", "faded_products"]

#: Shares of the coercivity that pay for the growth of a weight in time.
SHARES = (0.0, 0.25, 0.5, 0.75, 0.875)
#: Weights in time grow by at most this over all steps.
LARGEST = 1e100


def convolution(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Return sum_{i + j = k} first_i . second_j (M, K) for k = 0 .. K - 1, from two arrays (M, K, d).

    All products are one matrix product a point, whose antidiagonals are summed. Cost: 2 K^2 (d + 1) flops a point,
    2 K^2 numbers of memory.
    """
    count, steps, _ = first.shape
    products = first @ second.transpose(0, 2, 1)
    shifted = np.zeros((count, steps, 2 * steps), products.dtype)
    shifted[:, :, :steps] = products
    # rows of 2 K - 1 numbers in place of 2 K move each row by one more than the row before
    flat = shifted.reshape(count, 2 * steps * steps)[:, : steps * (2 * steps - 1)]
    return flat.reshape(count, steps, 2 * steps - 1)[:, :, :steps].sum(axis=1)


def faded_products(first: np.ndarray, second: np.ndarray, scale: np.ndarray, rate: np.ndarray) -> np.ndarray:
    """Return, for k = 1 .. K, the least over s of (q^{k-1} / ((1 - s) scale)) (a_k b_k)^{1/2}, (M, K).

        a_k = sum_{i<=k} q^{-2 (k-i)} first_i^2,    b_k the same of second,    q^2 = 1 + 2 s rate

    first, second : (M, K), not negative; scale, rate : (M,). s = 0 is among those tried, so that the result is never
    above (sum first^2)^{1/2} (sum second^2)^{1/2} / scale. The result is rounded by at most 8 (K + 8) u.
    """
    count, steps = first.shape
    made = np.full((count, steps), np.inf)
    for share in SHARES:
        growth = 1 + 2 * share * rate
        exponent = 0.5 * np.arange(steps) * np.log(growth)[:, None]
        fits = exponent[:, -1:] <= np.log(LARGEST)
        a, b = (_faded(values, 1 / growth) for values in (first, second))
        with np.errstate(over="ignore", invalid="ignore"):
            product = np.exp(np.where(fits, exponent, np.inf)) * np.sqrt(a) * np.sqrt(b)
            made = np.fmin(made, product / ((1 - share) * scale)[:, None])
    return made


def _faded(values: np.ndarray, factor: np.ndarray) -> np.ndarray:
    """Return a_k = factor a_{k-1} + values_k^2 (M, K) for a factor (M,)."""
    sums = values**2
    for k in range(1, sums.shape[1]):
        sums[:, k] += factor * sums[:, k - 1]
    return sums
