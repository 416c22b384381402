"""The initial value of a time-dependent model: its terms, its reduced coefficients, and the error of these."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import scipy.linalg

from rbm.affine.inner_product import InnerProduct
from rbm.affine.terms import is_coefficient, term_pairs, vector_term
from rbm.arithmetic import extended
from rbm.arithmetic.precision import ROUND_OFF, row_norms
from rbm.errors import ModelError
from rbm.parameters.coefficients import Coefficient, Coefficients
from rbm.parameters.space import ParameterSpace

__all__ = ["InitialValue", "ReducedInitial", "orthonormal_frame", "read_initial", "reduce_initial"]


@dataclass(frozen=True)
class InitialValue:
    """The initial value u_0(mu) = sum_i c_i(mu) v_i."""

    coefficients: Coefficients  #: c
    vectors: np.ndarray  #: v (n, Q0); one column of zeros where u_0 = 0

    @property
    def present(self) -> bool:
        """False where the initial value is zero."""
        return bool(np.any(self.vectors))

    def __call__(self, coefficients: np.ndarray) -> extended.Extended:
        """Return u_0 (n, 1) as hi + lo for one set of coefficients c (Q0,)."""
        total = extended.two_product(self.vectors[:, :1], coefficients[:1])
        for i in range(1, len(coefficients)):
            total = extended.add(total, extended.two_product(self.vectors[:, i : i + 1], coefficients[i : i + 1]))
        return total


def read_initial(given: Any, parameters: ParameterSpace, n: int) -> InitialValue:
    """Return the initial value that a user gives as None, as a vector (n,), or as [(coefficient, vector), ...].

    Raises ModelError for vectors of another length, and for NaN.
    """
    if given is None:
        return InitialValue(Coefficients([0.0], parameters), np.zeros((n, 1)))
    single = not (
        isinstance(given, list | tuple) and given and isinstance(given[0], tuple | list) and _is_pair(given[0])
    )
    pairs: Sequence[tuple[Coefficient, Any]] = [(1.0, given)] if single else term_pairs("initial", given)
    vectors = [vector_term(f"term {i} of the initial value" if len(pairs) > 1 else "the initial value", v, n)
               for i, (_, v) in enumerate(pairs)]  # fmt: skip
    return InitialValue(Coefficients([c for c, _ in pairs], parameters), np.stack(vectors, axis=1))


def _is_pair(given: Any) -> bool:
    return len(given) == 2 and is_coefficient(given[0]) and not np.isscalar(given[1])


@dataclass(frozen=True)
class ReducedInitial:
    """The initial value on a reduced basis: gamma^0 = G c, u_0 projected orthogonally in W = sum_q M_q, and its error.

    [Z, V] = D T with D orthonormal in W, T upper triangular. With the rows and columns of Z and of V apart,
    G = T_ZZ^{-1} T_ZV, and the projection misses ||T_VV c||_2. So fewer basis vectors need no full vectors: more rows
    belong to what is missed.
    """

    coefficients: Coefficients  #: c
    triangle: np.ndarray  #: T (N0 + Q0, N0 + Q0) for a basis of N0 vectors
    defects: np.ndarray  #: (N0 + Q0,) of the columns of [Z, V] - D T in the norm of W
    size: int  #: N, the number of basis vectors that are used, at most N0

    @cached_property
    def _columns(self) -> int:
        return len(self.triangle) - len(self.coefficients)

    @cached_property
    def start(self) -> np.ndarray:
        """The coefficients G (N, Q0) of the projected terms.

        Raises ModelError for a basis whose vectors depend on each other in W.
        """
        n = self.size
        try:
            return scipy.linalg.solve_triangular(self.triangle[:n, :n], self.triangle[:n, self._columns :])
        except np.linalg.LinAlgError:
            raise ModelError(
                "the initial value cannot be projected: basis vectors depend on each other in the inner product of the "
                "mass, up to round-off; leave some out, or choose units in which mass and product agree better"
            ) from None

    @cached_property
    def _rounding(self) -> np.ndarray:
        """What offline and online rounding of the terms (Q0,) may add to the error.

        Offline: the defects, and what G leaves of its equations. Online: gamma^0 = c G, and the sums over the terms.
        """
        n, q0 = self.size, len(self.coefficients)
        block, right = self.triangle[:n, :n], self.triangle[:n, self._columns :]
        made = extended.product(block, self.start)
        left = extended.add((right, np.zeros_like(right)), (-made[0], -made[1]))
        offline = np.linalg.norm(left[0] + left[1], axis=0) + np.abs(self.start.T) @ self.defects[:n]
        offline = 2 * offline + self.defects[self._columns :]
        sizes = np.linalg.norm(np.abs(block) @ np.abs(self.start), axis=0)
        sums = np.linalg.norm(self.triangle[:, self._columns :], axis=0)
        if q0 == 1 and self.coefficients.constant is not None and self.coefficients.constant[0] == 1:
            return offline  # nothing is multiplied
        return offline + 3 * (q0 + 4) * ROUND_OFF * (sizes + sums)

    def gamma(self, coefficients: np.ndarray) -> np.ndarray:
        """Return gamma^0 (M, N) from c (M, Q0)."""
        return coefficients @ self.start.T

    def missed(self, coefficients: np.ndarray) -> np.ndarray:
        """Return the coordinates x (M, N0 + Q0 - N) of e^0 = D_V x in the last vectors of D, from c (M, Q0)."""
        return coefficients @ self.triangle[self.size :, self._columns :].T

    def error(self, coefficients: np.ndarray, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return a bound (M,) of ||u_0 - Z gamma^0||_M and what rounding may add to it (M,).

        coefficients : c (M, Q0); weights : m (M, Qm): M is at most (max_q m_q) W, and the same for a single term
        """
        size = np.sqrt(weights.max(axis=1)) * (1 + 4 * ROUND_OFF)
        value = size * row_norms(self.missed(coefficients))
        floor = size * (np.abs(coefficients) @ self._rounding) * (1 + 2.0**-20)
        return value, floor + 4 * (len(self.triangle) + 8) * ROUND_OFF * value

    def truncate(self, size: int) -> ReducedInitial:
        """Return the same for the first `size` basis vectors."""
        return replace(self, size=size)


