"""The reduced model: small arrays, queries for a batch of parameter points, error bounds and outputs.

``arrays`` has the arrays that a model holds, ``model`` the methods of :class:`rbm.ReducedModel`. ``online_query``
answers one piece of a batch; ``error_bound`` divides by beta; ``outputs``, ``compliant`` and ``primal_dual`` have the
kinds of outputs; ``precision_change``, ``placement``, ``shortened`` and ``origin`` are one concept each.
"""

from rbm.reduced.arrays import ReducedArrays
from rbm.reduced.model import ReducedModel

__all__ = ["ReducedArrays", "ReducedModel"]
