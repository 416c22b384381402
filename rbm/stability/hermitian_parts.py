"""Hermitian parts of operator terms in the units of the inner product, and eigenvalues of their sums that are shown.

For theta = sum of real and imaginary parts, H(A) = (A + A^H) / 2,

    H(sum_q theta_q A_q) = sum_q Re theta_q H(A_q) + sum_q Im theta_q H(i A_q):

a sum of Hermitian matrices with real coefficients. Eigenvalues against the product P come from an eigensolver, which
may be wrong; an elimination of H - t P with positive pivots then shows that none lies below t, up to its own rounding
(:mod:`rbm.solvers.definite`), which is subtracted.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.linalg
import scipy.sparse as sp
import scipy.sparse.linalg as spla

from rbm.affine.inner_product import InnerProduct
from rbm.affine.system import AffineSystem
from rbm.arithmetic.precision import ROUND_OFF
from rbm.errors import StabilityError
from rbm.solvers.definite import definiteness_error, hermitian_part, norm_bound, semidefinite_slack
from rbm.solvers.factorization import solve_function, symmetric_lu
from rbm.stability.alternatives import for_any_model

__all__ = [
    "HermitianPart",
    "combined_part",
    "hermitian_parts",
    "minimiser",
    "not_coercive",
    "range_of",
    "shown_minimum",
]

#: Up to this dimension eigenvalues come from dense linear algebra.
DENSE_LIMIT = 1000
#: A part this much smaller than its term, in balanced units, is rounding; it is charged by its norm.
NOTHING = 1e-12
#: A semi-definite part whose range does not begin within this share of its size is definite.
DEFINITE = 1e-3
#: Relative tolerance of the iterations for constants, and for ends of ranges, where eigenvalues often lie close
#: together; errors of the values are about the squares.
TOLERANCE, TOLERANCE_OF_ENDS = 1e-6, 1e-3
#: How far below an estimate the first proof is tried, dense and sparse.
MARGINS = 1e-9, 1e-7


@dataclass(frozen=True)
class HermitianPart:
    """H(A_q), or H(i A_q), divided by 2^exponent, in the units of the product."""

    matrix: Any  #: (n, n), exactly Hermitian
    error: float  #: a bound of the norm of what it is off by
    exponent: int
    term: int  #: q
    imaginary: bool  #: H(i A_q)

    @property
    def size(self) -> float:
        """A proved bound of the norm of the exact part, divided by 2^exponent."""
        return norm_bound(self.matrix) + self.error

    @property
    def name(self) -> str:
        """What messages call it."""
        return f"the Hermitian part of {'i times ' if self.imaginary else ''}operator term {self.term}"


def hermitian_parts(system: AffineSystem, imaginary: bool) -> tuple[list[HermitianPart], np.ndarray]:
    """Return the parts that are not zero, and what |Re theta_q|, |Im theta_q| cost for all others, (2 Qa,).

    imaginary : whether coefficients are complex. If they are not, H(i A_q) is not computed, and an imaginary part that
        comes all the same costs the norm of A_q

    Raises StabilityError if a term shows no entries.
    """
    inner, count = system.inner_product, len(system.operator_terms)
    made, losses = [], np.zeros(2 * count)
    for q, term in enumerate(system.operator_terms):
        if not (sp.issparse(term) or isinstance(term, np.ndarray)):
            raise StabilityError(
                f"SCM needs the entries of operator term {q}, which is a {type(term).__name__}; give the bound as a "
                "number or an expression instead"
            )
        whole, exponent = inner.in_units_scaled(term)
        size = norm_bound(whole)
        for part in (False, True):
            h = hermitian_part(1j * whole if part else whole)
            if norm_bound(h) == 0:
                continue
            one = _part(h, 1j * whole if part else whole, inner, exponent, q, part)
            if (part and not imaginary) or norm_bound(h) <= NOTHING * size:
                losses[q + count * part] = _unscaled(one.size / inner.units.smallest * (1 + 8 * ROUND_OFF), one)
            else:
                made.append(one)
    return made, losses


def _part(h: Any, given: Any, inner: InnerProduct, exponent: int, term: int, imaginary: bool) -> HermitianPart:
    """Return h, the rounded Hermitian part of a matrix that is given in balanced units, in the units of the product."""
    taken, error = inner.units.take(h)
    if abs(h - given).max() > 0:  # halves and their sum are exact where the matrix is Hermitian already
        error += 4 * ROUND_OFF * norm_bound(inner.units.size(h))
    return HermitianPart(taken, error, exponent, term, imaginary)


def _unscaled(value: float, part: HermitianPart) -> float:
    with np.errstate(over="ignore"):
        made = float(np.ldexp(value, part.exponent))
    if not np.isfinite(made):
        raise StabilityError(
            f"{part.name} is about 2^{part.exponent} times the product, beyond the range of double precision; choose "
            "other units for it, or for the product"
        )
    return made


def range_of(part: HermitianPart, inner: InnerProduct) -> tuple[float, float]:
    """Return lo <= w^H H w / w^H P w <= hi for all w, of the part divided by 2^exponent; proved.

    Cost: two eigenvalues and a factorisation each, or the factorisation alone where the part is semi-definite.
    """
    smallest, room = inner.units.smallest, part.size / inner.units.smallest * (1 + 8 * ROUND_OFF)
    slacks = {sign: _slack(part, sign, inner) for sign in (1.0, -1.0)}
    estimates = {
        sign: _outermost(sign * part.matrix, inner, part.name) for sign, slack in slacks.items() if slack is None
    }
    scale, ends = max(map(abs, estimates.values()), default=0.0), []
    for sign, slack in slacks.items():
        away = sign * part.matrix - DEFINITE * scale * inner.units.product
        if slack is not None and scale > 0 and definiteness_error(away, inner.prove) is not None:  # zero is not the end
            slacks[sign], estimates[sign] = None, _outermost(sign * part.matrix, inner, part.name)
    for sign, slack in slacks.items():
        if slack is not None:  # semi-definite up to rounding: the end of the range is zero
            low: float | None = -(slack + part.error) / smallest * (1 + 8 * ROUND_OFF)
        else:
            low = shown_minimum(
                sign * part.matrix, part.error, estimates[sign], max(abs(estimates[sign]), 1e-3 * scale), inner
            )
        # what cannot be shown in a few steps is bounded by the norm
        ends.append(sign * (-room if low is None else max(low, -room)))
    return ends[0], ends[1]


def _slack(part: HermitianPart, sign: float, inner: InnerProduct) -> float | None:
    """Return s >= 0, small, with sign H >= -s I proved; None where there is none, or a negative vector is at hand."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((part.matrix.shape[0], 4))
    values, sizes = ((x * (m @ x)).sum(axis=0).real for m in (part.matrix, abs(part.matrix)))
    return (
        None if np.any(sign * values < -1e-8 * np.abs(sizes)) else semidefinite_slack(sign * part.matrix, inner.prove)
    )


