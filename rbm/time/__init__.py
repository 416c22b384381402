"""Parabolic problems: the full model that marches in time, POD-greedy, and the reduced model with bounds at every step.

:class:`rbm.TimeModel` is the full model, :func:`rbm.pod_greedy` makes a reduced one, :class:`ReducedTimeModel`, whose
answers are :class:`TimeSolution`. docs/time.md has formulas, shapes and errors.
"""

from rbm.time.files import load
from rbm.time.greedy_result import PODGreedyResult, PODGreedyStep
from rbm.time.model import TimeModel
from rbm.time.pod_greedy import pod_greedy
from rbm.time.project import project_time
from rbm.time.reduced import ReducedTimeModel
from rbm.time.solution import TimeSolution

__all__ = [
    "PODGreedyResult", "PODGreedyStep", "ReducedTimeModel", "TimeModel", "TimeSolution", "load", "pod_greedy",
    "project_time",
]  # fmt: skip
