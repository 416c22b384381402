"""Eigenvalues of B v = t P v beyond a cut, each with its radius, and a proved interval that holds all others.

An eigenvalue that an iteration computed lies near a true one; that none is missing is shown by the count of negative
pivots of B - t P (:mod:`rbm.solvers.inertia`), whatever the iteration did.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.linalg
import scipy.sparse as sp
import scipy.sparse.linalg as spla

from rbm.affine.inner_product import InnerProduct
from rbm.arithmetic import extended
from rbm.arithmetic.precision import ROUND_OFF
from rbm.errors import StabilityError
from rbm.solvers.definite import dense, norm_bound, semidefinite_slack
from rbm.solvers.factorization import factorize
from rbm.solvers.inertia import inertia

__all__ = ["DENSE_LIMIT", "OuterEigenvalues", "all_eigenvalues", "outer_eigenvalues", "two_lowest"]

#: Up to this dimension all eigenvalues are computed, by dense linear algebra.
DENSE_LIMIT = 400
#: Where the interval of all other eigenvalues ends: at the next one, and this share of the gap to the last one.
BESIDE = 1e-4
#: How often a cut that falls on an eigenvalue is moved away from the others, by this share of itself each time.
ATTEMPTS, MOVED = 8, 2e-3


@dataclass(frozen=True)
class OuterEigenvalues:
    """Every eigenvalue of B v = t P v is within its radius of one of `values`, or in the interval `rest`."""

    values: np.ndarray  #: t (J,), increasing
    radii: np.ndarray  #: (J,)
    rest: tuple[float, float]


def all_eigenvalues(matrix: Any, inner: InnerProduct) -> tuple[np.ndarray, np.ndarray]:
    """Return all eigenvalues t (n,) of B v = t P v, increasing, and their radii (n,), by dense linear algebra."""
    try:
        values, vectors = scipy.linalg.eigh(dense(matrix), dense(inner.matrix))
    except np.linalg.LinAlgError as error:
        raise StabilityError(f"the eigenvalues of the pencil could not be computed: {error}") from error
    return values, _radii(matrix, inner, values, vectors)


def outer_eigenvalues(
    matrix: Any,
    inner: InnerProduct,
    cut: float,
    above: bool,
    most: int,
    announce: Callable[[int, float], None],
) -> OuterEigenvalues:
    """Return the eigenvalues of B v = t P v above (or below) a cut, and the proved interval of all others.

    matrix : B (n, n), Hermitian; sparse, or dense
    most : refuse to compute more eigenvalues than these
    announce : called with their number and the seconds that one solve takes, before the iteration starts

    Raises StabilityError if there are more, or if the iteration does not find what was counted. Cost: a factorisation
    per cut that is tried, and some three solves per eigenvalue.
    """
    units = inner.units
    balanced, error = units.take(inner.in_units(matrix))
    size = norm_bound(balanced) + error
    sign = 1.0 if above else -1.0
    found = ""
    for attempt in range(ATTEMPTS):
        at = cut - sign * MOVED * attempt * abs(cut)
        shifted = sign * (at * units.product - balanced)
        count = inertia(shifted)
        if count is None:
            found = "its elimination broke down"
            continue
        rounding = 4 * ROUND_OFF * (abs(at) * units.largest + size) + abs(at) * units.product_error + error
        edge = at + sign * (count.error + rounding) / units.smallest  # no more than `negative` are beyond this
        if count.negative > most:
            raise StabilityError(
                f"{count.negative} eigenvalues of the pencil are needed (cut = {cut:.4g}), more than "
                f"max_eigenvalues={most}: narrow the parameter ranges, allow more, or give cut="
            )
        values, vectors, following = _computed(matrix, inner, count.negative, sign, at, announce)
        radii = _radii(matrix, inner, values, vectors)
        if np.all(sign * (values - edge) > radii):
            break
        found = f"an eigenvalue lies within {float((radii - sign * (values - edge)).max()):.1g} of it"
    else:
        raise StabilityError(
            f"the eigenvalues of the pencil could not be separated at the cut {cut:.6g}: {found}; give another cut="
        )
    if following is not None:  # the interval of all others begins at the next eigenvalue, if a count shows it
        last = sign * (sign * values).min() if len(values) else at
        beside = following + BESIDE * (last - following)
        nearer = inertia(sign * (beside * units.product - balanced))
        if nearer is not None and nearer.negative == count.negative:
            shown = beside + sign * (nearer.error + rounding) / units.smallest
            edge = sign * min(sign * edge, sign * shown)
    far = _far_end(balanced, size, units.smallest, above)
    order = np.argsort(values)
    return OuterEigenvalues(values[order], radii[order], (far, edge) if above else (edge, far))


def _far_end(balanced: Any, size: float, smallest: float, above: bool) -> float:
    """Return a proved lower (or upper) bound of all eigenvalues: zero, up to rounding, for a semi-definite B."""
    if not above:
        return size / smallest
    slack = semidefinite_slack(balanced)
    return -(size if slack is None else slack) / smallest


def _computed(
    matrix: Any, inner: InnerProduct, count: int, sign: float, cut: float, announce: Callable[[int, float], None]
) -> tuple[np.ndarray, np.ndarray, float | None]:
    """Return the `count` outermost eigenvalues and vectors (n, count), and the next eigenvalue: estimates.

    By Lanczos with the inverse of P, or shifted.
    """
    n = inner.shape[0]
    if count > n // 2:
        raise StabilityError(
            f"{count} of {n} eigenvalues of the pencil lie beyond the cut {cut:.4g}: it resolves almost everything; "
            "give another cut="
        )
    dtype = np.result_type(matrix.dtype, inner.matrix.dtype, float)
    start = np.random.default_rng(0).standard_normal(n).astype(dtype)
    options: dict[str, Any] = {"k": count + 1, "M": inner.matrix, "v0": start, "ncv": min(n, max(2 * count + 3, 20))}
    if sign > 0:
        solve = inner.factorized()
        options |= {"which": "LA"}
    else:
        # below the cut: shifted to where all eigenvalues that are wanted are the nearest ones
        shift = _below_all(matrix, inner, cut)
        solve = factorize(matrix - shift * inner.matrix, symmetric=sp.issparse(matrix))
        options |= {"sigma": shift, "which": "LM"}

    def inverse(x: np.ndarray) -> np.ndarray:
        return solve(np.asarray(x, dtype=dtype).reshape(n, -1)).reshape(x.shape)

    began = time.perf_counter()
    inverse(start)
    announce(count, time.perf_counter() - began)
    options["Minv" if sign > 0 else "OPinv"] = spla.LinearOperator((n, n), matvec=inverse, dtype=dtype)
    try:
        vectors = spla.eigsh(matrix, **options)[1]
    except spla.ArpackError as error:
        raise StabilityError(
            f"the eigensolver did not find the {count} eigenvalues beyond the cut {cut:.4g}: {error}; give another "
            "cut=, or another inner product"
        ) from error
    values, vectors = _orthonormal(matrix, inner, vectors)
    order = np.argsort(-sign * values)
    return values[order[:count]], vectors[:, order[:count]], float(values[order[count]])


def _orthonormal(matrix: Any, inner: InnerProduct, vectors: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return Ritz values and P-orthonormal Ritz vectors of a span; ARPACK's complex ones are not orthogonal."""
    gram, image = vectors.conj().T @ (inner.matrix @ vectors), vectors.conj().T @ (matrix @ vectors)
    try:
        values, turned = scipy.linalg.eigh((image + image.conj().T) / 2, (gram + gram.conj().T) / 2)
    except np.linalg.LinAlgError as error:
        raise StabilityError(
            f"the eigensolver returned dependent vectors for the pencil ({error}): it did not converge; give another "
            "cut="
        ) from error
    return values, vectors @ turned


