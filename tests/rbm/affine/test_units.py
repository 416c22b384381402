"""Whitened units: what an error of each entry may become there."""

from __future__ import annotations

import numpy as np
import scipy.sparse as sp

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


def test_a_matrix_in_units_is_what_it_is_entry_by_entry() -> None:
    """Entries that are stored twice count as their sum, whole numbers become other ones, and nothing is rounded."""
    rng = np.random.default_rng(2)
    n = 30
    product = InnerProduct(sp.diags_array(4.0 ** rng.integers(-9, 9, n)) @ sp.eye_array(n, format="csr"))
    rows, columns = rng.integers(0, n, (2, 200))
    stored = sp.csr_array(
        (rng.integers(-5, 6, 200), columns[np.argsort(rows)], np.searchsorted(np.sort(rows), range(n + 1)))
    )
    assert not stored.has_canonical_format
    before = stored.data.copy()
    for matrix in (stored, stored * 0.3, stored * (1 + 2j), sp.coo_array(stored * 0.3)):
        made = product.in_units(matrix)
        expected = product.balance[:, None] * matrix.toarray() * product.balance
        np.testing.assert_array_equal(made.toarray(), expected)
        np.testing.assert_array_equal(product.in_units(matrix.toarray()), expected)
        assert made.dtype.kind in "fc"
        assert made.has_canonical_format
        assert np.abs(made).max() == np.abs(expected).max()
    np.testing.assert_array_equal(stored.data, before)  # the user's matrix is left alone
