"""Operator terms as combinations of two Hermitian matrices, one of which is the inner product P."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.sparse as sp

from rbm.affine.system import AffineSystem
from rbm.arithmetic.precision import ROUND_OFF
from rbm.errors import StabilityError
from rbm.solvers.definite import hermitian_part, norm_bound

__all__ = ["PencilTerms"]

#: Largest share of a term, in balanced units, that is taken for rounding; it is charged to the bound.
SHARE = 1e-9
WIDE = np.longdouble


@dataclass(frozen=True)
class PencilTerms:
    """A_q = alpha_q P + kappa_q B + E_q for all q, ||E_q|| <= errors_q in the norms of P."""

    matrix: Any  #: B (n, n), Hermitian: the mass M, or the stiffness K where P is a multiple of M
    alphas: np.ndarray  #: (Qa,)
    kappas: np.ndarray  #: (Qa,)
    errors: np.ndarray  #: (Qa,)
    p: float  #: P = p K + q M
    q: float

    @property
    def above(self) -> bool:
        """True if B = M, whose large eigenvalues t = 1 / (p lambda + q) belong to the small lambda."""
        return self.p != 0

    def eigenvalue(self, t: Any) -> Any:
        """Return lambda, K v = lambda M v, of an eigenvalue t of B v = t P v."""
        with np.errstate(divide="ignore"):
            return (1 / np.asarray(t) - self.q) / self.p if self.above else self.q * np.asarray(t)

    def transformed(self, eigenvalue: float) -> float:
        """Return t of an eigenvalue lambda."""
        if not self.above:
            return eigenvalue / self.q
        size = self.p * eigenvalue + self.q
        return 1 / size if size else np.inf

    @classmethod
    def of(cls, system: AffineSystem, stiffness: int, mass: int) -> PencilTerms:
        """Find the combinations. Raises StabilityError where a term, or P, is none."""
        k, m = (_hermitian(system, name, q) for name, q in (("stiffness", stiffness), ("mass", mass)))
        if stiffness == mass:
            raise StabilityError(f"stiffness and mass of a pencil must be two different matrices, both are {mass}")
        combine = _Fit(system, k, m)
        p, q, of_product = combine.coefficients(system.product, "the product", None, real=True)
        p, q = p.real, q.real
        swapped = p == 0
        alphas, kappas, errors = [], [], []
        for i, term in enumerate(system.operator_terms):
            a, b, error = combine.coefficients(term, f"operator term {i}", {stiffness: (1, 0), mass: (0, 1)}.get(i))
            alpha, kappa = (b / q, a) if swapped else (a / p, b - a * (q / p))
            rounding = 4 * ROUND_OFF * (abs(b) + abs(a * q / p)) if not swapped else 0.0
            size = combine.sizes[1] * rounding + 2 * ROUND_OFF * abs(alpha) * combine.product_size
            alphas.append(alpha)
            kappas.append(kappa)
            errors.append(error + abs(alpha) * of_product + size)
        return cls(k if swapped else m, _real_if_exact(alphas), _real_if_exact(kappas), np.array(errors), p, q)


def _real_if_exact(values: list[complex]) -> np.ndarray:
    made = np.array(values, dtype=complex)
    return made.real if not np.any(made.imag) else made


def _hermitian(system: AffineSystem, name: str, q: int) -> Any:
    count = len(system.operator_terms)
    if not (isinstance(q, int | np.integer) and 0 <= q < count):
        raise StabilityError(f"{name} must be the number of an operator term, 0 to {count - 1}, got {q!r}")
    term = system.operator_terms[q]
    if not (sp.issparse(term) or isinstance(term, np.ndarray)):
        raise StabilityError(f"a pencil needs the entries of operator term {q}, which is a {type(term).__name__}")
    scaled = system.inner_product.in_units(term)
    off, size = norm_bound(scaled - scaled.conj().T), norm_bound(scaled)
    if not off <= 2 * SHARE * size:
        raise StabilityError(
            f"a pencil needs Hermitian matrices, but operator term {q} ({name}) is not: |A - A^H| is {off / size:.1e} "
            "of |A|, in units of the product; put a complex factor into the coefficient, or use "
            "rbm.stability.NaturalNorm()"
        )
    return hermitian_part(term)


class _Fit:
    """Least squares on the entries of K and M, in the units of the product."""

    def __init__(self, system: AffineSystem, k: Any, m: Any) -> None:
        self.inner = system.inner_product
        self.pair = [self.inner.in_units(a) for a in (k, m)]
        self.norms = [norm_bound(a) for a in self.pair]
        smallest = self.inner.smallest_eigenvalue
        self.sizes = [a / smallest for a in self.norms]
        self.product_size = self.inner.largest_eigenvalue / smallest
        # powers of two, so that squares of entries stay in the range of numbers
        self.units = [2.0 ** -np.round(np.log2(a)) if a > 0 else 1.0 for a in self.norms]
        pair = [a * unit for a, unit in zip(self.pair, self.units, strict=True)]
        gram = np.array([[_inner(a, b).real for b in pair] for a in pair])
        scale = np.sqrt(gram.diagonal())
        # one unknown: every number is a combination, in many ways, and any of them will do
        self.alone = self.inner.shape[0] == 1
        if not (np.all(scale > 0) and (self.alone or np.linalg.cond(gram / np.outer(scale, scale)) < 1e10)):
            raise StabilityError("stiffness and mass of a pencil must be two different matrices, none of them zero")
        self.gram, self.scale = gram, scale

    def coefficients(
        self, matrix: Any, name: str, known: tuple[float, float] | None, *, real: bool = False
    ) -> tuple[complex, complex, float]:
        """Return (a, b) with X = a K + b M, and a bound of what is left over the smallest eigenvalue of P."""
        if not (sp.issparse(matrix) or isinstance(matrix, np.ndarray)):
            raise StabilityError(f"a pencil needs the entries of {name}, which is a {type(matrix).__name__}")
        x = self.inner.in_units(matrix)
        size = norm_bound(x)
        if known is not None:
            tried = [np.array(known, dtype=complex)]
        else:
            unit = 2.0 ** -np.round(np.log2(size)) if size > 0 else 1.0
            right = np.array([_inner(b * s, x * unit) for b, s in zip(self.pair, self.units, strict=True)]) / self.scale
            gram = self.gram / np.outer(self.scale, self.scale)
            solved = np.linalg.lstsq(gram, right, rcond=1e-10)[0] if self.alone else np.linalg.solve(gram, right)
            fitted = solved / self.scale
            fitted = fitted * np.array(self.units) / unit
            fitted = fitted.real if real else fitted
            # what was meant is often a short number: 1, 0, -k^2
            small = np.abs(fitted) * self.norms <= 1e-10 * size
            tried = [np.where(small, 0, fitted), np.where(small, 0, _short(fitted))]
        left = [(self._left(x, t), i) for i, t in enumerate(tried)]
        error, best = min(left)
        a, b = tried[best]
        if not error <= SHARE * size:
            raise StabilityError(
                f"{name} is no combination a K + b M of the stiffness and the mass of the pencil: {error / size:.1e} "
                "of it is left; the pencil needs A(mu) = a(mu) K + b(mu) M and P = p K + q M: "
                + (
                    "choose such a product"
                    if name == "the product"
                    else "use rbm.stability.NaturalNorm() for other terms"
                )
            )
        return complex(a), complex(b), error / self.inner.smallest_eigenvalue

    def _left(self, x: Any, pair: np.ndarray) -> float:
        """Bound ||X - a K - b M||, formed in the widest format there is, rounding included."""
        size = norm_bound(x) + sum(abs(c) * norm for c, norm in zip(pair, self.norms, strict=True))
        parts = []
        for part in ("real", "imag"):
            total = _part(x, part)
            for c, matrix in zip(pair, self.pair, strict=True):
                for factor, of in (
                    ((c.real, "real"), (-c.imag, "imag")) if part == "real" else ((c.real, "imag"), (c.imag, "real"))
                ):
                    if factor:
                        total = total - WIDE(factor) * _part(matrix, of)
            parts.append(abs(total).astype(float))
        return norm_bound(parts[0]) + norm_bound(parts[1]) + 16 * float(np.finfo(WIDE).eps) * size


def _part(matrix: Any, part: str) -> Any:
    made = sp.csr_array(matrix) if sp.issparse(matrix) else matrix
    return getattr(made, part).astype(WIDE)


def _inner(a: Any, b: Any) -> complex:
    """Return sum conj(a_ij) b_ij."""
    return complex((a.conj() * b).sum()) if not sp.issparse(a) else complex(a.conj().multiply(b).sum())


def _short(values: np.ndarray) -> np.ndarray:
    """Return complex numbers rounded to ten digits."""

    def rounded(x: float) -> float:
        return float(f"{x:.10g}")

    return np.array([complex(rounded(v.real), rounded(v.imag)) for v in values.astype(complex)])
