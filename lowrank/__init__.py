"""Low-rank algebra in weighted inner products, on NumPy and CuPy: the floor under all the others.

>>> import lowrank
>>> [name for name in lowrank.__all__ if name.islower()]
['cross_approximation', 'gram_schmidt', 'pod', 'randomized_range', 'randomized_svd', 'truncated_svd']
"""

from lowrank.cross import CrossApproximation, cross_approximation
from lowrank.matrix import ErrorEstimate, LowRankMatrix
from lowrank.orthogonal import GramSchmidt, gram_schmidt
from lowrank.pod import POD, pod
from lowrank.randomized import randomized_svd
from lowrank.ranges import randomized_range
from lowrank.svd import truncated_svd

__all__ = [
    "POD",
    "CrossApproximation",
    "ErrorEstimate",
    "GramSchmidt",
    "LowRankMatrix",
    "cross_approximation",
    "gram_schmidt",
    "pod",
    "randomized_range",
    "randomized_svd",
    "truncated_svd",
]