def two_lowest(matrix: Any, inner: InnerProduct) -> tuple[float, float]:
    """Return estimates of the lowest two different eigenvalues of B v = t P v."""
    n = inner.shape[0]
    if n <= DENSE_LIMIT:
        values = scipy.linalg.eigh(dense(matrix), dense(inner.matrix), eigvals_only=True)
    else:
        dtype = np.result_type(matrix.dtype, inner.matrix.dtype, float)
        size = norm_bound(inner.in_units(matrix)) / inner.largest_eigenvalue
        # from far below, which shows of what size they are; then from there
        for distance in (1e-3 * size, None):
            shift = _below_all(matrix, inner, distance if distance is not None else abs(values).max() or size)
            solve = factorize(matrix - shift * inner.matrix, symmetric=sp.issparse(matrix))
            operator = spla.LinearOperator(
                (n, n), lambda x, f=solve: f(np.asarray(x, dtype=dtype).reshape(n, -1)).reshape(x.shape), dtype=dtype
            )
            start = np.random.default_rng(0).standard_normal(n).astype(dtype)
            try:
                values = spla.eigsh(
                    matrix,
                    6,
                    inner.matrix,
                    shift,
                    which="LM",
                    v0=start,
                    tol=1e-3,
                    OPinv=operator,
                    return_eigenvectors=False,
                )
            except spla.ArpackError as error:
                raise StabilityError(
                    f"the lowest eigenvalues of the pencil were not found: {error}; give cut="
                ) from error
    values = np.sort(values.real)
    spread = values[-1] - values[0]
    return float(values[0]), float(values[np.argmax(values > values[0] + 1e-2 * spread)])


