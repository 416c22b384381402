"""The floor of the page: what the rounding of its sums may hide, proved for the loops in rbm/show/page/.

JavaScript's numbers are IEEE doubles; + - * / and Math.sqrt round once, to nearest, and nothing is fused or reordered.
So the standard model holds with u = 2^-53, for every browser. What differs from browser to browser is the last bit of
Math.exp, Math.sin and their like: as in Python, theta(mu) is what the formula gives there.

The residual norm (rbm/show/page/residual.js) with m = Qf + Qa N terms and a factor R (k, m):

    c_j        one product of doubles, u relative; complex: four products, a sum and a difference, 2 sqrt(2) u < 3 u
    (R c)_i    m products summed from left to right: at most m u of sum_j |R_ij c_j|; the zeros of a row that are not
               stored are products with 0, which round nothing. Complex: the real and the imaginary part are sums of 2 m
               products each, in one accumulator: 2 m u of sum_j |R_ij| |c_j| for each, together 2 sqrt(2) m u < 3 m u
    R c        off by those, in the norm: by the triangle inequality sum_j ||R_j|| |c_j| bears the same factor
    ||.||_2    entries divided by the largest (u), squares (u), their sum (k u, complex 2 k u), root, product (u each):
               at most (k / 2 + 3) u relative, complex (k + 3) u

So the sums are off by (m + 1) u of s = sum_j ||W_j|| |c_j|, complex 3 (m + 1) u; `weights` charge (m + 4) u, complex
3 (m + 4) u: the remaining 3 u are for 1 / beta, the product with it, and value + floor. `relative` charges (k + 4) u,
complex 3 (k + 4) u. The floor itself is a rounded sum of m products with moduli, which are off by 3 u or less
(`modulus` in rbm/show/page/arrays.js): the factor 1 + (m + 4) u of the weights, complex 1 + 3 (m + 4) u, makes up for
that. Terms of order (m u)^2 are left to the factor SAFETY on the measured defects, as in Python.

These are the constants of :class:`rbm.estimators.Orthonormal` for plain sums: they hold in any order of summation. The
page has no compensated sums, so where Python evaluates again, its floor is lower; the page then says "not resolved"
more often, and its bound is larger.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from rbm.arithmetic.precision import ROUND_OFF, underflow_of_sums
from rbm.estimators import Orthonormal
from rbm.estimators.base import rounding_constant, underflow
from rbm.estimators.residual_factor import SAFETY
from rbm.show.page.encoded import encoded

__all__ = ["energy_unit", "estimator_data", "linear_rounding", "quadratic_unit"]


def estimator_data(state: Orthonormal, is_complex: bool) -> dict[str, Any]:
    """Return R and the floor of its sums: floor = sum_j weights_j |c_j| + relative value + constant.

    is_complex : whether the page forms complex sums

    Of each row only what is behind its leading zeros is stored, one row after the other, and where it starts.
    """
    factor, norms, defects = state.factor, state.norms, state.defects
    k, m = factor.shape
    dtype = np.dtype(complex if is_complex else float)
    unit = rounding_constant(m, dtype)
    weights = (1 + unit) * (SAFETY * defects + unit * norms)
    weights = np.where(norms + defects > 0, weights + np.finfo(float).tiny, 0.0)
    relative = SAFETY * float(state.orthogonality) + rounding_constant(k, dtype)
    starts = np.where((factor != 0).any(axis=1), (factor != 0).argmax(axis=1), m)
    rows = [row[start:] for row, start in zip(factor, starts, strict=True)]
    return {
        "rows": encoded(np.concatenate([*rows, np.zeros(0, factor.dtype)])),
        "starts": starts.tolist(),
        "weights": encoded(weights),
        "relative": relative,
        "constant": (1 + relative) * underflow(k) + underflow_of_sums(norms),
    }


def linear_rounding(vectors: np.ndarray, rounding: np.ndarray | None) -> np.ndarray:
    """Return (Ql, N): the rounding of a linear output is at most sum_ln |psi_l| rounding_ln |gamma_n|.

    psi_l l_ln is summed over l, its products with gamma_n over n: Ql + N roundings of real numbers in all, complex
    2 sqrt(2) times as many, and 3 (N + Ql + 4) u is more. `rounding` are errors of the vectors themselves.
    """
    count, size = vectors.shape
    online = 3 * (size + count + 4) * ROUND_OFF * np.abs(vectors)
    return online if rounding is None else online + (1 + 2.0**-20) * rounding


def energy_unit(size: int, terms: int) -> float:
    """Return 6 (N + Q + 8) u, relative to the absolute terms of gamma^H (f_N - A_N gamma), Q terms in all.

    A form is a sum of N products in a sum of N products, its factor theta_q and the sum of Q forms: 2 N + Q + 1
    roundings of real numbers; complex sums of N are off by 2 sqrt(2) N u each, together by less than 6 (N + Q) u.
    """
    return 6 * (size + terms + 8) * ROUND_OFF


def quadratic_unit(size: int, terms: int) -> float:
    """Return 16 (N + 2 + Ql)^(3/2) u: the rounding of quadratic outputs, relative to sum_q |psi_q| ||Q_q|| ||z||^2."""
    return 16 * (size + 2 + terms) ** 1.5 * ROUND_OFF
