"""What all estimators have in common."""

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
    """State of one estimator; see :mod:`rbm.estimators` for the table of all.

    A user's own is a frozen data class with a `kind`, `prepare`, `evaluate` and `astype`; give the class to ``estimators=``, and register it
    (:func:`rbm.register`) to read files that hold it.
    """

    kind: ClassVar[str]
    #: its short name in the papers, "E_onb" for example; none by default
    alias: ClassVar[str] = ""
    #: False for states that hold a full model and cannot be written to a file
    portable: ClassVar[bool] = True
    #: True for states that were looked at inside the parameter space only: outside it, nothing they say is resolved
    inside_only: ClassVar[bool] = False
    #: False for estimators whose bounds hold with a probability: a greedy, whose path depends on them, cannot be driven by these
    certain: ClassVar[bool] = True
    #: True for states that hold for the reduced solution gamma(mu) only; they have :meth:`distance` for other coefficients
    own_solution: ClassVar[bool] = False
    #: the arrays that live on a device with the model; all others are small and stay NumPy's
    matrices: ClassVar[tuple[str, ...]] = ()

    @classmethod
    @abstractmethod
    def prepare(cls, reduction: Reduction, training: np.ndarray) -> Self:
        """Offline: the state for the basis of a projection; E3 and E4 select their points from the different rows of `training` (M, p)."""

    @abstractmethod
    def evaluate(self, theta: Any, phi: Any, gamma: Any) -> Estimate:
        """Online: residual norms ||f - A Z gamma||_{P^-1} (M,) from theta (M, Qa), phi (M, Qf), gamma (M, N).

        In plain array operations, where these arrays and the matrices of the state live, all in the same place.
        """

    def distance(self, theta: Any, gamma: Any, other: Any) -> Any:
        """A bound (M,) of the dual norm of the difference of the residuals of two sets of coefficients; needed where `own_solution` is True."""
        raise NotImplementedError(f"{type(self).__name__} needs a method distance(theta, gamma, other)")

    def placed(self, move: Callable[[Any], Any]) -> Self:
        """The state with its matrices where `move` puts them."""
        return replace(self, **{name: move(getattr(self, name)) for name in self.matrices})

    def form(self, dtype: np.dtype) -> Form | None:
        """The same for the compiled kernels, which sum in double precision, complex if `dtype` is; None if they do not know it."""
        return None

    @abstractmethod
    def astype(self, dtype: npt.DTypeLike) -> Self:
        """The state with its matrices in float32 or float64, and what the conversion may have moved in its error constants.

        Raises ModelError for numbers beyond the range of float32, EstimatorUnusable where float32 leaves nothing of the estimator.
        """

    def __init_subclass__(cls, **options: Any) -> None:
        """Refuse the attribute's old name."""
        super().__init_subclass__(**options)
        if isinstance(vars(cls).get("method"), str):
            raise ModelError(f"{cls.__name__}.method is now called kind: write kind = {cls.method!r}")

    @property
    def method(self) -> str:
        """Its name, as `estimators=` and `method=` take it."""
        return self.kind

    @property
    def label(self) -> str:
        """What `repr` of a reduced model calls it."""
        return self.kind

    def truncate(self, size: int, columns: int) -> Self | None:
        """The state for the first `size` basis vectors, which use `columns` residual terms; None if it is not nested."""
        return None

    def arrays(self) -> dict[str, np.ndarray]:
        """The state as named arrays, for a file."""
        return {f.name: np.asarray(getattr(self, f.name)) for f in fields(self)}

    @classmethod
    def from_arrays(cls, arrays: dict[str, np.ndarray]) -> Self:
        """Inverse of :meth:`arrays`; files older than a field that has a default lack it."""
        known = [f for f in fields(cls) if f.name in arrays or f.default is f.default_factory is MISSING]
        return cls(**{f.name: arrays[f.name] if arrays[f.name].ndim else arrays[f.name].item() for f in known})


def rounding_constant(terms: int, dtype: np.dtype) -> float:
    """(m + 4) u, three times that for complex numbers: relative error of a sum of m products of rounded numbers.

    Proved, up to terms of order u^2 m^2: a real sum of m products is off by m u of its absolute terms in any order of summation, fused
    or not; its numbers c_j, products themselves, bring u; norm, division by beta and value + floor take the remaining 3 u. For complex
    numbers the real and the imaginary part are sums of 2 m products each, together off by 2 sqrt(2) m u < 3 m u.
    """
    u = float(np.finfo(dtype).eps) / 2
    return (3 if np.dtype(dtype).kind == "c" else 1) * (terms + 4) * u


def underflow(terms: int) -> float:
    """What a norm of that many numbers may lose because their squares underflow, about 1e-154."""
    return float(np.sqrt(2 * terms * np.finfo(float).tiny))
