"""Compliant outputs: the functional is the right-hand side itself, and the output converges twice as fast as u."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from functools import partial
from typing import Any, ClassVar, Self, cast

import numpy as np

from lowrank import LowRankMatrix
from lowrank.arrays import beside, conj, is_complex, mixed_product, namespace, real_part
from rbm.affine.terms import Output
from rbm.arithmetic import extended
from rbm.arithmetic.columns import column_blocks
from rbm.arithmetic.precision import ROUND_OFF, row_norms, widened
from rbm.errors import PointError
from rbm.online.chunks import slices
from rbm.online.forms import Energy
from rbm.online.threads import each
from rbm.parameters.coefficients import Coefficient, Coefficients
from rbm.parameters.interpolated_family import InterpolatedCoefficient
from rbm.reduced.outputs import AtPoints, ReducedLinear, above_underflow
from rbm.reduction.projected_system import Reduction
from rbm.solvers.definite import hermitian_part
from rbm.storage.registry import register
from rbm.storage.stored_arrays import Stored

__all__ = ["ReducedCompliant", "as_compliant", "compliant_terms", "reduce_compliant"]

#: Two terms are equal if they differ by at most this many u of the largest entry; the difference is charged.
EQUAL = 64.0


@register("output")
@dataclass(frozen=True, kw_only=True)
class ReducedCompliant(ReducedLinear):
    """A linear output l(mu) = conj f(mu) of a model with Hermitian A(mu), by Galerkin projection.

    With e = u - u_N and r = f - A u_N = A e

        s - s_N = e^H A e + u_N^H r,    u_N^H r = 0 but for rounding,    |e^H A e| <= beta bound^2,

    hence |s - s_N| <= beta bound^2 + rounding, which is the square of the plain bound where that is small; the smaller
    of both is returned. s_N is the value of the Galerkin solution, as for every linear output. Where A(mu) is positive
    definite the error has a sign, s_N - rounding <= s <= s_N + bound; where it is Hermitian and indefinite, both sides
    are needed. The bound is about s_N for both.

    rounding: of l^T Z gamma as for a :class:`rbm.reduced.outputs.ReducedLinear`, and of u_N^H r = gamma^H (f_N - A_N
    gamma), with A_N, f_N the projections without rounding. Their distance from the numbers used is measured in extended
    precision. gamma^H (f_N - A_N gamma) is computed, with its own rounding, or, after L D L^H in the compiled kernels,
    bounded by backward error analysis: (sum_q |theta_q|^{1/2} sum_i h_qi |gamma_i|)^2, h_qi^2 about 9 N u (A_q)_ii.
    All of this is proved. A - A^H and l - conj f, if they are round-off and not zero, are measured in the norm of the
    product and charged: (||l - conj f||_{P'} + ||A - A^H|| (||u_N||_P + bound)) bound.

    The energy u^H A(mu) u = Re f^H u, a quadratic output with the model's own terms and real coefficients, is the same
    number and gets the same value and bound, real.

    Where theta or phi come out complex, A(mu) is not Hermitian and the plain bound is returned; so it is by the
    compiled kernels in single precision, where u_N^H r is no round-off of double precision, and after LU.
    """

    kind: ClassVar[str] = "compliant"
    stored: ClassVar[Mapping[str, Stored]] = {
        **ReducedLinear.stored,
        "operators": Stored("tnn", "c"),
        "operator_errors": Stored("tn", least=0),
        "rhs": Stored("qn", "c"),
        "rhs_errors": Stored("qn", least=0),
        "skew": Stored("t", least=0),
        "mismatch": Stored("q", least=0),
        "orthonormality": Stored("", least=0),
        "definite": Stored("", "b"),
        "real": Stored("", "b", optional=True),
    }

    operators: np.ndarray  #: Z^H A_q Z (Qa, N, N), exactly Hermitian
    operator_errors: np.ndarray  #: (Qa, N): |gamma^H E_q gamma| <= (errors_q |gamma|)^2 for what `operators` are off by
    rhs: np.ndarray  #: Z^H f_q (Ql, N), in the order of the functionals
    rhs_errors: np.ndarray  #: (Ql, N) what its entries may be off by
    skew: np.ndarray  #: ||A_q - A_q^H|| (Qa,) from P to P'
    mismatch: np.ndarray  #: ||l_q - conj f_q||_{P'} (Ql,)
    orthonormality: float  #: eta >= ||Z^H P Z - I||
    definite: bool  #: A_N was positive definite where that was tried: then L D L^H solves with it, as a rule
    real: bool = False  #: the value is the real part: the output is the energy

    @classmethod
    def from_arrays(cls, arrays: dict[str, Any]) -> Self:
        """Make the output from :meth:`arrays`. Raises ValueError for entries that do not fit each other."""
        made = super().from_arrays(arrays)
        if not np.array_equal(made.operators, made.operators.conj().transpose(0, 2, 1)):  # kernels read one half
            raise ValueError("the matrices of its output of the kind 'compliant' are not Hermitian")
        return made

    def value(self, mus: Any, gamma: Any) -> Any:
        """Return the values (M,) of the Galerkin solution."""
        value = super().value(mus, gamma)
        return real_part(value) if self.real else value

    def certified(self, at: AtPoints) -> tuple[Any, Any]:
        """Return values and bounds (M,)."""
        xp, gamma = namespace(at.gamma), widened(at.gamma)
        value = self.value(at.mus, gamma)
        if at.error is None:
            return value, None
        plain = self.bound(at.mus, gamma, at.error)
        psi, size = self.coefficients(at.mus), xp.abs(gamma)
        theta, weight, moduli = real_part(at.theta), xp.abs(at.theta), xp.abs(psi)
        n, terms = gamma.shape[1], self.operators.shape[0] + self.rhs.shape[0]
        # two sums, one in the other: N u each; for complex numbers, whose parts are sums of 2 N terms, 2 sqrt(2) N u
        u = (6 if is_complex(gamma) or is_complex(psi) or self.operators.dtype.kind == "c" else 3) * ROUND_OFF
        u = u * (n + terms + 8)
        left = xp.sum(conj(gamma) * mixed_product(conj(psi), beside(self.rhs, gamma)), axis=1)
        known = u * np.abs(self.rhs) + (1 + 2.0**-20) * self.rhs_errors + self._sizes
        off = xp.sum((moduli @ beside(known, gamma)) * size, axis=1) + self._off(at.mus)
        for q, matrix in enumerate(self.operators):
            left = left - theta[:, q] * xp.sum(conj(gamma) * mixed_product(gamma, beside(matrix.T, gamma)), axis=1)
            of_sum = xp.sum(size * (size @ beside(np.abs(matrix).T, gamma)), axis=1)
            of_matrix = (size @ beside(self.operator_errors[q], gamma)) ** 2
            off = off + weight[:, q] * (u * of_sum + (1 + u) * of_matrix)
        skew = weight @ beside(self.skew, gamma) * ((1 + self.orthonormality) ** 0.5 * row_norms(gamma) + at.error)
        linear = (moduli @ beside(self.mismatch, gamma) + skew) * at.error
        sharp = (1 + 16 * ROUND_OFF) * (at.beta * at.error**2 + (1 + u) * linear + xp.abs(left) + off)
        hermitian = _is_real(at.theta) & (_is_real(psi) if self.coefficients.constant is None else True)
        sharp = above_underflow(sharp, plain, at.error)
        return value, xp.where(hermitian & (sharp < plain), sharp, plain)

    def simple(self) -> tuple[np.ndarray, np.ndarray, float] | None:
        """Return what the compiled kernels know, or None.

        It is None where psi varies, A_N is not positive definite, or a real part is taken.
        """
        return super().simple() if self.definite and not (self.real and self.vectors.dtype.kind == "c") else None

    def energy(self) -> Energy:
        """Return the error terms for the compiled kernels (:class:`rbm.online.forms.Energy`)."""
        qa, n, _ = self.operators.shape
        absolute = np.abs(self.operators)
        # L D L^H and its two solves, by Higham, Accuracy and Stability, sections 8 and 10: (3 N + 8) u |L| D |L^H|,
        # whose entries are at most (a_ii a_jj)^{1/2}; three times that for complex numbers
        solve = 3 * (3 * n + 8) * ROUND_OFF * np.diagonal(absolute, axis1=1, axis2=2)
        assembly = 3 * (qa + 2) * ROUND_OFF * absolute.sum(axis=2)
        weights = np.sqrt((1 + 1e-9) * (solve + assembly + self.operator_errors**2))
        psi = np.abs(cast(np.ndarray, self.coefficients.constant))
        of_rhs = 3 * (len(self.rhs) + 2) * ROUND_OFF * np.abs(self.rhs) + (1 + 2.0**-20) * self.rhs_errors
        size = (1 + self.orthonormality) ** 0.5
        return Energy(weights, (1 + 1e-9) * self.skew, size, float(psi @ self.mismatch), psi @ of_rhs)

    def truncate(self, size: int) -> ReducedCompliant:
        """Return the output for the first `size` basis vectors."""
        cut = cast(ReducedCompliant, super().truncate(size))
        return replace(
            cut,
            operators=self.operators[:, :size, :size],
            operator_errors=self.operator_errors[:, :size],
            rhs=self.rhs[:, :size],
            rhs_errors=self.rhs_errors[:, :size],
        )


def _is_real(values: Any) -> Any:
    """Return which rows of (M, Q) have no imaginary part."""
    xp = namespace(values)
    return xp.all((xp.imag(values) if is_complex(values) else xp.zeros_like(values)) == 0, axis=1)


def compliant_terms(reduction: Reduction, output: Output) -> list[int] | None:
    """Return the right-hand side term of each functional, or None if the output is not known to be compliant.

    It is where the projection is Galerkin's, every A_q is Hermitian, and the l_q are the conj f_q with the same
    coefficients, up to their order. Matrices and vectors may differ by round-off. Coefficients are the same if they are
    the same text or function, or conjugate numbers; whether they are real is looked at where they are evaluated.
    """
    model, product = reduction.model, reduction.model.inner_product
    exact = reduction.projection == "galerkin" and model.interpolation_error is None and not model.black_box
    if output.quadratic or not exact or len(output.terms) != model.rhs_terms.shape[1]:
        return None
    if any(isinstance(c, complex) and c.imag for c in model.operator_coefficients.sources):
        return None
    places: list[int] = []
    for psi, term in zip(output.coefficients.sources, output.terms, strict=True):
        found = (
            q
            for q, phi in enumerate(model.rhs_coefficients.sources)
            if q not in places and _same(psi, phi) and _equal(term, model.rhs_terms[:, q].conj(), product.balance)
        )
        place = next(found, None)
        if place is None:
            return None
        places.append(place)
    return places if all(sizes.is_rounding(EQUAL) for sizes in model.skew_sizes) else None


def as_compliant(reduction: Reduction, output: Output) -> Output | None:
    """Return the output as a linear one: itself, or conj f for the energy u^H A u; None for another quadratic output.

    The energy has the terms of the model, exactly, and their coefficients, which can only be real: no functions.
    """
    if not output.quadratic:
        return output
    model = reduction.model
    families = output.coefficients, model.operator_coefficients, model.rhs_coefficients
    if len(output.terms) != len(model.operator_terms) or model.black_box or not all(map(_only_real, families)):
        return None
    left = list(range(len(model.operator_terms)))
    for psi, form in zip(output.coefficients.sources, output.terms, strict=True):
        found = (
            q
            for q in left
            if _same(psi, model.operator_coefficients.sources[q])
            and not isinstance(model.operator_terms[q], LowRankMatrix)
            and abs(form - hermitian_part(model.operator_terms[q])).max() == 0
        )
        place = next(found, None)
        if place is None:
            return None
        left.remove(place)
    return Output(model.rhs_coefficients, tuple(model.rhs_terms.conj().T))


def _only_real(coefficients: Coefficients) -> bool:
    """Return True for coefficients that are real at every point: numbers and formulas, not a user's functions."""
    if not coefficients.portable:
        return False
    try:
        return not is_complex(coefficients(coefficients.parameters.bounds.T[:1].copy()))
    except PointError:  # a formula that fails at the end of a range
        return False


def _equal(a: np.ndarray, b: np.ndarray, units: np.ndarray) -> bool:
    with np.errstate(over="ignore", invalid="ignore"):
        off, size = np.abs((a - b) * units).max(), np.abs(b * units).max()
    return bool(off <= EQUAL * ROUND_OFF * size and size < np.inf)


def _same(psi: Coefficient, phi: Coefficient) -> bool:
    """Return True if psi = conj phi wherever phi is real, or for numbers."""
    if isinstance(psi, str) and isinstance(phi, str):
        return psi.strip() == phi.strip()
    if isinstance(psi, InterpolatedCoefficient) and isinstance(phi, InterpolatedCoefficient):
        return psi.family is phi.family and psi.term == phi.term and _same(psi.factor, phi.factor)
    if isinstance(psi, float | complex) and isinstance(phi, float | complex):
        return psi == phi.conjugate()
    return psi is phi


def reduce_compliant(
    reduction: Reduction, output: Output, linear: ReducedLinear, places: list[int], real: bool = False
) -> ReducedCompliant:
    """Return the output with all that its sharper bound needs; `places` from :func:`compliant_terms`.

    Cost: as much as Qa products of extended precision with Z, and 6 Qa n N^2 flops.
    """
    model, product = reduction.model, reduction.model.inner_product
    operators = (reduction.operators + reduction.operators.conj().transpose(0, 2, 1)) / 2  # as the kernels pack it
    rhs = np.asarray(reduction.rhs[places])
    skew = [sizes.norm / product.smallest_eigenvalue for sizes in model.skew_sizes]
    # l^T v = (conj l)^H v: with a complex product the norm of the conjugate is another one
    mismatch = product.dual_norm_upper(np.stack(output.terms, axis=1).conj() - model.rhs_terms[:, places])
    of_rhs = np.abs(rhs - linear.vectors.conj()) * (1 + 8 * ROUND_OFF)
    of_rhs = of_rhs if linear.rounding is None else of_rhs + linear.rounding
    return ReducedCompliant(
        **{f.name: getattr(linear, f.name) for f in fields(ReducedLinear)},
        operators=operators,
        operator_errors=_distances(operators, reduction),
        rhs=rhs,
        rhs_errors=of_rhs,
        skew=(1 + 8 * ROUND_OFF) * np.array(skew),
        mismatch=mismatch * (1 + 8 * ROUND_OFF),
        orthonormality=reduction.deviation,
        definite=_definite(operators, model.operator_coefficients),
        real=real,
    )


def _distances(operators: np.ndarray, reduction: Reduction) -> np.ndarray:
    """Return e (Qa, N) with |x^H E_q x| <= (sum_i e_qi |x_i|)^2, E_q = operators_q - Z^H A_q Z.

    The projections are formed in extended precision, of some columns at a time. e_qi^2 is the sum of row i of |E_q|,
    symmetrised.
    """
    basis, stack = reduction.basis, reduction.model.stack
    errors = np.empty(operators.shape)
    for some in column_blocks(len(stack.owner), basis.shape[1]):
        columns = np.ascontiguousarray(basis[:, some])
        images = stack.product(columns), stack.rounding(columns)
        work = partial(_write_distances, errors, operators, some, reduction, images)
        for two in slices(len(operators), 2):  # of more at a time each would need several arrays as large as Z
            each(work, [slice(q, q + 1) for q in range(two.start, two.stop)])
    return np.sqrt((errors + errors.transpose(0, 2, 1)).sum(axis=2) / 2 * (1 + 1e-9))


def _write_distances(
    errors: np.ndarray,
    operators: np.ndarray,
    some: slice,
    reduction: Reduction,
    images: tuple[extended.Extended, np.ndarray],
    term: slice,
) -> None:
    """Write |E_q|, its rounding added, for one term and some columns into errors (Qa, N, N).

    images : A_q z of these columns, all terms stacked, and what that is off by
    """
    q, stack, balance = term.start, reduction.model.stack, reduction.model.inner_product.balance
    rows, part = stack.rows[q], stack.parts[q]  # rows that are empty give zeros
    (image, of_image), z, made = images, reduction.basis[rows], operators[q, :, some]
    adjoint, here = extended.SplitMatrix(z.conj().T, 1 / balance[rows]), (image[0][part], image[1][part])
    hi, lo = extended.product(adjoint, here)
    off = extended.rounding(adjoint, here) + np.abs(z.T) @ of_image[part]
    left = np.abs(extended.add((made, np.zeros_like(made)), (-hi, -lo))[0])
    errors[q, :, some] = left * (1 + 4 * ROUND_OFF) + off


def _definite(operators: np.ndarray, coefficients: Coefficients) -> bool:
    """Return whether A_N is positive definite at the ends and in the middle of the parameter ranges."""
    low, high = coefficients.parameters.bounds.T
    for mu in (low, low / 2 + high / 2, high):
        try:
            theta = coefficients(mu[None])
            np.linalg.cholesky(np.tensordot(theta[0].real, operators, 1))
        except np.linalg.LinAlgError:
            return False
        except Exception:  # a user's coefficients may fail at a corner: nothing is known of this point
            continue
    return True
