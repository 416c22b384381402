"""The base class of all error estimators, and the rounding constants that they share."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import MISSING, dataclass, fields, replace
from typing import Any, ClassVar, Self

import numpy as np
import numpy.typing as npt

from rbm.errors import ModelError
from rbm.estimate import Estimate
from rbm.online.forms import Form
from rbm.reduction.projected_system import Reduction

__all__ = ["Estimator", "rounding_constant", "underflow"]


@dataclass(frozen=True)
class Estimator(ABC):
    """The state of one estimator; :mod:`rbm.estimators` has the table of all.

    A user's own estimator is a frozen data class with a `kind`, `prepare`, `evaluate` and `astype`. Give the class to
    ``estimators=``, and register it (:func:`rbm.register`) to read files that hold it.
    """

    kind: ClassVar[str]
    #: the short name in the papers, "E_onb" for example; none by default
    alias: ClassVar[str] = ""
    #: False for states that hold a full model and cannot be written to a file
    portable: ClassVar[bool] = True
    #: True for states that were checked inside the parameter space only: outside it, no estimate counts as resolved
    inside_only: ClassVar[bool] = False
    #: False for estimators whose bounds hold with a probability: they cannot drive a greedy, whose path depends on the
    #: estimates
    certain: ClassVar[bool] = True
    #: True for states that hold for the reduced solution gamma(mu) only; for other coefficients they have
    #: :meth:`distance`
    own_solution: ClassVar[bool] = False
    #: the arrays that live on a device with the model; all others are small and stay NumPy's
    matrices: ClassVar[tuple[str, ...]] = ()

    @classmethod
    @abstractmethod
    def prepare(cls, reduction: Reduction, training: np.ndarray) -> Self:
        """Make the state for the basis of a projection; offline.

        training : (M, p) parameter points; E3 and E4 select their points from its different rows
        """

    @abstractmethod
    def evaluate(self, theta: Any, phi: Any, gamma: Any) -> Estimate:
        """Return the residual norms ||f - A Z gamma||_{P^-1} (M,); online.

        theta (M, Qa), phi (M, Qf) and gamma (M, N) live where the matrices of the state do, and so does the answer. It
        is computed by plain array operations.
        """

    def distance(self, theta: Any, gamma: Any, other: Any) -> Any:
        """Return bounds (M,) of the dual norm of the difference of two residuals, those of `gamma` and of `other`.

        theta : (M, Qa); gamma, other : coefficients (M, N). Needed where `own_solution` is True.

        Raises NotImplementedError where it is needed and not written.
        """
        raise NotImplementedError(f"{type(self).__name__} needs a method distance(theta, gamma, other)")

    def placed(self, move: Callable[[Any], Any]) -> Self:
        """Return the state with its matrices where `move` puts them."""
        return replace(self, **{name: move(getattr(self, name)) for name in self.matrices})

    def form(self, dtype: np.dtype) -> Form | None:
        """Return the estimator in the form that the compiled kernels know, or None if they do not know it.

        dtype : type of the sums, which are formed in double precision: real or complex
        """
        return None

    @abstractmethod
    def astype(self, dtype: npt.DTypeLike) -> Self:
        """Return the state with its matrices in float32 or float64.

        What the conversion may have moved is added to the error constants.

        Raises ModelError for numbers beyond the range of float32, and EstimatorUnusable if the estimator
        cannot be used in float32.
        """

    def __init_subclass__(cls, **options: Any) -> None:
        """Refuse `method`, the old name of the attribute `kind`."""
        super().__init_subclass__(**options)
        if isinstance(vars(cls).get("method"), str):
            raise ModelError(f"{cls.__name__}.method is now called kind: write kind = {cls.method!r}")

    @property
    def method(self) -> str:
        """The name that `estimators=` and `method=` take."""
        return self.kind

    @property
    def label(self) -> str:
        """The name in the `repr` of a reduced model."""
        return self.kind

    def truncate(self, size: int, columns: int) -> Self | None:
        """Return the state for the first `size` basis vectors, or None if that cannot be cut out of this one.

        columns : number of residual terms that these vectors use
        """
        return None

    def arrays(self) -> dict[str, np.ndarray]:
        """Return the state as named arrays, for a file; numbers are arrays of shape ()."""
        return {f.name: np.asarray(getattr(self, f.name)) for f in fields(self)}

    @classmethod
    def from_arrays(cls, arrays: dict[str, np.ndarray]) -> Self:
        """Make the state from :meth:`arrays`, arrays of shape () being numbers.

        A field with a default may be missing: files that are older than the field lack it.
        """
        known = [f for f in fields(cls) if f.name in arrays or f.default is f.default_factory is MISSING]
        return cls(**{f.name: arrays[f.name] if arrays[f.name].ndim else arrays[f.name].item() for f in known})


def rounding_constant(terms: int, dtype: np.dtype) -> float:
    """Return the relative rounding error of a sum of m products: (m + 4) u, or 3 (m + 4) u for complex numbers.

    Proved, up to terms of order u^2 m^2: a real sum of m products is off by m u of its absolute terms in any order of
    summation, fused or not; its numbers c_j, products themselves, bring u; norm, division by beta and value + floor
    take the remaining 3 u. For complex numbers the real and the imaginary part are sums of 2 m products each, together
    off by 2 sqrt(2) m u < 3 m u.
    """
    u = float(np.finfo(dtype).eps) / 2
    return (3 if np.dtype(dtype).kind == "c" else 1) * (terms + 4) * u


def underflow(terms: int) -> float:
    """Return what a norm of so many numbers may lose because their squares underflow, about 1e-154."""
    return float(np.sqrt(2 * terms * np.finfo(float).tiny))
