"""Outputs of a reduced model: linear and quadratic functionals, with bounds of their errors."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, ClassVar, NamedTuple, Protocol, Self

import numpy as np

from lowrank.arrays import beside, mixed_product, namespace, real_part
from rbm.affine.functional_range import FunctionalRange
from rbm.affine.inner_product import InnerProduct
from rbm.affine.offsets import Offset
from rbm.affine.terms import Output
from rbm.arithmetic import extended
from rbm.arithmetic.precision import ROUND_OFF, row_norms, scaled, underflow_of_sums, widened
from rbm.errors import ModelError
from rbm.parameters.coefficients import Coefficients
from rbm.reduced.form_norms import form_norm
from rbm.reduced.linear_terms import LinearTerms, above_underflow
from rbm.reduced.saved_output import SavedOutput
from rbm.storage.registry import register
from rbm.storage.stored_arrays import Stored

__all__ = [
    "AtPoints",
    "LinearTerms",
    "ReducedLinear",
    "ReducedOutput",
    "ReducedQuadratic",
    "above_underflow",
    "reduce_output",
]


class AtPoints(NamedTuple):
    """What is known of M parameter points when outputs are evaluated.

    An output whose value or bound needs more than the solution and its error has a method ``certified(at)``, which
    returns values and bounds (M,) together and is called in place of `value` and `bound`. Without an error estimate
    `error` and `beta` are None, and so are the bounds.
    """

    mus: Any  #: (M, p)
    theta: Any  #: (M, Qa)
    phi: Any  #: (M, Qf)
    gamma: Any  #: (M, N)
    beta: Any = None  #: stability bounds (M,)
    error: Any = None  #: bounds (M,) of ||u - Z gamma||_P, and of ||r||_{P'} / beta


@register("output")
@dataclass(frozen=True)
class ReducedLinear(SavedOutput):
    """A linear output of a reduced model, with a proved bound of its error.

        s(mu) = sum_q psi_q(mu) l_q^T Z gamma,    |s(mu) - s_N(mu)| <= ||l(mu)||_{P'} bound(mu) + rounding.

    The functionals are orthonormalised in the dual norm, conj(l_q) = D R_q + defect
    (:class:`rbm.affine.functional_range.FunctionalRange`), so that

        ||l(mu)||_{P'} <= ||dual psi||_2 + sum_q |psi_q| defects_q,    dual = (1 + eta) conj(R),

    is not too small where terms nearly cancel, and not much too large, because no square is expanded. The rounding of
    l_q^T Z is bounded offline, that of the online sums is 3 (N + Ql + 4) u of their absolute terms; both are proved.

    The arrays are held and summed in double precision, also for a model in single precision: an output is one product
    with (Ql, N) numbers.
    """

    kind: ClassVar[str] = "linear"
    stored: ClassVar[Mapping[str, Stored]] = {
        "vectors": Stored("qn", "c"),
        "dual": Stored("kq", "c"),
        "defects": Stored("q", least=0, optional=True),
        "rounding": Stored("qn", least=0, optional=True),
        "offset": Stored("o", "c", filled=True, optional=True),
    }
    families: ClassVar[Mapping[str, str]] = {"coefficients": "q", "offset_coefficients": "o"}

    coefficients: Coefficients  #: psi
    vectors: np.ndarray  #: l_q^T Z (Ql, N)
    dual: np.ndarray  #: (k, Ql)
    defects: np.ndarray | None = None  #: (Ql,); None for zeros (files older than this)
    rounding: np.ndarray | None = None  #: (Ql, N) what the entries of `vectors` may be off by; None for zeros
    offset: np.ndarray | None = None  #: b (k,), with coefficients c: sum_k c_k(mu) b_k is added to s; None for nothing
    offset_coefficients: Coefficients | None = None

    @classmethod
    def from_arrays(cls, arrays: dict[str, Any]) -> Self:
        """Make the output from :meth:`arrays`. Raises ValueError for entries that do not fit each other."""
        made = super().from_arrays(arrays)
        if (made.offset is None) != (made.offset_coefficients is None):
            raise ValueError("the arrays of its output do not fit each other: an offset has numbers and coefficients")
        return made

    @property
    def size(self) -> int:
        """Number of basis vectors N."""
        return self.vectors.shape[1]

    def value(self, mus: Any, gamma: Any) -> Any:
        """Return output values (M,) at points (M, p) for gamma (M, N)."""
        made = self._of_solution(mus, gamma)
        return made if self._offset is None else made + self._offset(mus)

    def _of_solution(self, mus: Any, gamma: Any) -> Any:
        if self._constant is not None:
            return mixed_product(widened(gamma), beside(self._constant[0], gamma))
        vectors = mixed_product(self.coefficients(mus), beside(self.vectors, gamma))
        return namespace(gamma).sum(vectors * widened(gamma), axis=1)

    @cached_property
    def _offset(self) -> Offset | None:
        if self.offset is None or self.offset_coefficients is None:
            return None
        return Offset(self.offset_coefficients, self.offset)

    def _off(self, mus: Any) -> Any:
        """Return the rounding (M,) of the offset, 0 without one; its 3 (k + 4) u leave room for adding it, too."""
        return 0.0 if self._offset is None else self._offset.rounding(mus)

    @cached_property
    def _sizes(self) -> np.ndarray:
        """Sizes (Ql, N): the rounding error of the output is at most |psi| @ sizes @ |gamma|."""
        count, size = self.vectors.shape
        online = 3 * (size + count + 4) * ROUND_OFF * np.abs(self.vectors)
        return online if self.rounding is None else online + (1 + 2.0**-20) * self.rounding

    @cached_property
    def _defects(self) -> np.ndarray:
        return np.zeros(len(self.vectors)) if self.defects is None else self.defects

    @cached_property
    def _constant(self) -> tuple[np.ndarray, np.ndarray, float] | None:
        """Return l^T Z (N,), the terms of its rounding (N,) and ||l||_{P'}, if they are the same at every point."""
        psi = self.coefficients.constant
        if psi is None:
            return None
        norm = float(row_norms((self.dual @ psi)[None])[0] + np.abs(psi) @ self._defects)
        return psi @ self.vectors, np.abs(psi) @ self._sizes, (1 + 1e-12) * norm

    def simple(self) -> tuple[np.ndarray, np.ndarray, float] | None:
        """Return functional (N,), magnitudes (N,) and norm for the compiled kernels.

        None if psi is not constant, or an offset is added.

        :class:`rbm.online.forms.Finish` says what they mean.
        """
        return self._constant if self._offset is None else None

    def bound(self, mus: Any, gamma: Any, error: Any) -> Any:
        """Return bounds (M,) from error bounds (M,) of the solution, with the rounding of the output sum."""
        xp = namespace(gamma)
        if self._constant is not None:
            _, sizes, norm = self._constant
            made = norm * error + widened(xp.abs(gamma)) @ beside(sizes, gamma)
            return above_underflow(made + self._off(mus), norm, error)
        psi = self.coefficients(mus)
        size = xp.sum((xp.abs(psi) @ beside(self._sizes, gamma)) * widened(xp.abs(gamma)), axis=1)
        norm = self._norm(psi)
        return above_underflow(norm * error + size + self._off(mus), norm, error)

    def _norm(self, psi: Any) -> Any:
        """Return ||l||_{P'} (M,) from coefficients (M, Ql)."""
        size = namespace(psi).abs(psi)
        norm = row_norms(mixed_product(psi, beside(self.dual.T, psi))) + size @ beside(self._defects, psi)
        return (1 + 1e-12) * norm + underflow_of_sums(self._defects)

    def functional(self, mus: np.ndarray) -> LinearTerms:
        """Return what :meth:`value` and :meth:`bound` are made of at points (M, p), for many gamma a point."""
        offset = 0.0 if self._offset is None else self._offset(mus)
        if self._constant is not None:
            vector, magnitudes, norm = self._constant
            return LinearTerms(vector[None], magnitudes[None], norm, offset, self._off(mus))
        psi = self.coefficients(mus)
        return LinearTerms(
            psi @ self.vectors, np.abs(psi) @ self._sizes, self._norm(psi)[:, None], offset, self._off(mus)
        )

    def truncate(self, size: int) -> ReducedLinear:
        """Return the output for the first `size` basis vectors."""
        rounding = None if self.rounding is None else self.rounding[:, :size]
        return replace(self, vectors=self.vectors[:, :size], rounding=rounding)


@register("output")
@dataclass(frozen=True)
class ReducedQuadratic(SavedOutput):
    """A quadratic output of a reduced model, with a proved bound of its error.

        s(mu) = Re sum_q psi_q(mu) z^H Q_q z,    z = Z gamma    (without Re if psi is complex: each form is real).

    With e = u - z: u^H Q u - z^H Q z = 2 Re e^H Q z + e^H Q e, hence the bound

        sum_q |psi_q| ||Q_q|| (2 ||z||_P + bound) bound,    ||z||_P <= (1 + eta)^{1/2} ||gamma||_2,

    where ||Q|| is the norm from P to P' and eta = ||Z^H P Z - I|| as measured. To this come the rounding of Z^H Q Z,
    bounded offline, and of the online sums, 16 (N + 2)^{3/2} u ||Q_q|| ||z||^2. All of this is proved. The arrays are
    held and summed in double precision, also for a model in single precision.
    """

    kind: ClassVar[str] = "quadratic"
    stored: ClassVar[Mapping[str, Stored]] = {
        "matrices": Stored("qnn", "c"),
        "norms": Stored("q", least=0),
        "rounding": Stored("q", least=0, optional=True),
        "orthonormality": Stored("", least=0, optional=True),
    }

    coefficients: Coefficients  #: psi
    matrices: np.ndarray  #: Z^H Q_q Z (Ql, N, N)
    norms: np.ndarray  #: ||Q_q|| (Ql,)
    #: (Ql,) Frobenius norm of what `matrices` may be off by; None for zeros (older files)
    rounding: np.ndarray | None = None
    orthonormality: float = 1e-10  #: eta

    @property
    def size(self) -> int:
        """Number of basis vectors N."""
        return self.matrices.shape[1]

    def value(self, mus: Any, gamma: Any) -> Any:
        """Return output values (M,), which are real if psi is."""
        xp, gamma = namespace(gamma), widened(gamma)
        conjugate = xp.conj(gamma)
        forms = [real_part(xp.sum(conjugate * mixed_product(gamma, beside(q.T, gamma)), axis=1)) for q in self.matrices]
        return xp.sum(self.coefficients(mus) * xp.stack(forms, axis=1), axis=1)

    def bound(self, mus: Any, gamma: Any, error: Any) -> Any:
        """Return bounds (M,) from error bounds (M,) of the solution, with the rounding of the output sum."""
        size = (1 + float(self.orthonormality)) ** 0.5 * row_norms(widened(gamma))
        psi = namespace(gamma).abs(self.coefficients(mus))
        weight = psi @ beside(self.norms, gamma)
        n, terms = gamma.shape[1], len(self.norms)
        bound = weight * ((2 * size + error) * error * (1 + 1e-9) + 16 * (n + 2 + terms) ** 1.5 * ROUND_OFF * size**2)
        if self.rounding is not None:
            bound = bound + (psi @ beside(self.rounding, gamma)) * size**2 * (1 + 1e-9)
        return above_underflow(bound, weight, error)

    def truncate(self, size: int) -> ReducedQuadratic:
        """Return the output for the first `size` basis vectors."""
        return replace(self, matrices=self.matrices[:, :size, :size])


class ReducedOutput(Protocol):
    """An output of a reduced model: its value, and a bound of its error.

    :class:`ReducedLinear` and :class:`ReducedQuadratic` are such outputs; a user's own class may be one, too.
    """

    kind: ClassVar[str]

    @property
    def coefficients(self) -> Coefficients:
        """The coefficients psi of its terms."""

    def value(self, mus: Any, gamma: Any) -> Any:
        """Return values (M,) for reduced coefficients gamma (M, N)."""

    def bound(self, mus: Any, gamma: Any, error: Any) -> Any:
        """Return bounds (M,) of |s - s_N| from error bounds (M,) of the solution."""

    def truncate(self, size: int) -> ReducedOutput:
        """Return the output for the first `size` basis vectors."""

    def arrays(self) -> dict[str, Any]:
        """Return all that it is made of, for a file."""


def reduce_output(
    product: InnerProduct, basis: np.ndarray, output: Output, name: str = "of the model"
) -> ReducedOutput:
    """Return the output on the span of a P-orthonormal basis Z (n, N).

    Everything is formed for functionals brought to unit size by powers of two, so that no square over- or underflows,
    and scaled back.

    Raises ModelError, with the name of the output, if what comes out is beyond the range of numbers.
    """
    made = _quadratic(product, basis, output) if output.quadratic else _linear(product, basis, output)
    arrays = (made.matrices, made.norms) if isinstance(made, ReducedQuadratic) else (made.vectors, made.dual)
    if not all(np.all(np.isfinite(a)) for a in arrays):
        largest = max(float(abs(term).max()) for term in output.terms)
        raise ModelError(
            f"output {name!r} has entries up to {largest:.3g}: its reduced form is beyond the range of double "
            "precision; scale it down, and its values up"
        )
    if output.offset is not None:
        assert isinstance(made, ReducedLinear)
        return replace(made, offset=output.offset.numbers, offset_coefficients=output.offset.coefficients)
    return made


def _linear(product: InnerProduct, basis: np.ndarray, output: Output) -> ReducedLinear:
    vectors = np.stack(output.terms, axis=1)
    # to unit size in the units of the product, in one step: neither vectors * units nor a part of it may leave the
    # range of numbers
    sizes, shift = np.maximum(np.abs(vectors.real), np.abs(vectors.imag)), np.frexp(product.balance)[1][:, None] - 1
    lowest = np.iinfo(np.int32).min
    exponents = np.where(sizes > 0, np.frexp(sizes)[1] + shift, lowest).max(axis=0, initial=lowest)
    exponents = np.where(exponents == lowest, 0, exponents)
    vectors = scaled(vectors, -exponents)
    # |l^T v| = |(conj l)^H v| <= ||conj l||_{P^-1} ||v||_P: the functional v -> l^T v has the
    # representer P^{-1} conj(l)
    span = FunctionalRange(product)
    span.append(vectors.conj(), np.zeros_like(vectors), np.zeros(vectors.shape))
    growth = 1 + span.orthogonality
    of_sums = 3 * (len(exponents) + 4) * ROUND_OFF * span.norms
    split = extended.SplitMatrix(vectors.T, product.balance)
    hi, lo = extended.product(split, basis)
    rounding = extended.rounding(split, basis) + ROUND_OFF * np.abs(hi + lo)
    reduced, off = (scaled(part.T, exponents).T for part in (hi + lo, rounding))
    dual = scaled(growth * span.factor.conj(), exponents)
    defects = scaled(growth * (2 * span.defects + of_sums), exponents)
    return ReducedLinear(output.coefficients, reduced, dual, defects, off)


def _quadratic(product: InnerProduct, basis: np.ndarray, output: Output) -> ReducedQuadratic:
    forms, exponents = zip(*(product.in_units_scaled(q) for q in output.terms), strict=True)
    vectors = basis / product.balance[:, None]
    reduced = [_form(q, vectors) for q in forms]
    matrices = np.stack([scaled(m, e) for (m, _), e in zip(reduced, exponents, strict=True)])
    norms = scaled(np.array([form_norm(q, product.units) for q in forms]), np.array(exponents))
    rounding = scaled(np.array([off for _, off in reduced]), np.array(exponents))
    return ReducedQuadratic(output.coefficients, matrices, norms, rounding, product.orthonormality(basis))


def _form(form: Any, vectors: np.ndarray) -> tuple[np.ndarray, float]:
    """Return V^H Q V (N, N) in balanced units, V = S^-1 Z, and a bound of the Frobenius norm of its error.

    The products are formed in extended precision.
    """
    split = extended.SplitMatrix(form)
    image, off = extended.product(split, vectors), extended.rounding(split, vectors)
    adjoint = extended.SplitMatrix(vectors.conj().T)
    hi, lo = extended.product(adjoint, image)
    made = hi + lo
    off = extended.rounding(adjoint, image) + np.abs(vectors.T) @ off + ROUND_OFF * np.abs(made)
    return made, float(np.linalg.norm(off)) * (1 + 2.0**-20)
