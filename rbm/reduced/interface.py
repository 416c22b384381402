"""What a reduced model can do, whichever way it is made: what calibration, minimisation and queries ask for."""

from __future__ import annotations

from collections.abc import Mapping
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

    def state(self, method: str | None) -> Any:
        """Return the estimator of that name; raise ModelError if there is none."""

    def solve(self, mus: Any, estimate: bool = True, **options: Any) -> Any:
        """Return a :class:`rbm.Solution` for parameter points (M, p)."""

    def gradient(self, mus: Any, outputs: Any = None, **options: Any) -> Any:
        """Return a :class:`rbm.Gradient` at parameter points (M, p)."""

    def evaluator(self, method: str | None = None, **options: Any) -> Any:
        """Return a function of one point that gives plain numbers."""

    def to(self, target: Any, *, device: Any = None) -> Any:
        """Return the model with its matrices elsewhere."""
