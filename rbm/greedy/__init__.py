"""Greedy runs: a reduced model from a training set, with one basis or with a basis for each box of parameters.

``weak`` has :func:`rbm.greedy`, ``run`` one run under way, ``boxes`` the search for boxes that need few vectors each,
``snapshots`` the solutions that the runs of all boxes share.
"""

from rbm.files.greedy_result import GreedyResult, GreedyStep
from rbm.greedy.weak import greedy

__all__ = ["GreedyResult", "GreedyStep", "greedy"]