def combined_part(theta: np.ndarray, parts: Sequence[HermitianPart]) -> tuple[Any, float]:
    """Return S = sum_p theta_p H_p in the units of the product, and a bound of the norm of its error.

    theta : coefficients (Q,) of the parts *divided by* 2^exponent
    """
    total, size, error = 0.0 * parts[0].matrix, 0.0 * abs(parts[0].matrix), 0.0
    for weight, part in zip(theta, parts, strict=True):
        total, size = total + float(weight) * part.matrix, size + abs(float(weight)) * abs(part.matrix)
        error += abs(float(weight)) * part.error
    return total, (error + (2 * len(parts) + 8) * ROUND_OFF * norm_bound(size)) * (1 + 8 * ROUND_OFF)


def shown_minimum(matrix: Any, error: float, estimate: float, scale: float, inner: InnerProduct) -> float | None:
    """Return a proved t <= w^H S w / w^H P w for all w, near an estimate that may be too large; None if there is none.

    matrix : S (n, n) in the units of the product, right up to a norm of `error`
    scale : of the estimate; the proof is tried at estimate - margin scale, with growing margins up to 1

    Cost: one factorisation, as a rule.
    """
    units = inner.units
    margin, largest = MARGINS[matrix.shape[0] > DENSE_LIMIT], norm_bound(matrix)
    while margin <= 1:
        at = estimate - margin * scale
        left = definiteness_error(matrix - at * units.product, inner.prove)
        if left is not None:
            rounding = 4 * ROUND_OFF * (largest + abs(at) * units.largest) + error + abs(at) * units.product_error
            low = at - (left + rounding) / units.smallest
            return low - 8 * ROUND_OFF * (abs(at) + abs(low))
        margin *= 10
    return None


