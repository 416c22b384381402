"""The terms of a min-theta bound, and its constant: the coercivity of their sum at the reference, proved."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.linalg
import scipy.sparse as sp
import scipy.sparse.linalg as spla

from rbm.affine.inner_product import InnerProduct
from rbm.affine.units import PROOF_LIMIT
from rbm.arithmetic.precision import ROUND_OFF
from rbm.errors import StabilityError
from rbm.solvers import definite
from rbm.solvers.updated import user_solve
from rbm.stability.alternatives import for_any_model
from rbm.stability.low_rank_parts import LowRankPart, coercivity_with_low_rank

__all__ = ["SKEW", "TermPart", "coercivity", "measured_slack"]

#: Up to this dimension the constant comes from a dense eigenvalue problem.
DENSE_LIMIT = 1000
#: A term is skew-Hermitian if its Hermitian part is at most this share of it, in balanced units; that part is charged.
SKEW = 1e-12
#: Vectors of the Krylov space in which a negative eigenvalue is looked for, and the share of the norm from which it is
#: one, where definiteness is measured.
STEPS, NEGATIVE = 40, 1e-10
#: The constant is taken from || H - P || where that costs no more than this.
CLOSE = 1e-3


@dataclass(frozen=True)
class TermPart:
    """The Hermitian part H of an operator term, scaled to unit size, as it is and in the units of the product."""

    original: Any  #: H
    part: Any  #: 2^-exponent T^H H T
    error: float  #: a bound of the norm of what `part` is off by: H was rounded, and perhaps transformed
    exponent: int
    skew: bool  #: H is nothing but rounding
    balance: np.ndarray | None  #: of the product; None in whitened units
    inner: InnerProduct  #: whose solver proves what is definite, if it can

    @classmethod
    def of(cls, q: int, term: Any, inner: InnerProduct) -> TermPart:
        """Make it from a term as the user gave it. Raises StabilityError if the term shows no entries."""
        if not (sp.issparse(term) or isinstance(term, np.ndarray)):
            raise StabilityError(
                f"min-theta needs the entries of operator term {q}, which is a {type(term).__name__}; "
                "give the bound as a number or an expression instead"
            )
        units = inner.units
        whole, exponent = inner.in_units_scaled(term)
        scaled_part = definite.hermitian_part(whole)
        part, error = units.take(scaled_part)
        if abs(scaled_part - whole).max() > 0:
            error += 2 * ROUND_OFF * definite.norm_bound(units.size(scaled_part))
        skew = definite.norm_bound(scaled_part) <= SKEW * definite.norm_bound(whole)
        balance = None if units.transform is not None else inner.balance
        return cls(definite.hermitian_part(term), part, error, exponent, skew, balance, inner)

    def slack(self, q: int) -> float:
        """Return a proved s >= 0 with 2^-exponent H >= -s I in these units.

        Raises StabilityError if rounding is no excuse for it.
        """
        size = definite.norm_bound(self.part)
        if self.skew:
            return size + self.error
        slack = measured_slack(self.part) if not self.inner.proved else self._proved_slack(1.0)
        if slack is not None and slack > 0 and self.balance is not None:
            # row sums may be small in the units in which the term was assembled
            dominance = float(np.ldexp(definite.dominance_slack(self.original, self.balance), -self.exponent))
            slack = dominance if dominance < slack else slack
        if slack is None:
            negative = self.inner.proved and self._proved_slack(-1.0) is not None
            remedy = "move its sign into the coefficient" if negative else "take it apart into semi-definite terms"
            raise StabilityError(
                f"min-theta does not apply: the Hermitian part of operator term {q} is not positive semi-definite; "
                f"{remedy}, or give another lower bound: {for_any_model(self.original)}, or a number or expression "
                "that is known"
            )
        return slack + self.error

    def _proved_slack(self, sign: float) -> float | None:
        return definite.semidefinite_slack(sign * self.part, self.inner.prove)


def measured_slack(matrix: Any) -> float | None:
    """Return s >= 0 with H + s I >= 0 as far as Lanczos sees, None if H has a clearly negative eigenvalue.

    For matrices that are too large to be factorised: dominant diagonals prove it where they can; else it is *measured*:
    the smallest Ritz value of a Krylov space of 40 vectors, its negative part doubled. Said in docs/solvers.md.
    """
    size = definite.norm_bound(matrix)
    dominance = definite.dominance_slack(matrix)
    if dominance <= definite.DOMINANT * ROUND_OFF * size:
        return dominance
    start = np.random.default_rng(0).standard_normal(matrix.shape[0])
    options = {"k": 1, "which": "SA", "v0": start, "ncv": STEPS, "maxiter": 2, "return_eigenvectors": False}
    try:
        lowest = float(spla.eigsh(matrix, **options)[0].real)
    except (
        spla.ArpackNoConvergence
    ) as error:  # as a rule: zero is an eigenvalue of many vectors, and none is singled out
        x = start / np.linalg.norm(start)
        values = [*error.eigenvalues, _lowest(matrix, x)]
        lowest = float(min(np.real(values)))
    return 2 * max(-lowest, 0.0) + definite.DOMINANT * ROUND_OFF * size if lowest > -NEGATIVE * size else None


def _lowest(matrix: Any, x: np.ndarray) -> float:
    """Return the smallest Ritz value of the Krylov space of STEPS vectors that x (n,) starts."""
    diagonal, beside, before, last = [], [], np.zeros_like(x), 0.0
    for _ in range(min(STEPS, len(x))):
        image = matrix @ x - last * before
        diagonal.append(float(np.vdot(x, image).real))
        image = image - diagonal[-1] * x
        last = float(np.linalg.norm(image))
        if not last > 0:
            break
        beside.append(last)
        before, x = x, image / last
    return float(scipy.linalg.eigvalsh_tridiagonal(diagonal, beside[: len(diagonal) - 1])[0])


def coercivity(used: list[tuple[float, Any]], inner: InnerProduct) -> float:
    """Return the constant of all terms: that of the matrices alone, to which low-rank terms can only add, if it is > 0.

    What low-rank terms lack of being semi-definite is left to the caller.
    """
    parts = [(weight, t) for weight, t in used if isinstance(t, LowRankPart)]
    matrices = [(weight, t) for weight, t in used if not isinstance(t, LowRankPart)]
    try:
        return _of_matrices(matrices, inner)
    except StabilityError:
        if not (matrices and any(t.exact for _, t in parts) and sp.issparse(inner.matrix)):
            raise
        if inner.units.transform is not None or not all(sp.issparse(t.part) for _, t in matrices):
            raise
    total, _, rounding = _total(matrices)
    return coercivity_with_low_rank(sp.csr_array(total), parts, inner, rounding)


def _total(weighted: list[tuple[float, TermPart]]) -> tuple[Any, Any, float]:
    """Return H, a matrix of the sizes of what its entries are sums of, and a bound of the norm of its rounding."""
    total, size, error = 0.0 * weighted[0][1].part, 0.0 * abs(weighted[0][1].part), 0.0
    for given, term in weighted:
        weight = float(np.ldexp(given, term.exponent))
        total, size = total + weight * term.part, size + abs(weight) * abs(term.part)
        error += abs(weight) * term.error
    return total, size, error + (2 * len(weighted) + 8) * ROUND_OFF * definite.norm_bound(size)


def _of_matrices(weighted: list[tuple[float, TermPart]], inner: InnerProduct) -> float:
    """Return a proved lower bound c of the smallest lambda in H x = lambda P x, H = sum_q weight_q H_q.

    H >= t P - ||H - t P|| if H is close to a multiple of P; else an eigenvalue estimate, which may be too large, is
    lowered until an elimination shows H - c P to be positive definite. Both are lowered by what rounding may hide, over
    the smallest eigenvalue of P.
    """
    units = inner.units
    if not weighted:
        raise StabilityError("min-theta needs a coercive model, but all terms but low-rank ones are skew-Hermitian")
    total, size, rounding = _total(weighted)
    if not np.isfinite(definite.norm_bound(size)):
        raise StabilityError(
            "min-theta: A(mu_ref) is beyond the range of double precision in units of the product; choose other units"
        )
    # of H - c P below
    of_product = units.product_error + 4 * ROUND_OFF * units.largest
    multiple = float(total.diagonal().real.sum() / units.product.diagonal().real.sum())
    away = definite.norm_bound(total - multiple * units.product) + rounding + multiple * of_product
    close = multiple - away / units.smallest
    if close >= (1 - CLOSE) * multiple > 0:
        return close * (1 - 8 * ROUND_OFF)
    estimate, margin = _estimate(total, units.product, inner)
    if not inner.proved and estimate > 0:
        return estimate / 2  # measured: the solver of the user proves nothing, and ours may not fit
    while margin < 1:
        constant = estimate * (1 - margin)
        left = definite.definiteness_error(total - constant * units.product, inner.prove) if constant > 0 else None
        if left is not None:
            proved = constant - (left + rounding + constant * of_product) / units.smallest
            if proved > 0:
                return proved * (1 - 8 * ROUND_OFF)
        margin *= 10
    raise StabilityError(
        "min-theta needs a coercive model, but the smallest eigenvalue of the Hermitian part of A(mu_ref) against the "
        f"product is about {estimate:.3g}, and cannot be proved to be positive in double precision"
    )


def _estimate(matrix: Any, product: Any, inner: InnerProduct) -> tuple[float, float]:
    """Return the smallest eigenvalue, and the relative margin to start with."""
    if matrix.shape[0] <= DENSE_LIMIT:
        a, p = definite.dense(matrix), definite.dense(product)
        try:
            return float(scipy.linalg.eigh(a, p, eigvals_only=True, subset_by_index=[0, 0])[0]), 1e-9
        except np.linalg.LinAlgError as error:
            raise StabilityError(f"min-theta could not compute its constant: {error}; give it as constant=") from error
    start = np.random.default_rng(0).standard_normal(matrix.shape[0])
    options: dict[str, Any] = {"sigma": 0, "which": "LM", "v0": start, "return_eigenvectors": False, "tol": 1e-3}
    if (solver := inner.solver) is not None and matrix.shape[0] > PROOF_LIMIT:
        solve = user_solve(solver, sp.csr_array(matrix))
        options["OPinv"] = spla.LinearOperator(
            matrix.shape, matvec=lambda x: solve(x.reshape(-1, 1)).ravel(), dtype=matrix.dtype
        )
    try:
        values = spla.eigsh(sp.csc_array(matrix), k=1, M=sp.csc_array(product), **options)
    except (spla.ArpackError, RuntimeError) as error:
        raise StabilityError(f"min-theta could not compute its constant: {error}; give it as constant=") from error
    return float(values[0]), 1e-3
