"""Empirical interpolation of functions, vectors and matrices.

Words and symbols are explained in docs/glossary.md.

>>> import eim
>>> sorted(eim.__all__)
['EmpiricalInterpolation', 'Separation', 'deim', 'empirical_interpolation', 'lagrange', 'qdeim', 'separate']
"""

from eim.discrete import deim, qdeim
from eim.interpolation import EmpiricalInterpolation, empirical_interpolation
from eim.separation import Separation, lagrange, separate

__all__ = ["EmpiricalInterpolation", "Separation", "deim", "empirical_interpolation", "lagrange", "qdeim", "separate"]
