"""The arrays of a reduced model and their meaning: what is needed online, and what a file holds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from lowrank import Quantized
from lowrank.arrays import namespace, numpy_dtype
from rbm.affine.constraints import Constraints
from rbm.errors import ModelError
from rbm.estimators import METHODS, Estimator
from rbm.full_order import Projection
from rbm.parameters.coefficients import Coefficients
from rbm.parameters.space import ParameterSpace
from rbm.reduced.coded_basis import CodedBasis
from rbm.reduced.outputs import ReducedOutput
from rbm.reduced.record import Record
from rbm.reduced.term_norms import TermNorms
from rbm.stability.bound import StabilityBound

__all__ = ["ReducedArrays", "estimator_class"]


#: What to do about a model that has no estimator at all, such as the file of one whose only estimator is "direct".
REMEDY = "make the model with one that a file holds, for instance estimators=('orthonormal',)"


@dataclass(frozen=True, eq=False, repr=False)
class ReducedArrays:
    """A reduced system with its stability bound, outputs and estimators.

    :class:`rbm.ReducedModel` adds the methods. The first estimator is the default one. `refused` holds, per method, the
    reason why an estimator that was asked for is not here.
    """

    parameters: ParameterSpace
    operator_coefficients: Coefficients
    rhs_coefficients: Coefficients
    stability: StabilityBound
    operators: np.ndarray  #: Z^H A_q Z (Qa, N, N); for least squares the columns of R that belong to A_q Z (Qa, k, N)
    rhs: np.ndarray  #: Z^H f_q (Qf, N); for least squares the columns of R that belong to f_q (Qf, k)
    outputs: Mapping[str, ReducedOutput]
    estimators: Mapping[str, Estimator]
    refused: Mapping[str, str] = field(default_factory=dict)
    basis: np.ndarray | None = None  #: Z (n, N), if it was kept
    selected: np.ndarray | None = None  #: parameters of the snapshots (N, p), if known
    projection: Projection = "galerkin"
    #: (eps_A, eps_f) of :class:`rbm.FullOrderModel`, if the model is an interpolated one
    interpolation_error: Coefficients | None = None
    #: eta >= ||Z^H P Z - I||_F, proved; in files of earlier versions only for interpolated models, 0 for others
    orthonormality: float = 1e-8
    output_units: Mapping[str, str] = field(default_factory=dict)  #: {"mean": "K"}, for outputs whose unit was given
    constraints: Constraints | None = None  #: which unknowns were eliminated, if known, and their values
    product: Any = None  #: P (n, n), if it was kept: `quantize` measures errors in its norm
    coded: CodedBasis | None = None  #: what stands for Z in few bits, instead of `basis`
    coded_matrices: Mapping[str, Quantized] = field(default_factory=dict)  #: codes of "operators" and "rhs", if any
    term_norms: TermNorms | None = None  #: ||A_q||, for bounds of derivatives; None in older files
    #: what bounds rest on that was measured and not proved, in words; empty where all was proved, and in older files
    measured: str = ""
    record: Record | None = None  #: how the model was made; None in older files, which do not say

    @property
    def size(self) -> int:
        """The number of basis vectors N."""
        return self.operators.shape[2]

    @property
    def unknowns(self) -> int | None:
        """The number of unknowns n of the full model; None for a model without a basis."""
        basis = self.basis if self.coded is None else self.coded
        return None if basis is None else int(basis.shape[0])

    @property
    def dtype(self) -> np.dtype:
        """The type of the reduced matrices, as a NumPy dtype."""
        return numpy_dtype(self.operators)

    @property
    def method(self) -> str:
        """The name of the default estimator."""
        return next(iter(self.estimators), next(iter(self.refused), "none"))

    def state(self, method: str | None) -> Estimator:
        """Return the estimator of that name, alias or class; the default one for None.

        Raises ModelError if it is not here, with the reason, those that are, and how to get one.
        """
        name = self.method if method is None else estimator_class(method).kind
        if name in self.estimators:
            return self.estimators[name]
        held = f"it has {', '.join(map(repr, self.estimators)) or 'none'}"
        if name in self.refused:
            remedy = "" if self.estimators else f", so that nothing bounds its errors; {REMEDY}"
            raise ModelError(
                f"estimator {name!r} is not available in this model: {self.refused[name]}; of estimators {held}{remedy}"
            )
        if name == "direct":
            raise ModelError(
                f"this model has no estimator 'direct'; {held}. It needs the full-order model and is in no file: ask "
                f"for it when the model is made, estimators={(*self.estimators, name)}, and use that one"
            )
        raise ModelError(
            f"this model has no estimator {name!r}; {held}. Ask for it when the model is made: "
            f"estimators={(*self.estimators, name)}"
        )

    def __repr__(self) -> str:
        full = "" if self.unknowns is None else f" for {self.unknowns} unknowns"
        full += "" if self.coded is None else f", {self.coded.summary}"
        place = namespace(self.operators).__name__.rpartition(".")[2]
        where = "" if isinstance(self.operators, np.ndarray) else f" on {place}"
        refused = f", refused: {', '.join(self.refused)}" if self.refused else ""
        refused += ", definiteness measured, not proved" if self.measured else ""
        return (
            f"{type(self).__name__}(N = {self.size}{full}, {self.operators.shape[0]} operator and {self.rhs.shape[0]} "
            f"right-hand side terms, {self.dtype}{where}, {self.projection}, {self.parameters}, estimators: "
            f"{', '.join(s.label for s in self.estimators.values()) or 'none'}{refused}"
            + (f", outputs: {', '.join(self.outputs)})" if self.outputs else ")")
        )


def estimator_class(method: Any) -> type[Estimator]:
    """Return the class of an estimator, given by name ("orthonormal"), by alias ("E_onb") or as a class."""
    if isinstance(method, type) and issubclass(method, Estimator):
        if not isinstance(getattr(method, "kind", None), str):
            raise ModelError(f"the estimator {method.__name__} needs a class attribute `kind`, its name")
        return method
    aliases = {own: name for name, cls in METHODS.items() if (own := vars(cls).get("alias"))}
    name = aliases.get(method, method) if isinstance(method, str) else method
    if not isinstance(name, str) or name not in METHODS:
        known = f"{', '.join(METHODS)} (aliases {', '.join(aliases)})"
        raise ModelError(f"unknown estimator {method!r}; the estimators are {known}")
    return METHODS[name]
