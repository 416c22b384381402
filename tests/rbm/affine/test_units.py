"""Whitened units: what an error of each entry may become there."""

from __future__ import annotations

import numpy as np

from rbm.affine.inner_product import InnerProduct
from rbm.solvers.definite import norm_bound


def test_the_size_bounds_every_error_that_is_as_small_in_each_entry() -> None:
    """|T^H E T| for |E| <= |H|; the transform of |H| itself would be too small, as the entries of T have both signs."""
    rng = np.random.default_rng(0)
    n = 12
    turn = np.linalg.qr(rng.standard_normal((n, n)))[0]
    product = (turn * np.geomspace(1e-9, 1, n)) @ turn.T
    units = InnerProduct((product + product.T) / 2).units
    assert units.transform is not None  # ill-conditioned: whitened
    h = rng.standard_normal((n, n))
    h = h + h.T
    bound, naive = norm_bound(units.size(h)), norm_bound(units.take(abs(h))[0])
    errors = [abs(h) * np.sign(rng.standard_normal((n, n))) for _ in range(50)]
    sizes = [np.linalg.norm(units.take((e + e.T) / 2)[0], 2) for e in errors]
    assert max(sizes) <= bound
    assert max(sizes) > naive
    balanced = InnerProduct(np.eye(n)).units
    assert np.array_equal(balanced.size(h), abs(h))
