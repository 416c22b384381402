"""Parabolic problems: the full model that marches in time, POD-greedy, and the reduced model with bounds at every step.

:class:`rbm.TimeModel` is the full model, :func:`rbm.pod_greedy` makes a reduced one, :class:`ReducedTimeModel`, whose
answers are :class:`TimeSolution`. docs/time.md has formulas, shapes and errors.
"""

from rbm.time.model import TimeModel

__all__ = ["TimeModel"]
