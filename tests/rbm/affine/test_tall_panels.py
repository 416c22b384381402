"""Compiled products of tall matrices with a few columns are right to the order of their sums, for any shape."""

from __future__ import annotations

import numpy as np
import pytest

from lowrank import gram_schmidt
from lowrank.panels import Products
from rbm.affine.tall_panels import TallPanels, panels
from rbm.arithmetic.precision import ROUND_OFF
from rbm.online.kernels import tall_panels as kernels
from rbm.online.threads import each


def columns(rng: np.random.Generator, n: int, k: int) -> np.ndarray:
    return np.asfortranarray(rng.standard_normal((n, k)))


def counted(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return a list to which each call of a kernel adds its name."""
    called: list[str] = []
    for name in ("adjoint_sums", "subtract_products"):
        kernel = getattr(kernels, name)
        monkeypatch.setattr(kernels, name, lambda *a, f=kernel, name=name: (called.append(name), f(*a))[1])
    return called


@pytest.mark.parametrize("n", [4096, 5003, 16384 + 4103])
@pytest.mark.parametrize("m", [2, 3, 4, 9])
def test_products_are_right_to_round_off(n: int, m: int, monkeypatch: pytest.MonkeyPatch) -> None:
    rng, called = np.random.default_rng(m), counted(monkeypatch)
    x, pieces = columns(rng, n, m), [columns(rng, n, k) for k in (64, 17, 8, 1, 0)]
    factors = [rng.standard_normal((y.shape[1], m)) for y in pieces]
    found, kept = panels.adjoint(x, pieces), x.copy()
    left = panels.without(x.copy(order="F"), pieces, factors)
    assert {"adjoint_sums", "subtract_products"} == set(called)
    np.testing.assert_array_equal(x, kept)
    for y, h in zip(pieces, found, strict=True):
        exact = (y.T.astype(np.longdouble) @ x).astype(float)
        sizes = np.abs(y).T @ np.abs(x)
        # eight sums side by side, of blocks of 1024 rows, then of slices: each number is added n / 8 + 15 times at most
        assert np.all(np.abs(h - exact) <= (n / 8 + 20) * ROUND_OFF * sizes)
    exact = x.astype(np.longdouble) - sum(y.astype(np.longdouble) @ h for y, h in zip(pieces, factors, strict=True))
    sizes = np.abs(x) + sum(np.abs(y) @ np.abs(h) for y, h in zip(pieces, factors, strict=True))
    assert np.all(np.abs(left - exact.astype(float)) <= 100 * ROUND_OFF * sizes)


@pytest.mark.parametrize("kind", [np.float32, np.complex128])
def test_other_numbers_and_shapes_are_numpys(kind: type, monkeypatch: pytest.MonkeyPatch) -> None:
    rng, called = np.random.default_rng(0), counted(monkeypatch)
    for n, m, as_kind in ((4500, 3, kind), (4095, 3, float), (4500, 1, float)):
        x, y = columns(rng, n, m).astype(as_kind), columns(rng, n, 5).astype(as_kind)
        h = panels.adjoint(x, [y])
        np.testing.assert_array_equal(h[0], Products().adjoint(x, [y])[0])
        np.testing.assert_array_equal(panels.without(x, [y], h), Products().without(x, [y], h))
    assert not called


def test_columns_may_lie_anywhere(tmp_path) -> None:  # type: ignore[no-untyped-def]
    rng = np.random.default_rng(0)
    x, y, h = columns(rng, 5000, 4), columns(rng, 5000, 6), rng.standard_normal((6, 4))
    mapped = np.memmap(tmp_path / "y", float, "w+", shape=(5000, 6), order="F")
    mapped[:] = y
    mapped.flush()
    read = np.memmap(tmp_path / "y", float, "r", shape=(5000, 6), order="F")
    fixed = x.copy(order="F")
    fixed.flags.writeable = False
    wanted = panels.adjoint(x, [y])[0], panels.without(x.copy(order="F"), [y], [h])
    for left, many in ((fixed, np.asarray(read)), (np.ascontiguousarray(x), np.ascontiguousarray(y))):
        np.testing.assert_array_equal(panels.adjoint(left, [many])[0], wanted[0])
        np.testing.assert_array_equal(panels.without(left, [many], [h]), wanted[1])
    np.testing.assert_array_equal(fixed, x)


def test_columns_are_copied_once_where_they_must_be(monkeypatch: pytest.MonkeyPatch) -> None:
    """A copy for each slice of the rows would cost n^2: 6 s in place of 0.1 s with 400 000 rows."""
    rng, given = np.random.default_rng(0), []
    for name in ("adjoint_sums", "subtract_products"):
        kernel = getattr(kernels, name)
        monkeypatch.setattr(kernels, name, lambda *a, f=kernel: (given.append(a[0]), f(*a))[1])
    n = 2 * 16384 + 5
    x, y = columns(rng, n, 3), np.ascontiguousarray(columns(rng, n, 4))
    for product in (lambda: panels.adjoint(x, [y]), lambda: panels.without(x, [y], [np.ones((4, 3))])):
        given.clear()
        product()
        assert len(given) == 3
        assert all(a is given[0] for a in given)


def test_shapes_that_do_not_fit_are_not_for_compiled_code(monkeypatch: pytest.MonkeyPatch) -> None:
    """It looks at no bounds: it would read, or write, what is beside an array."""
    rng, called = np.random.default_rng(0), counted(monkeypatch)
    x, y, h = columns(rng, 5000, 3), columns(rng, 5000, 4), np.ones((4, 3))
    for other in (y[:-1], columns(rng, 5001, 4)):
        with pytest.raises(ValueError, match="mismatch"):
            panels.adjoint(x, [other])
    for q, factor in ((y[:-1], h), (y, h[:3]), (y, h[:, :2]), (columns(rng, 5000, 9), h)):
        with pytest.raises(ValueError, match=r"mismatch|broadcast"):
            panels.without(x, [q], [factor])
    assert not called


def test_nan_stays_nan() -> None:
    rng = np.random.default_rng(0)
    x, y = columns(rng, 4096, 3), columns(rng, 4096, 3)
    x[7, 1] = np.nan
    h = panels.adjoint(x, [y])[0]
    assert np.all(np.isnan(h[:, 1]))
    assert np.all(np.isfinite(h[:, [0, 2]]))
    left = panels.without(x, [y], [np.ones((3, 3))])
    assert np.isnan(left[7, 1])
    assert np.count_nonzero(np.isnan(left)) == 1


def test_an_orthonormal_basis_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    rng, called = np.random.default_rng(0), counted(monkeypatch)
    first = gram_schmidt(columns(rng, 6000, 30), products=panels)
    v = first.basis @ rng.standard_normal((30, 40)) + columns(rng, 6000, 40) * np.logspace(0, -12, 40)
    made = gram_schmidt(v, basis=first.basis, product_basis=first.product_basis, products=TallPanels(each))
    assert called
    q = np.concatenate([first.basis, made.basis], axis=1)
    np.testing.assert_allclose(q.T @ q, np.eye(70), atol=1e-14)
    np.testing.assert_allclose(q @ made.coefficients, v, atol=1e-13 * np.abs(v).max())
    plain = gram_schmidt(v, basis=first.basis, product_basis=first.product_basis)
    np.testing.assert_array_equal(plain.kept, made.kept)
    np.testing.assert_allclose(plain.basis[:, :20], made.basis[:, :20], atol=1e-8)