def reduce_initial(initial: InitialValue, whole: InnerProduct, basis: np.ndarray) -> ReducedInitial:
    """Return the initial value on a basis Z (n, N). whole : W. Cost: 2 n (N + Q0)^2 flops, twice."""
    columns = np.concatenate([basis, initial.vectors], axis=1)
    frame, triangle = orthonormal_frame(columns, whole)
    made = extended.product(frame, triangle)
    left = extended.add((columns, np.zeros_like(columns)), (-made[0], -made[1]))
    return ReducedInitial(initial.coefficients, triangle, 2 * whole.norm(left[0] + left[1]), basis.shape[1])


def orthonormal_frame(columns: np.ndarray, whole: InnerProduct) -> tuple[np.ndarray, np.ndarray]:
    """Return D (n, k), orthonormal in W or zero, and T (k, k), upper triangular, with D T about the columns (n, k)."""
    n, count = columns.shape
    frame, triangle = np.zeros((n, count), columns.dtype), np.zeros((count, count), columns.dtype)
    for j in range(count):
        rest = columns[:, j]
        before = float(whole.norm(rest[:, None])[0])
        for _ in range(2):
            part = frame[:, :j].conj().T @ (whole.matrix @ rest)
            rest, triangle[:j, j] = rest - frame[:, :j] @ part, triangle[:j, j] + part
        after = float(whole.norm(rest[:, None])[0])
        # a remainder that is round-off has no direction of its own: it is counted as a defect
        if after > 1e3 * ROUND_OFF * before:
            triangle[j, j], frame[:, j] = after, rest / after
    return frame, triangle
