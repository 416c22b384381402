"""What a reduced model can do, whichever way it is made: what calibration, minimisation and queries ask for."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol, runtime_checkable

from rbm.parameters.space import ParameterSpace

__all__ = ["Reduced"]


@runtime_checkable
class Reduced(Protocol):
    """What :class:`rbm.ReducedModel` and :class:`rbm.PartitionedModel` have in common.

    A class of your own that has these names is taken by ``minimize``, ``calibrate`` and the functions for torch and
    JAX.
    """

    @property
    def parameters(self) -> ParameterSpace:
        """The space of the parameters."""

    @property
    def outputs(self) -> Mapping[str, Any]:
        """The outputs by name."""

    @property
    def operators(self) -> Any:
        """Reduced matrices, which live where answers do."""

    @property
    def state(self) -> Callable[..., Any]:
        """``state(method)``: the estimator of that name; ModelError if there is none."""

    @property
    def solve(self) -> Callable[..., Any]:
        """``solve(mus, estimate=True, ...)``: a :class:`rbm.Solution` for parameter points (M, p)."""

    @property
    def gradient(self) -> Callable[..., Any]:
        """``gradient(mus, outputs=None, ...)``: a :class:`rbm.Gradient` at parameter points (M, p)."""

    @property
    def evaluator(self) -> Callable[..., Any]:
        """``evaluator(method=None, ...)``: a function of one point that gives plain numbers."""

    @property
    def to(self) -> Callable[..., Any]:
        """``to(target, device=None)``: the model with its matrices elsewhere."""
