"""Checks whether a stability bound is too large. A vector shows that it is, the signs of pivots show that it is not."""

from __future__ import annotations

import contextlib
import math
from concurrent.futures import Executor
from typing import Any, NamedTuple

import numpy as np
import scipy.linalg
import scipy.sparse as sp

from lowrank import gram_schmidt
from rbm.affine.inner_product import InnerProduct
from rbm.affine.system import AffineSystem, residual_norm
from rbm.arithmetic import extended
from rbm.arithmetic.precision import ROUND_OFF, SMALL, column_norm_bounds, exponents_of, scaled
from rbm.errors import ModelError, StabilityError
from rbm.estimate import RESOLVED
from rbm.solvers.choice import prover
from rbm.solvers.definite import definiteness_error, dense, hermitian_part
from rbm.solvers.factorization import Solve, factorize
from rbm.solvers.updated import UpdatedMatrix, user_solve
from rbm.workers.crew import Crew

__all__ = ["check_stability", "effectivity", "inf_sup_above"]

#: Up to this dimension the inf-sup constant is computed by a dense decomposition.
DENSE_LIMIT = 600
#: Relative amount by which a bound may be above the constant before it is called too large.
SLACK = 1e-8
#: Relative error of the square of a true error that is only compared with a bound (proved, as NumPy sums in pairs).
CLOSE = 1e-6
#: Vectors of the Krylov space in which the smallest quotient is looked for.
STEPS = 20


def inf_sup_above(system: AffineSystem, theta: np.ndarray, vector: np.ndarray) -> float:
    """Return an upper bound of the inf-sup constant, the quotient ||A v||_{P'} / ||v||_P of a vector v (n,).

    beta = inf_w ||A w||_{P'} / ||w||_P, so any v that is not zero bounds beta from above.

    theta : coefficients (Qa,) of A = sum_q theta_q A_q

    The norm of A v is that of E1 with zero for right-hand side, its floor added, and from ||v||_P its rounding is
    subtracted: the quotient is never too small, whatever the conditions of A and P are; infinite where P is so
    ill-conditioned that nothing of ||v||_P is known (for operators without entries their rounding is sampled). Cost:
    four solves with P.
    """
    product = system.inner_product
    v = vector[:, None]
    # the quotient is the same, and no square leaves the range
    v = scaled(v, -exponents_of(v / product.balance[:, None]))
    norm = product.norm(v)[0]
    square = norm**2 - float((np.abs(v) * extended.rounding(product.split, v)).sum())
    if not square > 0:
        return math.inf
    value, floor = residual_norm(system, v, theta[None], np.zeros((1, system.rhs_terms.shape[1])), np.ones((1, 1)))
    return float((value[0] + floor[0]) / math.sqrt(square) * (1 + 1e-12))


def effectivity(
    system: AffineSystem,
    mu: np.ndarray,
    theta: np.ndarray,
    beta: float,
    solution: np.ndarray,
    approximation: np.ndarray,
    bound: float,
) -> float:
    """Return bound / ||u - u_N||_P at one parameter point mu (p,), from u (n,) and u_N (n,).

    It is NaN if the error is not known to ten percent; else right to one in a million.

    theta : (Qa,); beta : the stability bound that `bound`, of ||u - u_N||_P for this affine model, was made with

    Rounding, some u of every entry, moves the error by about 4 u (sum_i P_ii |u_i|^2)^{1/2}. If the bound is below what
    remains, the difference of the two vectors bounds the inf-sup constant from above (:func:`inf_sup_above`), whatever
    rounding did to it: no bound that is right is accused. An estimate that is too small although beta is right gives an
    effectivity below 1.

    Raises StabilityError if beta is above the inf-sup constant. Cost: one product with P; four solves with P in case of
    doubt.
    """
    difference = solution - approximation
    error = _norm(system.inner_product, difference) if np.any(difference) else 0.0
    size = column_norm_bounds((solution / system.inner_product.balance)[:, None])
    uncertainty = 2 * np.finfo(float).eps * float(size[0])
    if bound < error - uncertainty:
        above = inf_sup_above(system, theta, difference)
        if beta > above * (1 + SLACK):
            raise StabilityError(
                f"the stability bound {beta:.6g} at {system.parameters.describe(mu)} is too large by a factor of "
                f"{beta / above:.6g} or more: the inf-sup constant there is at most {above:.6g}, as the error of the "
                f"reduced solution shows, which is {error:.2e} where its bound is {bound:.2e}. Lower the stability "
                "bound at least by that factor (rbm.stability.MinTheta without constant=, SCM, Pencil and NaturalNorm "
                "compute one); "
                "verify() checks it at other parameters"
            )
    return bound / error if error > RESOLVED * uncertainty else math.nan