def _below_all(matrix: Any, inner: InnerProduct, cut: float) -> float:
    """Return a shift below all eigenvalues of B v = t P v, at a distance of the size of the cut."""
    balanced, product = inner.in_units(matrix), inner.balanced
    distance = abs(cut) if cut else norm_bound(balanced) / inner.largest_eigenvalue
    for _ in range(60):
        count = inertia(balanced + distance * product)
        if count is not None and count.negative == 0:
            return -distance
        distance *= 4
    raise StabilityError("the eigenvalues of the pencil have no lower end within the range of numbers; choose units")


def _radii(matrix: Any, inner: InnerProduct, values: np.ndarray, vectors: np.ndarray) -> np.ndarray:
    """Return radii (J,) so that J different eigenvalues lie within them of the values, one to one.

    With R = B V - P V diag(t), residuals in extended precision: values nearer to each other than their radii are taken
    together, and a group has the radius ||R_group||_{P^-1, F} / sigma_min(P^{1/2} V) (Kahan; Cao, Xie and Li, Linear
    Algebra Appl. 245 (1996)). Groups are apart, so their eigenvalues differ.
    """
    if not len(values):
        return np.zeros(0)
    loss = inner.orthonormality(vectors)
    if not loss < 0.5:
        raise StabilityError(
            f"the eigenvectors of the pencil are not independent enough (they lose orthogonality by {loss:.1e}): the "
            "eigensolver did not converge; give another cut="
        )
    split = extended.SplitMatrix(matrix, inner.balance)
    hi, lo = extended.add(
        extended.product(split, vectors), extended.scale(-values[None, :], extended.product(inner.split, vectors))
    )
    rounding = extended.rounding(split, vectors) + np.abs(values) * extended.rounding(inner.split, vectors)
    rounding = rounding + 8 * ROUND_OFF * (np.abs(hi) + np.abs(lo))
    norms = (inner.dual_norm_upper(hi + lo) + inner.dual_norm_bound(rounding)) / np.sqrt(1 - loss) * (1 + 1e-8)
    if not np.all(np.isfinite(norms)):
        raise StabilityError("eigenvectors of the pencil are beyond the range of double precision; choose other units")
    order = np.argsort(values)
    groups = np.cumsum(np.diff(values[order], prepend=values[order[0]]) > 2 * np.linalg.norm(norms))
    radii = np.empty_like(norms)
    radii[order] = np.sqrt(np.bincount(groups, weights=norms[order] ** 2))[groups] * (1 + 8 * ROUND_OFF)
    return radii
