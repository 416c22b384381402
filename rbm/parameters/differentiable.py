"""A coefficient that is a function, together with its derivative."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from rbm.errors import ModelError, PointError

__all__ = ["Differentiable", "called_derivative", "differentiable"]


@dataclass(frozen=True)
class Differentiable:
    """A function of parameter points with its derivative; made by :func:`differentiable`.

    Any callable with a method or an attribute `derivative` serves as well.
    """

    function: Callable[[np.ndarray], Any]  #: mus (M, p) -> (M,)
    derivative: Callable[[np.ndarray], Any]  #: mus (M, p) -> (M, p)

    def __call__(self, mus: np.ndarray) -> Any:
        """Return the values (M,)."""
        return self.function(mus)

    @property
    def __name__(self) -> str:
        """The name of the function, for messages."""
        return str(getattr(self.function, "__name__", repr(self.function)))


def differentiable(function: Callable[[np.ndarray], Any], derivative: Callable[[np.ndarray], Any]) -> Differentiable:
    """Return a coefficient that knows its derivative, for :meth:`rbm.ReducedModel.gradient`.

    function : mus (M, p) -> (M,), vectorised, as every callable coefficient
    derivative : mus (M, p) -> (M, p), by parameter, in the order of the columns of `mus`; (M,) if there is one

    It can be pickled when both functions can; no file holds it. Raises ModelError for what is not callable.

    >>> theta = differentiable(lambda mus: mus[:, 0] ** 2, lambda mus: 2 * mus[:, :1])
    >>> theta(np.array([[3.0]])), theta.derivative(np.array([[3.0]]))
    (array([9.]), array([[6.]]))
    """
    for name, given in (("function", function), ("derivative", derivative)):
        if not callable(given):
            raise ModelError(f"{name} must be a function of mus (M, p), got {given!r:.60}")
    return Differentiable(function, derivative)


def called_derivative(source: Any, mus: np.ndarray) -> np.ndarray:
    """Return the derivative (M, p) of a callable coefficient at points (M, p), checked.

    Raises ModelError, with the name of the coefficient, where it has none, where it fails, or for another shape.
    """
    name = getattr(source, "__name__", repr(source))
    derivative = getattr(source, "derivative", None)
    if not callable(derivative):
        raise ModelError(
            f"the coefficient {name!r} is a callable without a derivative; give it one, "
            "rbm.differentiable(function, derivative) with derivative: mus (M, p) -> (M, p), or write it as an "
            "expression, which differentiates itself"
        )
    own = np.array(mus)
    own.flags.writeable = False
    try:
        made = np.asarray(derivative(own))
    except PointError:  # a product of coefficients names the one concerned, and the rows
        raise
    except Exception as error:
        raise ModelError(
            f"the derivative of the coefficient {name!r} failed for mus of shape {mus.shape}: "
            f"{type(error).__name__}: {error}"
        ) from error
    if made.shape == (len(mus),) and mus.shape[1] == 1:
        made = made[:, None]
    if made.shape != mus.shape or made.dtype.kind not in "biufc":
        raise ModelError(
            f"the derivative of the coefficient {name!r} must return numbers of shape {mus.shape}, one column a "
            f"parameter, got shape {made.shape} and dtype {made.dtype}"
        )
    return made.astype(complex if made.dtype.kind == "c" else float)
