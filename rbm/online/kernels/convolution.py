"""Sums over pairs of times: convolutions, and products of two sums that forget."""

from __future__ import annotations

from typing import Any

from rbm.online.kernels.compiler import kernel

__all__ = ["convolve", "least_products"]

#: Shares of the coercivity that pay for the growth of a weight in time, in eighths.
EIGHTHS = (0, 2, 4, 6, 7)
#: Weights in time grow by at most this over all steps.
LARGEST = 1e100
#: What squares that were lost below the smallest numbers count as: more than the roundings of thousands of steps.
LOST = 1e-320


@kernel
def convolve(first: Any, second: Any, out: Any) -> None:
    """Add sum_n sum_{i+j=k} first_ni second_nj to out (M, K), for arrays (M, d, K). Cost: K^2 d flops a point."""
    for m in range(out.shape[0]):
        for n in range(first.shape[1]):
            for i in range(out.shape[1]):
                x = first[m, n, i]
                for j in range(out.shape[1] - i):
                    out[m, i + j] += x * second[m, n, j]


@kernel
def least_products(first: Any, second: Any, scale: Any, rate: Any, out: Any) -> None:
    """Compute min_s (q^{k-1} / ((1 - s) scale)) (a_k b_k)^{1/2} into out (M, K), k = 1 .. K.

        a_k = a_{k-1} / q^2 + first_k^2,    b_k the same of second,    q^2 = 1 + 2 s rate

    first, second : (M, K); scale, rate : (M,)
    """
    for m in range(out.shape[0]):
        for e in EIGHTHS:
            share = e / 8
            growth = 1 + 2 * share * rate[m]
            root, power, a, b = growth**0.5, 1.0, 0.0, 0.0
            started = awake = False
            for k in range(out.shape[1]):
                a = a / growth + first[m, k] * first[m, k]
                b = b / growth + second[m, k] * second[m, k]
                started = started or first[m, k] > 0
                awake = awake or second[m, k] > 0
                a, b = max(a, LOST if started else 0.0), max(b, LOST if awake else 0.0)
                made = power / ((1 - share) * scale[m]) * (a**0.5 * b**0.5)
                if e == 0 or made < out[m, k]:
                    out[m, k] = made
                power *= root
                if not power < LARGEST:
                    break