def _norm(product: InnerProduct, vector: np.ndarray) -> float:
    """Return ||v||_P of a vector v (n,), whose square is right to one in a million at least.

    Summed in double precision, and in pairs as NumPy does, v^H P v is off by at most (K + 64) u |v|^H |P| |v|, with K
    entries in a row of P, and |v|^H |P| |v| <= || |S P S| ||_2 ||S^-1 v||_2^2. Where that is too much, the product is
    formed in extended precision.
    """
    with np.errstate(over="ignore", invalid="ignore"):  # sums that overflow are not used
        square = float((vector.conj() * (product.matrix @ vector)).real.sum())
        size = column_norm_bounds((vector / product.balance)[:, None])[0]
        off = 4 * (product.split.terms + 64) * ROUND_OFF * product.largest_eigenvalue * size * size
    if SMALL < square < 1 / SMALL and off < CLOSE * square:
        return math.sqrt(square)
    return float(product.norm(vector[:, None])[0])


class _Claimed(NamedTuple):
    """What workers get once, who are told theta and beta of a point."""

    system: AffineSystem
    factor: np.ndarray | None  #: L of P = L L^H for small models


def check_stability(
    system: AffineSystem,
    mus: np.ndarray,
    theta: np.ndarray,
    beta: np.ndarray,
    rng: np.random.Generator,
    executor: Executor | None = None,
) -> str:
    """Compare the bounds beta (M,) with the inf-sup constants at mus (M, p); return what was done, in a sentence.

    How they are compared depends on the model.

    - n <= 600, with entries: the smallest singular value of L^{-1} A L^{-H}, P = L L^H, from a dense decomposition
    - larger, A(mu) Hermitian: A - beta P has positive pivots only (Sylvester), which proves the bound, up to round-off.
      Not with a solver of the user that proves nothing: matrices may be too large for a factorisation of ours
    - else, and where a pivot is not positive: ||A v||_{P'} / ||v||_P, the smallest over a Krylov space of 20 vectors of
      A^{-1} P A^{-H} P, whose largest eigenvalue is 1/beta^2 (Lanczos); A^{-1} P for a LinearOperator without adjoint.
      This is an upper estimate of the constant, mostly right to a percent: it refutes bounds that are above it, and
      proves none

    executor : a point each is checked by its workers; each has a random start of its own, so that nothing depends on
        who does it

    Raises StabilityError for a bound that is too large, always on the ground of a vector (:func:`inf_sup_above`), so
    that no bound that is right is accused because P or A is ill-conditioned.

    Cost per point: one or two factorisations, 60 solves, memory for these and 60 vectors; 12 n^3 flops for n <= 600.
    """
    factor = _cholesky(system.product) if system.dimension <= DENSE_LIMIT and not system.black_box else None
    seeds = rng.integers(2**63, size=len(mus)).tolist()
    found: dict[str, list[float]] = {}  # how, and the shares of the constant that the bounds are
    with Crew(executor, None) as crew:
        system.inner_product.factorized()  # before threads, which would all do it
        crew.what = _Claimed(system.without_coefficients() if crew.elsewhere else system, factor)
        at = map(system.parameters.describe, mus)
        for how, share in crew.run(_checked, zip(theta, beta, at, seeds, strict=True)):
            found.setdefault(how, []).append(share)
    lines = []
    for how, shares in found.items():
        said = f"{how}: at least {min(shares):.3g} of it" if how else "the coercivity constant, by the signs of pivots,"
        lines.append(f"not above {said} on {len(shares)} samples")
    return f"the stability bound is {'; '.join(lines)}"


def _checked(what: _Claimed, theta: np.ndarray, beta: float, at: str, seed: int) -> tuple[str, float]:
    """Return how a bound was compared with the constant at one point, and which share of it the bound is.

    Nothing and NaN where the signs of pivots proved it.
    """
    system, factor = what
    matrix = system.assemble(theta)
    if factor is not None:
        how, (constant, vector) = "the true inf-sup constant", _smallest(factor, matrix, beta)
    elif _is_below(system, matrix, beta):
        return "", math.nan
    else:
        try:
            vector, adjoint = _krylov(system, matrix, np.random.default_rng(seed))
        except ModelError as error:
            raise ModelError(f"the stability bound could not be checked at {at}: {error}") from error
        by = "Lanczos" if adjoint else "inverse iteration, without adjoint"
        how, constant = f"an upper estimate of the inf-sup constant ({by})", np.inf
    if vector is not None:
        constant = inf_sup_above(system, theta, vector)
        if beta > constant * (1 + SLACK):
            raise StabilityError(
                f"the stability bound {beta:.6g} at {at} is above the true inf-sup constant {constant:.6g}"
                f"{'' if factor is not None else ' or less'}, by a factor of {beta / constant:.6g}; error bounds made "
                "with it would be false"
            )
    return how, beta / constant


