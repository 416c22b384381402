"""The weak greedy loop: a surrogate is extended where it is worst, until a rule stops it.

It knows two verbs, evaluate and extend, and no model. :func:`rbm.greedy` extends a reduced basis with it,
:class:`rbm.stability.Anchored` a set of anchors.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, Protocol

import numpy as np

from lowrank.progress import progress_bar
from rbm.errors import ParameterError

__all__ = ["Stop", "StoppingRule", "Surrogate", "Worst", "check_batch", "weak_greedy"]

#: Why a run ended. "unresolved": rounding hides the value at all points; "exhausted": an extension adds nothing.
Stop = Literal["tolerance", "unresolved", "limit", "exhausted"]


class Worst(NamedTuple):
    """The training point at which a surrogate is worst."""

    point: int  #: its number in the training set
    value: float  #: what shall become small, at this point
    resolved: bool = True  #: False if rounding hides the value at all training points


class Surrogate(Protocol):
    """What a weak greedy run extends; it holds its own training set."""

    @property
    def size(self) -> int:
        """Number of extensions it consists of."""

    def evaluate(self) -> Worst:
        """Find the training point where the surrogate is worst."""

    def extend(self, point: int) -> bool:
        """Add what is known at training point number `point`, and at others; return False if that adds nothing."""


@dataclass(frozen=True)
class StoppingRule:
    """When a weak greedy run stops: at a tolerance, at a limit of the size, or where rounding hides the values."""

    tol: float  #: stop when the worst value is at most this
    limit: int  #: stop at this size
    least: int = 0  #: the tolerance does not count below this size

    def __call__(self, size: int, worst: Worst) -> Stop | None:
        """Return why a surrogate of this size is not extended any more; None if it is."""
        if worst.value <= self.tol and size >= self.least:
            return "tolerance"
        if size > 0 and not worst.resolved:
            return "unresolved"
        return "limit" if size >= self.limit else None


def weak_greedy(
    surrogate: Surrogate,
    rule: StoppingRule,
    text: str,
    *,
    shown: Callable[[float], str] = "{:.1e}".format,
    total: int | None = None,
    progress: bool = False,
    after: Callable[[], object] = lambda: None,
) -> tuple[Stop, Worst]:
    """Extend a surrogate at its worst training point, again and again, until the rule stops it.

    Parameters
    ----------
    surrogate : starts as it is, empty or with what an earlier run added
    rule : asked after each evaluation
    text : what the progress bar is called
    shown : makes the text beside the bar from the worst value
    total : the expected size, where it is known
    progress : show the bar, on a terminal or in a notebook
    after : called after each extension, for example to write a checkpoint

    Returns
    -------
    Why the run ended, and the worst point of the last evaluation.

    Errors of the surrogate, and Ctrl-C, come through as they are: whoever made the surrogate knows what of it is whole.
    Cost: one evaluation more than extensions.
    """
    with progress_bar(None, text, enabled=progress, total=total) as bar:
        while True:
            bar.update(surrogate.size - bar.n)
            worst = surrogate.evaluate()
            bar.set_postfix_str(shown(worst.value))
            stop = rule(surrogate.size, worst)
            if stop is None and not surrogate.extend(worst.point):
                stop = "exhausted"
            if stop is not None:
                return stop, worst
            after()


def check_batch(batch: Any) -> None:
    """Raise ParameterError for a number of extensions a step that is no whole number of at least 1."""
    if isinstance(batch, bool) or not (isinstance(batch, int | np.integer) and batch >= 1):
        raise ParameterError(f"batch must be a whole number of at least 1, got {batch!r}")