def minimiser(matrix: Any, inner: InnerProduct, at: str) -> tuple[float, np.ndarray]:
    """Return the smallest eigenvalue of S w = lambda P w and its vector (n,), in the units of the product; an estimate.

    S is positive definite. Raises StabilityError, which names the parameter `at`, where it is not, or the iteration
    fails. Cost: a factorisation and some twenty solves; dense up to 1000 unknowns.
    """
    n, product = matrix.shape[0], inner.units.product
    try:
        if n <= DENSE_LIMIT:
            values, vectors = scipy.linalg.eigh(_dense(matrix), _dense(product), subset_by_index=[0, 0])
            return float(values[0]), vectors[:, 0]
        lu = symmetric_lu(matrix) if sp.issparse(matrix) else None
        if lu is None or (np.array_equal(lu.perm_r, lu.perm_c) and np.all(lu.U.diagonal().real > 0)):
            solve = (
                solve_function(lu, matrix)
                if lu is not None
                else _dense_solve(scipy.linalg.cho_factor(matrix, check_finite=False))
            )
            options = _options(matrix, product) | {"sigma": 0.0, "which": "LM", "OPinv": _operator(solve, matrix)}
            values, vectors = spla.eigsh(matrix, **options)
            return float(values[0].real), vectors[:, 0]
    except (np.linalg.LinAlgError, RuntimeError) as error:  # ArpackError is a RuntimeError
        if isinstance(error, spla.ArpackError):
            raise StabilityError(
                f"the eigensolver did not find the smallest eigenvalue at {at} ({error}); choose another inner "
                "product, or leave this parameter out of the training points"
            ) from error
    raise StabilityError(not_coercive(at, inner))


def not_coercive(at: str, inner: InnerProduct, value: float | None = None) -> str:
    """Return the message about a point where the Hermitian part is not positive definite."""
    found = "is not positive definite" if value is None else f"has the smallest eigenvalue {value:.3g} against P, which"
    found = f"{found} cannot be proved to be positive" if value is not None else found
    return (
        f"SCM needs a coercive model, but the Hermitian part of A(mu) {found} at {at}: narrow the parameter ranges, or "
        f"use {for_any_model(inner.matrix)}"
    )


def _outermost(matrix: Any, inner: InnerProduct, name: str) -> float:
    """Return the smallest eigenvalue of H w = lambda P w, an estimate; Lanczos with the inverse of P."""
    product = inner.units.product
    try:
        if matrix.shape[0] <= DENSE_LIMIT:
            return float(
                scipy.linalg.eigh(_dense(matrix), _dense(product), eigvals_only=True, subset_by_index=[0, 0])[0]
            )
        solve, s = inner.factorized(), inner.balance[:, None]
        options = _options(matrix, product) | {
            "which": "SA",
            "Minv": _operator(lambda x: solve(x / s) / s, matrix),
            "return_eigenvectors": False,
            "tol": TOLERANCE_OF_ENDS,
            "ncv": 60,
        }
        return float(spla.eigsh(matrix, **options)[0].real)
    except (np.linalg.LinAlgError, spla.ArpackError) as error:
        raise StabilityError(
            f"the eigensolver did not find the range of {name} ({error}); choose another inner product"
        ) from error


def _options(matrix: Any, product: Any) -> dict[str, Any]:
    start = np.random.default_rng(0).standard_normal(matrix.shape[0])
    dtype = np.result_type(matrix.dtype, product.dtype, float)
    return {"k": 1, "M": product, "v0": start.astype(dtype), "tol": TOLERANCE}


def _operator(solve: Any, matrix: Any) -> Any:
    n = matrix.shape[0]
    dtype = np.result_type(matrix.dtype, float)

    def apply(x: np.ndarray) -> np.ndarray:
        return solve(np.asarray(x, dtype=dtype).reshape(n, -1)).reshape(x.shape)

    return spla.LinearOperator((n, n), matvec=apply, dtype=dtype)


def _dense_solve(factor: Any) -> Any:
    return lambda rhs: scipy.linalg.cho_solve(factor, rhs)


def _dense(matrix: Any) -> np.ndarray:
    return matrix.toarray() if sp.issparse(matrix) else matrix
