"""Outputs of a reduced model: linear and quadratic functionals, with bounds of their errors."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple, Protocol, Self

import numpy as np

from lowrank.arrays import beside, is_complex, mixed_product, namespace, real_part
from rbm.affine.offsets import Offset
from rbm.arithmetic.precision import ROUND_OFF, row_norms, underflow_of_sums, widened
from rbm.online.definitions import compiled_code_serves
from rbm.parameters.coefficients import Coefficients
from rbm.reduced.linear_terms import LinearTerms, above_underflow
from rbm.reduced.saved_output import SavedOutput
from rbm.storage.registry import register
from rbm.storage.stored_arrays import Stored

if TYPE_CHECKING:
    from rbm.online.compiled_outputs import PackedForms, PackedFunctional

__all__ = [
    "AtPoints",
    "LinearTerms",
    "ReducedLinear",
    "ReducedOutput",
    "ReducedQuadratic",
    "above_underflow",
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
    l_q^T Z is bounded offline, that of the online sums is 3 (N + Ql + 4) u of their absolute terms; both are proved,
    for sums over n or q first, with fused products or without: a sum of k complex products is right to 8^{1/2} k u.

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
        psi = self.coefficients(mus)
        compiled = self._compiled(psi, gamma)
        return self._sums(psi, gamma) if compiled is None else compiled.values(psi, gamma)

    def _sums(self, psi: Any, gamma: Any) -> Any:
        """Return the definition of the values (M,) that are compiled, in array operations."""
        vectors = mixed_product(psi, beside(self.vectors, gamma))
        return namespace(gamma).sum(vectors * widened(gamma), axis=1)

    def _compiled(self, psi: Any, gamma: Any) -> PackedFunctional | None:
        """Return the output for compiled code, which takes arrays of NumPy; None for others."""
        fit = psi.shape == (gamma.shape[0], len(self.vectors)) and gamma.shape[1] == self.size
        if not (fit and compiled_code_serves(psi, gamma)):
            return None
        from rbm.online.compiled_outputs import pack_functional  # loads Numba

        kind = any(map(is_complex, (psi, gamma, self.vectors, self.dual)))
        if kind not in self._packed:
            self._packed[kind] = pack_functional(self.vectors, self._sizes, self.dual, self._defects, kind)
        return self._packed[kind]

    @cached_property
    def _packed(self) -> dict[bool, PackedFunctional]:
        return {}

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
        if self._constant is not None:
            _, sizes, fixed = self._constant
            made = fixed * error + widened(namespace(gamma).abs(gamma)) @ beside(sizes, gamma)
            return above_underflow(made + self._off(mus), fixed, error)
        psi = self.coefficients(mus)
        compiled = self._compiled(psi, gamma)
        size, norm = self._magnitudes(psi, gamma) if compiled is None else compiled.sizes_and_norms(psi, gamma)
        norm = self._upward(norm)
        return above_underflow(norm * error + size + self._off(mus), norm, error)

    def _magnitudes(self, psi: Any, gamma: Any) -> tuple[Any, Any]:
        """Return the definition of what is compiled for bounds, rounding of the sum and ||l||_{P'} but for its own."""
        xp = namespace(gamma)
        size = xp.sum((xp.abs(psi) @ beside(self._sizes, gamma)) * widened(xp.abs(gamma)), axis=1)
        return size, self._plain_norm(psi)

    def _norm(self, psi: Any) -> Any:
        """Return ||l||_{P'} (M,) from coefficients (M, Ql)."""
        return self._upward(self._plain_norm(psi))

    def _plain_norm(self, psi: Any) -> Any:
        size = namespace(psi).abs(psi)
        return row_norms(mixed_product(psi, beside(self.dual.T, psi))) + size @ beside(self._defects, psi)

    def _upward(self, norm: Any) -> Any:
        """Return a norm with the rounding of its computation."""
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
    held and summed in double precision, also for a model in single precision. Compiled code sums over the upper
    triangle of the real form of (Q + Q^H) / 2, of order 2 N, which takes half the products: (4 N + 2) (2 N)^{1/2} u.
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
        compiled = self._compiled(gamma)
        forms = self._forms(gamma) if compiled is None else compiled.values(gamma)
        return namespace(gamma).sum(self.coefficients(mus) * forms, axis=1)

    def _forms(self, gamma: Any) -> Any:
        """Return the definition of the forms (M, Ql) that are compiled, in array operations."""
        xp, gamma = namespace(gamma), widened(gamma)
        conjugate = xp.conj(gamma)
        forms = [real_part(xp.sum(conjugate * mixed_product(gamma, beside(q.T, gamma)), axis=1)) for q in self.matrices]
        return xp.stack(forms, axis=1)

    def _compiled(self, gamma: Any) -> PackedForms | None:
        """Return the forms for compiled code, which takes arrays of NumPy; None for others."""
        if not (gamma.shape[1] == self.size and compiled_code_serves(gamma, self.matrices)):
            return None
        from rbm.online.compiled_outputs import pack_forms  # loads Numba

        kind = is_complex(gamma)
        if kind not in self._packed:
            self._packed[kind] = pack_forms(self.matrices, kind)
        return self._packed[kind]

    @cached_property
    def _packed(self) -> dict[bool, PackedForms]:
        return {}

    def bound(self, mus: Any, gamma: Any, error: Any) -> Any:
        """Return bounds (M,) from error bounds (M,) of the solution, with the rounding of the output sum."""
        compiled = self._compiled(gamma)
        norms = row_norms(widened(gamma)) if compiled is None else compiled.norms(gamma)
        size = (1 + float(self.orthonormality)) ** 0.5 * norms
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
