"""Low-rank algebra in weighted inner products, on NumPy and CuPy.

>>> import lowrank
>>> for name in lowrank.__all__:
...     if name.islower():
...         print(name)
cross_approximation
cur
gram_schmidt
interpolative_decomposition
pod
randomized_range
randomized_svd
truncated_svd

Words and symbols are explained in docs/glossary.md.
"""

from lowrank.cross import CrossApproximation, cross_approximation
from lowrank.interpolative import CUR, InterpolativeDecomposition, cur, interpolative_decomposition
from lowrank.matrix import ErrorEstimate, LowRankMatrix
from lowrank.orthogonal import GramSchmidt, gram_schmidt
from lowrank.pod import POD, pod
from lowrank.randomized import randomized_svd
from lowrank.ranges import randomized_range
from lowrank.svd import truncated_svd

__all__ = [
    "CUR", "POD", "CrossApproximation", "ErrorEstimate", "GramSchmidt", "InterpolativeDecomposition", "LowRankMatrix",
    "cross_approximation", "cur", "gram_schmidt", "interpolative_decomposition", "pod", "randomized_range",
    "randomized_svd", "truncated_svd",
]  # fmt: skip
