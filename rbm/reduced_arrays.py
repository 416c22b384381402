"""The arrays of a reduced model and what they mean: all that is needed online, and all that a file holds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from lowrank.arrays import numpy_dtype
from rbm.coefficients import Coefficients
from rbm.errors import ModelError
from rbm.estimators import METHODS, Estimator
from rbm.full_order import Projection
from rbm.outputs import ReducedOutput
from rbm.parameters import ParameterSpace
from rbm.stability import StabilityBound

__all__ = ["ReducedArrays", "method_name"]


@dataclass(frozen=True, eq=False, repr=False)
class ReducedArrays:
    """A reduced system, its stability bound, outputs and estimators; :class:`rbm.ReducedModel` is what one does with them.

    The first estimator is the default one. `refused` holds, per method, why an estimator that was asked for is not here.
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
    #: eta >= ||Z^H P Z - I||, measured where a bound needs it (interpolated models)
    orthonormality: float = 1e-8
    output_units: Mapping[str, str] = field(default_factory=dict)  #: {"mean": "K"}, as far as they were given

    @property
    def size(self) -> int:
        """Number of basis vectors N."""
        return self.operators.shape[2]

    @property
    def dtype(self) -> np.dtype:
        """Type of the reduced matrices, as NumPy names it."""
        return numpy_dtype(self.operators)

    @property
    def method(self) -> str:
        """Name of the default estimator."""
        return next(iter(self.estimators), next(iter(self.refused), "none"))

    def state(self, method: str | None) -> Estimator:
        """The estimator of that name, alias or class; the default one for None. Raises ModelError if it is not here, and says why."""
        name = self.method if method is None else method_name(method)
        if name in self.estimators:
            return self.estimators[name]
        if name in self.refused:
            raise ModelError(f"estimator {name!r} is not available in this model: {self.refused[name]}")
        raise ModelError(
            f"this model has no estimator {name!r}; it has {', '.join(self.estimators) or 'none'}. Ask for it when the model is made: "
            f"estimators=({', '.join(repr(n) for n in (*self.estimators, name))})"
            + ("; this one needs the full-order model and is in no file" if name == "direct" else "")
        )


def method_name(method: Any) -> str:
    """Canonical name of an estimator given by name ("orthonormal"), by alias ("E_onb") or as a class."""
    if isinstance(method, type) and issubclass(method, Estimator):
        return method.method
    aliases = {"E1": "direct", "E2": "expanded", "E3": "sampled", "E4": "interpolated", "E_onb": "orthonormal"}
    name = aliases.get(method, method)
    if name not in METHODS:
        raise ModelError(
            f"unknown estimator {method!r}; the estimators are {', '.join(METHODS)} (aliases {', '.join(aliases)})"
        )
    return name
