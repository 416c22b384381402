"""Sums of terms on a common pattern, and their products with few vectors."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.sparse as sp
import scipy.sparse.linalg as spla

from problems import thermal_block
from rbm.affine.sums import SparseSum, TermStack
from rbm.arithmetic import extended
from rbm.arithmetic.columns import WIDTH, Columns

EPS = np.finfo(float).eps
N = 40


def terms(*, cplx: bool = False, symmetric: bool = True) -> list[sp.csr_array]:
    """Three terms with symmetric patterns.

    One is everywhere, one in a corner, one has a single entry; the first is dominant.
    """
    rng = np.random.default_rng(0)
    mask = rng.random((N, N)) < 0.05
    values = rng.standard_normal((N, N)) + (1j * rng.standard_normal((N, N)) if cplx else 0)
    first = values * (mask | mask.T if symmetric else mask) + 30 * np.eye(N)
    corner = np.zeros((N, N))
    corner[:3, :3] = rng.standard_normal((3, 3))
    single = np.zeros((N, N))
    single[7, 7] = 2.0
    return [sp.csr_array(a) for a in (first, corner, single)]


@pytest.mark.parametrize("cplx", [False, True])
def test_the_sum_is_assembled_and_solved_on_the_common_pattern(cplx):
    matrices, theta = terms(cplx=cplx), np.array([1.0, -0.5, 2.0]) * (1 + 0.5j * cplx)
    total = SparseSum(matrices)
    matrix = total.assemble(theta)
    expected = sum(t * a.toarray() for t, a in zip(theta, matrices, strict=True))
    assert np.array_equal(matrix.toarray(), expected)
    assert total.symmetric
    assert not SparseSum(terms(symmetric=False)).symmetric
    solve, rng = total.factorize(matrix), np.random.default_rng(1)
    for rhs in (rng.standard_normal((N, 1)), rng.standard_normal((N, 40)), rng.standard_normal((N, 3)) + 1j):
        assert abs(expected @ solve(rhs) - rhs).max() <= 100 * EPS * abs(rhs).max()
        assert solve(rhs).shape == rhs.shape


def test_entries_that_cancel_stay_in_the_pattern_and_duplicates_are_summed():
    twice = sp.csr_array((np.array([1.0, 2.0]), np.array([1, 1]), np.array([0, 2, 2])), shape=(2, 2))
    total = SparseSum([twice, sp.csr_array(np.array([[5.0, 3.0], [0.0, 5.0]]))])
    matrix = total.assemble(np.array([-1.0, 1.0]))
    assert np.array_equal(matrix.toarray(), [[5, 0], [0, 5]])
    assert matrix.nnz == 3


def test_a_zero_pivot_is_an_error():
    total = SparseSum([sp.csr_array(np.diag([1.0, 2.0])), sp.csr_array(np.diag([1.0, 1.0]))])
    with pytest.raises(RuntimeError, match="singular"):
        total.factorize(total.assemble(np.array([1.0, -1.0])))


def test_the_order_keeps_the_factors_sparse():
    model = thermal_block((3, 3), 30)
    theta = np.linspace(0.1, 1.0, 9)
    total = SparseSum(model.operator_terms)
    order = total._order[0]
    assert np.array_equal(np.sort(order), np.arange(model.dimension))
    shuffled = total.assemble(theta)[order][:, order]
    options = {"diag_pivot_thresh": 0.0, "options": {"SymmetricMode": True}}
    fill = spla.splu(sp.csc_array(shuffled), permc_spec="NATURAL", **options).L.nnz
    best = spla.splu(sp.csc_array(total.assemble(theta)), permc_spec="MMD_AT_PLUS_A", **options).L.nnz
    assert fill <= best < spla.splu(sp.csc_array(total.assemble(theta)), permc_spec="NATURAL", **options).L.nnz / 2


@pytest.mark.parametrize("kind", ["sparse", "dense", "mixed", "operator"])
@pytest.mark.parametrize("cplx", [False, True])
def test_the_stack_holds_the_products_of_all_terms(kind, cplx):
    matrices, scale = terms(cplx=cplx), 2.0 ** np.tile([0, 3, -5, 1], N // 4)
    dense = [a.toarray() for a in matrices]
    given = {
        "sparse": matrices,
        "dense": dense,
        "mixed": [matrices[0], dense[1], matrices[2]],
        "operator": [spla.aslinearoperator(dense[0]), dense[1], matrices[2]],
    }[kind]
    splits = [a if extended.is_black_box(a) else extended.SplitMatrix(a, scale) for a in given]
    stack, x = TermStack(given, splits, scale), np.random.default_rng(2).standard_normal((N, 2))
    hi, lo = stack.product((x, x * EPS / 4))
    assert len(hi) == (sum(np.count_nonzero(np.diff(a.indptr)) for a in matrices) if kind == "sparse" else 3 * N)
    side = np.stack([stack.side_by_side((hi + lo)[:, j]) for j in range(2)], axis=2)
    bounds = np.stack([stack.side_by_side(stack.rounding(x)[:, j]) for j in range(2)], axis=2)
    for q, a in enumerate(dense):
        deviation = abs(side[:, q] - a @ x)
        assert np.all(deviation <= 20 * EPS * (abs(a) @ abs(x)))
        single = extended.product(splits[q], x)
        assert abs((single[0] + single[1]) - side[:, q]).max() <= 4 * EPS * (abs(a) @ abs(x)).max()
        zero = np.all(a == 0, axis=1)
        assert not side[zero, q].any()
        assert np.all(bounds[~zero, q] > 0) or kind == "operator"
        assert np.array_equal(stack.rows[q], np.arange(N)) or np.array_equal(stack.rows[q], np.flatnonzero(~zero))


def test_columns_grow_piece_by_piece_and_turn_complex():
    rng, grown = np.random.default_rng(3), Columns(5)
    assert grown.array.shape == (5, 0)
    blocks = [rng.standard_normal((5, j)) for j in (1, 0, WIDTH, 3, 2 * WIDTH)]
    blocks += [rng.standard_normal((5, 2)) + 1j]
    for block in blocks:
        grown.append(block)
    whole = np.concatenate(blocks, axis=1)
    assert np.array_equal(grown.array, whole)
    assert grown.width == whole.shape[1]
    assert grown.dtype == complex
    assert [piece.shape[1] for piece in grown.pieces[:-1]] == [WIDTH] * 3
    assert all(piece.flags.f_contiguous for piece in grown.pieces)
    assert grown.pieces[0].dtype == float  # what was complete stays as it was
