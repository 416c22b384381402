"""Low-rank algebra in weighted inner products, on NumPy and CuPy: the floor under all the others.

>>> import lowrank
>>> sorted(lowrank.__all__)
['CrossApproximation', 'GramSchmidt', 'LowRankMatrix', 'POD', 'cross_approximation', 'gram_schmidt', 'pod']
"""

from lowrank.cross import CrossApproximation, cross_approximation
from lowrank.matrix import LowRankMatrix
from lowrank.orthogonal import GramSchmidt, gram_schmidt
from lowrank.pod import POD, pod

__all__ = ["POD", "CrossApproximation", "GramSchmidt", "LowRankMatrix", "cross_approximation", "gram_schmidt", "pod"]
