"""The projection of a full-order model onto a growing basis, and the residual's range; offline only.

``projected_system`` has the reduced matrices, Galerkin or least squares, and an orthonormal basis D of the residual's
range, W = D R.
"""

from rbm.reduction.projected_system import Reduction, ResidualRange, solved

__all__ = ["Reduction", "ResidualRange", "solved"]
