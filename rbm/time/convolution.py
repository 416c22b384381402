"""Sums over pairs of times: an answer to an impulse against what came before."""

from __future__ import annotations

import numpy as np

__all__ = ["convolution", "faded_products"]


def convolution(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Return sum_{i + j = k} first_i . second_j (M, K) for k = 0 .. K - 1, from two arrays (M, K, d).

    Compiled. Cost: d K^2 flops a point; no memory but copies of the arguments.
    """
    from rbm.online.kernels.convolution import convolve  # loads Numba

    kind = np.result_type(first, second)
    turned = [np.ascontiguousarray(a.transpose(0, 2, 1), dtype=kind) for a in (first, second)]
    out = np.zeros(first.shape[:2], kind)
    convolve(*turned, out)
    return out


def faded_products(first: np.ndarray, second: np.ndarray, scale: np.ndarray, rate: np.ndarray) -> np.ndarray:
    """Return, for k = 1 .. K, the least over s of (q^{k-1} / ((1 - s) scale)) (a_k b_k)^{1/2}, (M, K).

        a_k = sum_{i<=k} q^{-2 (k-i)} first_i^2,    b_k the same of second,    q^2 = 1 + 2 s rate,
        s = 0, 1/4, 1/2, 3/4, 7/8

    first, second : (M, K), not negative; scale, rate : (M,). With s = 0 it is never above (sum first^2)^{1/2}
    (sum second^2)^{1/2} / scale. Weights that would grow beyond 1e100 are left out. The result is rounded by at most
    8 (K + 8) u.
    """
    from rbm.online.kernels.convolution import least_products  # loads Numba

    out = np.empty(first.shape)
    with np.errstate(over="ignore"):
        given = (np.ascontiguousarray(a, dtype=float) for a in (first, second, scale, rate))
        least_products(*given, out)
    return out
