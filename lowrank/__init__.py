"""Low-rank algebra in weighted inner products, on NumPy and CuPy.

>>> import lowrank
>>> for name in lowrank.__all__:
...     if name.islower():
...         print(name)
allocate_bits
cross_approximation
cur
gaussian_losses
gram_schmidt
integer_product
interpolative_decomposition
pod
quantize
randomized_range
randomized_svd
truncated_svd

Words and symbols are explained in docs/glossary.md.
"""

from lowrank.bits import BitAllocation, allocate_bits
from lowrank.cross import CrossApproximation, cross_approximation
from lowrank.gaussian_levels import gaussian_losses
from lowrank.integer_products import integer_product
from lowrank.interpolative import CUR, InterpolativeDecomposition, cur, interpolative_decomposition
from lowrank.matrix import ErrorEstimate, LowRankMatrix
from lowrank.orthogonal import GramSchmidt, gram_schmidt
from lowrank.pod import POD, pod
from lowrank.quantized import Quantized
from lowrank.quantizer import quantize
from lowrank.randomized import randomized_svd
from lowrank.ranges import randomized_range
from lowrank.residual_codes import ResidualCodes
from lowrank.residual_quantizer import ResidualQuantizer
from lowrank.svd import truncated_svd

__all__ = [
    "CUR", "POD", "BitAllocation", "CrossApproximation", "ErrorEstimate", "GramSchmidt", "InterpolativeDecomposition",
    "LowRankMatrix", "Quantized", "ResidualCodes", "ResidualQuantizer", "allocate_bits", "cross_approximation", "cur",
    "gaussian_losses", "gram_schmidt", "integer_product", "interpolative_decomposition", "pod", "quantize",
    "randomized_range", "randomized_svd", "truncated_svd",
]  # fmt: skip
