"""Low-rank algebra in weighted inner products, on NumPy and CuPy: the floor under all the others.

>>> import lowrank
>>> print(*sorted(lowrank.__all__))
CUR CrossApproximation GramSchmidt LowRankMatrix POD cross_approximation cur gram_schmidt interpolative_decomposition pod
"""

from lowrank.cross import CrossApproximation, cross_approximation
from lowrank.interpolative import CUR, cur, interpolative_decomposition
from lowrank.matrix import LowRankMatrix
from lowrank.orthogonal import GramSchmidt, gram_schmidt
from lowrank.pod import POD, pod

__all__ = [
    "CUR",
    "POD",
    "CrossApproximation",
    "GramSchmidt",
    "LowRankMatrix",
    "cross_approximation",
    "cur",
    "gram_schmidt",
    "interpolative_decomposition",
    "pod",
]
