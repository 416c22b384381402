"""Riesz representers and dual norms, right to a few units of round-off, against 300 bits."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.sparse as sp
import scipy.sparse.linalg as spla
from flint import acb, acb_mat, ctx

from lowrank import gram_schmidt
from rbm import ModelError
from rbm.affine.inner_product import InnerProduct
from rbm.solvers.factorization import factorize, factorize_positive_definite

EPS = np.finfo(float).eps
N = 50
ROTATION = np.linalg.qr(np.random.default_rng(9).standard_normal((N, N)))[0]
KINDS = ["real sparse", "real dense", "complex sparse", "complex dense", "graded", "stiff", "rotated", "units"]


@pytest.fixture(autouse=True)
def _bits():
    ctx.prec = 300
    yield
    ctx.prec = 53


def tridiagonal(low: complex, middle: complex, high: complex, n: int = N) -> sp.csr_array:
    bands = [np.full(n - 1, low), np.full(n, middle), np.full(n - 1, high)]
    return sp.diags_array(bands, offsets=[-1, 0, 1], format="csr")


def inner_product(kind: str):
    """Hermitian positive definite matrices: condition numbers 1e1 .. 1e3, 1e7 and more for the last four."""
    if kind == "graded":
        grading = sp.diags_array(np.logspace(0, 3, N))
        return sp.csr_array(grading @ tridiagonal(-1.0, 2.5, -1.0) @ grading)
    if kind == "units":  # Pa beside m, say: what matters is the condition number after balancing
        units = sp.diags_array(10.0 ** np.tile([0, 9, -7], N)[:N])
        return sp.csr_array(units @ tridiagonal(-1.0, 2.5, -1.0) @ units)
    if kind == "rotated":
        matrix = (ROTATION * np.logspace(0, 10, N)) @ ROTATION.T
        return (matrix + matrix.T) / 2
    if kind == "stiff":
        return sp.csr_array(tridiagonal(-1.0, 2.0, -1.0) * 1e7 + sp.eye_array(N))
    cplx = kind.startswith("complex")
    matrix = tridiagonal(-1 + 0.5j, 2.5, -1 - 0.5j) if cplx else tridiagonal(-1.0, 2.0, -1.0) * (N + 1)
    return matrix.toarray() if kind.endswith("dense") else matrix


def vectors(kind: str, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    values = rng.standard_normal((N, 3)) * [1.0, 1e-9, 1e9]
    if kind == "rotated":  # each direction counts alike in the dual norm, so that the products with P^-1 W cancel
        values = (ROTATION * np.logspace(0, 5, N)) @ values
    return values + 1j * rng.standard_normal((N, 3)) if kind.startswith("complex") else values


def as_dense(matrix) -> np.ndarray:
    return matrix.toarray() if sp.issparse(matrix) else matrix


def condition(matrix) -> float:
    """Condition number after balancing to a unit diagonal."""
    dense = as_dense(matrix)
    scale = np.diag(dense).real ** -0.5
    return float(np.linalg.cond(scale[:, None] * dense * scale))


def exact(matrix) -> acb_mat:
    dense = matrix.toarray() if sp.issparse(matrix) else np.asarray(matrix)
    return acb_mat([[acb(float(z.real), float(z.imag)) for z in row] for row in dense])


def columns_dot(x: acb_mat, y: acb_mat) -> list[acb]:
    """sum_i conj(x_ij) y_ij for every column j."""
    return [sum((x[i, j].conjugate() * y[i, j] for i in range(x.nrows())), acb(0)) for j in range(x.ncols())]


def columns_gram(z: acb_mat, matrix: acb_mat) -> np.ndarray:
    """Z^H P Z - I, rounded."""
    adjoint = acb_mat([[z[i, j].conjugate() for i in range(z.nrows())] for j in range(z.ncols())])
    gram = adjoint * (matrix * z) - acb_mat([[acb(int(i == j)) for j in range(z.ncols())] for i in range(z.ncols())])
    return np.array([[complex(gram[i, j]) for j in range(z.ncols())] for i in range(z.ncols())])


def relative_error(values: np.ndarray, squares: list[acb]) -> np.ndarray:
    roots = [s.real.sqrt() for s in squares]
    return np.array([float(abs(r - float(v)).mid() / r.mid()) for r, v in zip(roots, values, strict=True)])


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("pair", [False, True])
def test_dual_norm_is_right_to_a_few_eps(kind, pair):
    matrix, w = inner_product(kind), vectors(kind)
    lo = w * EPS / 4 * np.sign(w.real)
    total = exact(w) + exact(lo) if pair else exact(w)
    norms = InnerProduct(matrix).dual_norm((w, lo) if pair else w)
    assert relative_error(norms, columns_dot(total, exact(matrix).solve(total))).max() <= 3 * EPS


@pytest.mark.parametrize("kind", KINDS)
def test_the_error_of_a_dual_norm_is_bounded_and_far_below_it(kind):
    matrix, w = inner_product(kind), vectors(kind)
    norms, bounds = InnerProduct(matrix).dual_norm_with_error(w)
    errors = relative_error(norms, columns_dot(exact(w), exact(matrix).solve(exact(w)))) * norms
    assert np.all(errors <= 4 * EPS * norms + bounds)
    assert np.all(bounds <= EPS**0.5 * norms)


@pytest.mark.parametrize("kind", KINDS)
def test_the_bound_for_given_sizes_holds_for_all_signs(kind):
    inner, rng = InnerProduct(inner_product(kind)), np.random.default_rng(0)
    sizes = rng.random((N, 1)) / inner.balance[:, None]
    signs = np.sign(rng.standard_normal((N, 200)))
    bound = inner.dual_norm_bound(sizes)[0]
    assert inner.dual_norm(sizes * signs).max() <= bound
    explicit = np.linalg.norm(sizes * inner.balance[:, None]) / inner.smallest_eigenvalue**0.5
    assert explicit <= bound <= explicit * (1 + (N + 20) * EPS)
    balanced = inner.balance[:, None] * as_dense(inner.matrix) * inner.balance
    assert 0.85 <= inner.smallest_eigenvalue / np.linalg.eigvalsh(balanced)[0] <= 1


@pytest.mark.parametrize("kind", KINDS)
def test_dual_norm_sees_the_low_parts_of_its_functionals(kind):
    inner, w = InnerProduct(inner_product(kind)), vectors(kind)
    growth = inner.dual_norm((w, 10 * EPS * w)) / inner.dual_norm(w) - 1
    assert growth == pytest.approx(np.full(3, 10 * EPS), abs=4 * EPS)


@pytest.mark.parametrize("kind", KINDS)
def test_the_upper_bound_of_a_dual_norm_is_one_and_close_to_it(kind):
    matrix, w = inner_product(kind), vectors(kind)
    inner = InnerProduct(matrix)
    upper, norm = inner.dual_norm_upper(w), inner.dual_norm(w)
    assert np.all(upper >= norm * (1 - 4 * EPS))
    assert np.all(upper <= norm * (1 + 100 * EPS * condition(matrix)))
    assert inner.dual_norm_upper(np.zeros((N, 0))).shape == (0,)
    # of functionals so small or large that their squares leave the range of numbers, too
    for scale in (2.0**-600, 2.0**600):
        np.testing.assert_allclose(inner.dual_norm_upper(w * scale), upper * scale, rtol=4 * EPS, atol=0)
        for mine, whole in zip(inner.dual_norm_with_error(w * scale), inner.dual_norm_with_error(w), strict=True):
            np.testing.assert_allclose(mine, whole * scale, rtol=1e-6, atol=0)


@pytest.mark.parametrize("kind", KINDS)
def test_the_distance_of_a_representer_from_the_exact_one_is_bounded(kind):
    matrix, w = inner_product(kind), vectors(kind)
    v, distance = InnerProduct(matrix).riesz_with_error(w)
    left = exact(w) - exact(matrix) * exact(v)
    true = np.array([float(s.real.mid()) ** 0.5 for s in columns_dot(left, exact(matrix).solve(left))])
    norm = InnerProduct(matrix).dual_norm(w)
    assert np.all(true <= distance)
    assert np.all(distance <= norm * 100 * EPS * condition(matrix) ** 0.5 * (1 + 100 * EPS * condition(matrix)))


@pytest.mark.parametrize("kind", KINDS)
def test_what_a_basis_lacks_in_orthonormality_is_measured_with_its_own_error(kind):
    matrix = inner_product(kind)
    inner, rng = InnerProduct(matrix), np.random.default_rng(3)
    z = gram_schmidt(rng.standard_normal((N, 3)), product=inner.matrix).basis
    gram = columns_gram(exact(z), exact(matrix))
    true = np.linalg.norm(gram)
    bound = inner.orthonormality(z)
    assert true <= bound <= true + 100 * N * EPS * condition(matrix) ** 0.5
    assert inner.orthonormality(z[:, :0]) == 0
    spoilt = z * np.array([1.0, 1.0, 1 + 1e-6])
    assert 1.9e-6 <= inner.orthonormality(spoilt) <= 2.1e-6 + bound


@pytest.mark.parametrize("kind", KINDS)
def test_riesz_representers_solve_the_system_to_a_few_eps(kind):
    matrix, w = inner_product(kind), vectors(kind)
    inner = InnerProduct(matrix)
    v, units = inner.riesz(w), inner.balance[:, None]
    reference = exact(matrix).solve(exact(w))
    deviation = [[float(abs(reference[i, j] - acb(complex(v[i, j]))).mid()) for j in range(3)] for i in range(N)]
    # each solve has a relative error of up to eps times the condition number, and one refinement squares it
    largest = abs(v / units).max(axis=0)
    assert ((np.array(deviation) / units).max(axis=0) / largest).max() <= 2 * EPS + (EPS * condition(matrix)) ** 2


@pytest.mark.parametrize("kind", KINDS)
def test_a_start_saves_a_solve_and_no_accuracy(kind):
    matrix, w, calls = inner_product(kind), vectors(kind), []
    inner = InnerProduct(matrix)
    solve = inner.factorized()
    inner._solve = lambda rhs: calls.append(rhs.shape) or solve(rhs)
    v, units = inner.riesz(w), inner.balance[:, None]
    assert len(calls) == 2
    calls.clear()
    rough = solve(w)
    again = inner.riesz(w, start=rough)
    assert np.array_equal(again, v)
    assert len(calls) == 1
    for start in (0 * rough, 1.01 * rough, -rough):  # a bad one is no harm
        deviation = abs((inner.riesz(w, start=start) - v) / units).max(axis=0) / abs(v / units).max(axis=0)
        assert deviation.max() <= 2 * EPS + (EPS * condition(matrix)) ** 2


def test_many_right_hand_sides_are_solved_like_few():
    for kind in ("real sparse", "complex sparse"):
        inner, rng = InnerProduct(inner_product(kind)), np.random.default_rng(0)
        w = rng.standard_normal((N, 37)) + 1j * rng.standard_normal((N, 37))
        for rhs in (w.real, w):
            solution = inner.factorized()(rhs)
            assert solution.shape == rhs.shape
            assert abs(inner.matrix @ solution - rhs).max() <= 1e3 * EPS * abs(solution).max() * abs(inner.matrix).max()


@pytest.mark.parametrize("kind", KINDS)
def test_norm_is_right_to_the_rounding_of_the_entries(kind):
    matrix, x = inner_product(kind), vectors(kind)
    if kind == "rotated":
        x = InnerProduct(matrix).riesz(x)
    squares = columns_dot(exact(x), exact(matrix) * exact(x))
    norms = InnerProduct(matrix).norm(x)
    sizes = np.sum(abs(x) * abs(matrix @ x), axis=0) / norms**2
    assert np.all(relative_error(norms, squares) <= 2 * EPS * sizes)


@pytest.mark.parametrize("kind", KINDS)
def test_the_norm_of_a_representer_is_the_dual_norm(kind):
    inner, w = InnerProduct(inner_product(kind)), vectors(kind)
    amplification = condition(inner.matrix) ** 0.5
    assert inner.norm(inner.riesz(w)) == pytest.approx(inner.dual_norm(w), rel=10 * EPS * amplification, abs=0)


def test_a_solver_of_the_user_replaces_the_factorisation():
    calls = []

    def solver(matrix, rhs):
        calls.append(rhs.shape)
        return spla.spsolve(sp.csc_array(matrix), rhs).reshape(rhs.shape)

    matrix, w = inner_product("real sparse"), vectors("real sparse")
    assert InnerProduct(matrix, solver).dual_norm(w) == pytest.approx(
        InnerProduct(matrix).dual_norm(w), rel=4 * EPS, abs=0
    )
    assert set(calls) == {(N, 3), (N, 1)}  # single vectors: the smallest eigenvalue


def test_a_solver_that_is_not_accurate_is_refined_or_refused():
    matrix, w = inner_product("real sparse"), vectors("real sparse")
    rough = InnerProduct(matrix, lambda a, b: spla.spsolve(sp.csc_array(a), b).reshape(b.shape) * 1.01)
    assert rough.dual_norm(w) == pytest.approx(InnerProduct(matrix).dual_norm(w), rel=4 * EPS, abs=0)
    for solver in (lambda a, b: b, lambda a, b: 0 * b):
        with pytest.raises(ModelError, match="the solver is not accurate enough"):
            InnerProduct(matrix, solver).dual_norm(w)


def test_no_and_zero_functionals_are_ordinary():
    inner = InnerProduct(inner_product("real sparse"))
    assert inner.dual_norm(np.zeros((N, 0))).shape == (0,)
    assert inner.riesz(np.zeros((N, 0))).shape == (N, 0)
    assert np.array_equal(inner.dual_norm(np.zeros((N, 2))), [0, 0])
    assert np.array_equal(inner.norm(np.zeros((N, 2))), [0, 0])
    assert InnerProduct(np.array([[4.0]])).dual_norm(np.array([[6.0]])) == [3]


@pytest.mark.parametrize("kind", [np.asarray, sp.csr_array])
@pytest.mark.parametrize(
    "matrix",
    [
        np.diag([1.0, -1.0]),
        np.array([[1.0, 2.0], [2.0, 1.0]]),
        np.array([[0.0, 1.0], [1.0, 0.0]]),
        np.array([[1, 2j], [-2j, 1]]),
        np.diag([1.0, 0.0]),
        np.zeros((2, 2)),
    ],
)
def test_products_that_are_not_positive_definite_are_refused(kind, matrix):
    assert factorize_positive_definite(kind(matrix)) is None
    with pytest.raises(
        ModelError, match=r"the product is not positive definite \(its factorisation met a pivot <= 0\)"
    ):
        InnerProduct(kind(matrix)).dual_norm(np.ones((2, 1)))


def test_a_product_that_a_solver_hides_is_caught_by_its_norms():
    inner = InnerProduct(np.diag([1.0, -2.0]), solver=np.linalg.solve)
    with pytest.raises(ModelError, match="gave vector 1 the squared norm -2: it is not positive definite"):
        inner.norm(np.eye(2))
    with pytest.raises(
        ModelError, match=r"not positive definite to working precision: its eigenvalues, .* from about -"
    ):
        inner.dual_norm(-2 * np.eye(2))


@pytest.mark.parametrize(
    ("matrix", "message"),
    [
        (np.ones((2, 3)), r"the product must be square, got shape \(2, 3\)"),
        (np.ones(4), r"the product must be square, got shape \(4,\)"),
        ([[1.0]], "the product must be a scipy sparse matrix or a dense array, got list"),
        (spla.aslinearoperator(np.eye(2)), "must be a scipy sparse matrix or a dense array, got MatrixLinearOperator"),
        (
            np.array([[1, 0.25], [0, 1]]),
            r"not Hermitian: max \|P - P\^H\| = 0.25, 0.25 in units of its diagonal; symmetrise",
        ),
        (np.diag([1e14, 1.0, 1.0]) + np.diag([0, 1e-3], 1), r"not Hermitian: .* = 0.001, 0.001 in units of its diag"),
        (sp.csr_array(np.array([[1, 2j], [2j, 9]])), r"not Hermitian: max \|P - P\^H\| = 4"),
        (np.array([[np.nan]]), "not Hermitian: .* = nan"),
        (np.zeros((0, 0)), r"got shape \(0, 0\)"),
    ],
)
def test_bad_products_are_named(matrix, message):
    with pytest.raises(ModelError, match=message):
        InnerProduct(matrix)


@pytest.mark.parametrize("kind", [np.asarray, sp.csr_array])
@pytest.mark.parametrize("symmetric", [False, True])
def test_factorised_matrices_solve_real_and_complex_systems(kind, symmetric):
    rng = np.random.default_rng(0)
    for matrix in (rng.standard_normal((9, 9)), rng.standard_normal((9, 9)) + 1j * rng.standard_normal((9, 9))):
        dominant = matrix + 20 * np.eye(9)
        solve = factorize(kind(dominant), symmetric=symmetric)
        for x in (rng.standard_normal((9, 2)), rng.standard_normal((9, 2)) + 1j):
            assert abs(solve(dominant @ x) - x).max() <= 20 * EPS * abs(x).max()
    for matrix in (np.zeros((2, 2)), np.array([[1.0, 2.0], [2.0, 4.0]])):
        with pytest.raises(ModelError, match="the matrix is singular"):
            factorize(kind(matrix), symmetric=symmetric)