def _cholesky(product: Any) -> np.ndarray | None:
    """Return L of P = L L^H, or None if P is too ill-conditioned for it."""
    try:
        return np.linalg.cholesky(dense(product))
    except np.linalg.LinAlgError:
        return None


def _smallest(factor: np.ndarray, matrix: Any, beta: float) -> tuple[float, np.ndarray | None]:
    """Return sigma_min of L^{-1} A L^{-H}, and, if beta is above it, the vector v (n,) where it is attained."""
    half = scipy.linalg.solve_triangular(factor, dense(matrix), lower=True)
    adjoint = scipy.linalg.solve_triangular(factor, half.conj().T, lower=True)  # L^{-1} A^H L^{-H}
    smallest = float(scipy.linalg.svdvals(adjoint)[-1])
    if beta <= smallest * (1 + SLACK):
        return smallest, None
    vector = scipy.linalg.svd(adjoint)[0][:, -1]
    return smallest, scipy.linalg.solve_triangular(factor, vector, lower=True, trans="C")


def _is_below(system: AffineSystem, matrix: Any, beta: float) -> bool:
    """Return True if A is Hermitian and A - (1 - SLACK) beta P has positive pivots."""
    if system.black_box or isinstance(matrix, UpdatedMatrix):
        return False  # of factors beside a sparse matrix nothing is formed that could be eliminated
    prove = prover(system.solver, matrix)
    if system.solver is not None and prove is None:
        return False  # matrices that may be too large for a factorisation of ours
    units = system.inner_product.in_units
    if abs(units(matrix - matrix.conj().T)).max() > 1e-12 * abs(units(matrix)).max():
        return False
    return definiteness_error(hermitian_part(units(matrix - (1 - SLACK) * beta * system.product)), prove) is not None


def _krylov(system: AffineSystem, matrix: Any, rng: np.random.Generator) -> tuple[np.ndarray, bool]:
    """Return v (n,) with a small ||A v||_{P'} / ||v||_P, and whether the adjoint could be used.

    v comes from a Krylov space of the inverse.
    """
    product, riesz = system.product, system.inner_product.factorized()
    x = rng.standard_normal((system.dimension, 1))
    solve = _solve(system, matrix)
    adjoint = _adjoint(system, matrix, product @ x)
    basis = np.zeros((system.dimension, 0))
    for _ in range(STEPS):
        functional = product @ x
        if adjoint is not None:
            functional = product @ adjoint(functional)
        new = gram_schmidt(solve(functional), product=product, basis=basis)
        if not len(new.kept):
            break  # the space is invariant
        x = new.basis
        basis = np.concatenate([basis, x], axis=1)
    image = np.asarray(matrix @ basis)
    square = image.conj().T @ riesz(image)
    combination = np.linalg.eigh((square + square.conj().T) / 2)[1][:, 0]
    return basis @ combination, adjoint is not None


def _solve(system: AffineSystem, matrix: Any) -> Solve:
    """Return the solve with A in working precision.

    Rows are not exchanged where the pattern is symmetric and that goes well.
    """
    if system.solver is not None:
        return user_solve(system.solver, matrix)
    if system.has_symmetric_pattern:
        with contextlib.suppress(ModelError):  # a pivot that is zero
            solve, one = factorize(matrix, symmetric=True), np.ones((system.dimension, 1))
            if np.abs(matrix @ solve(one) - one).max() <= 1e-3:
                return solve
    return factorize(matrix)


def _adjoint(system: AffineSystem, matrix: Any, trial: np.ndarray) -> Solve | None:
    """Return the solve with A^H.

    None for a LinearOperator without adjoint, and for a solver of the user that fails for A^H.
    """
    if system.solver is None:
        return _solve(system, _transposed(matrix))
    try:
        transposed = matrix.H if extended.is_black_box(matrix) else _transposed(matrix)
        solve = _solve(system, transposed)
        found = transposed @ solve(trial)
    except Exception:  # a user's solver need not solve with anything but A(mu) and P
        return None
    return solve if np.all(np.isfinite(found)) else None


def _transposed(matrix: Any) -> Any:
    """Return A^H with rows stored one after the other, as A is."""
    return sp.csr_array(matrix.conj().T) if sp.issparse(matrix) else matrix.conj().T
