"""Empirical interpolation of functions and vectors.

>>> import eim
>>> sorted(eim.__all__)
['EmpiricalInterpolation', 'deim', 'empirical_interpolation', 'qdeim']
"""

from eim.discrete import deim, qdeim
from eim.interpolation import EmpiricalInterpolation, empirical_interpolation

__all__ = ["EmpiricalInterpolation", "deim", "empirical_interpolation", "qdeim"]
