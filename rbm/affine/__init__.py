"""The linear system A(mu) u = f(mu) in affine form, with its inner product P and its functionals.

``system`` is A(mu), f(mu) and P; ``terms`` and ``sums`` are its parts, and ``terms`` reads quantities of interest;
``inner_product`` has Riesz representers and dual norms; ``functional_range`` orthonormalises functionals;
``truth_solves`` solves beyond double precision. ``foreign`` and ``matrix_files`` read matrices of other codes,
``elimination`` takes Dirichlet conditions out of a system, and ``constraints`` knows which.
"""

from rbm.affine.inner_product import InnerProduct
from rbm.affine.system import AffineSystem

__all__ = ["AffineSystem", "InnerProduct"]
