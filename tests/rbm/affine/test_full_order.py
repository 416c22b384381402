"""Full-order models.

The gallery converges as it should, solutions are right to the last bits, wrong claims are caught.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import numpy as np
import pytest
import scipy.linalg
import scipy.sparse as sp
import scipy.sparse.linalg as spla
from flint import acb, acb_mat, ctx

from problems import exact_solution, reaction_diffusion_1d, thermal_block, thermal_block_mesh
from rbm import FullOrderModel, ModelError, ParameterError, ParameterSpace

EPS = np.finfo(float).eps
SPACE = ParameterSpace({"mu": (0.0, 5.0)})
POISSON_MEAN = 0.035144253738  # integral of the solution of -div grad u = 1 on the unit square


def model(operators=None, rhs=None, product=None, stability=1.0, **others) -> FullOrderModel:
    """diag(2, 3) + mu I on two unknowns, with what a test replaces."""
    operators = [(1.0, np.diag([2.0, 3.0])), ("mu", np.eye(2))] if operators is None else operators
    rhs, product = [(1.0, np.ones(2))] if rhs is None else rhs, np.eye(2) if product is None else product
    return FullOrderModel(operators, rhs, product, SPACE, stability, **others)


def random_model(kind, *, cplx: bool, n: int = 25) -> FullOrderModel:
    """Three non-symmetric terms, two right-hand sides, complex if asked for; well conditioned."""
    rng = np.random.default_rng(0)

    def values(*shape: int) -> np.ndarray:
        return rng.standard_normal(shape) + (1j * rng.standard_normal(shape) if cplx else 0)

    off = np.full(n - 1, -1.0 + 0.3j * cplx)
    product = sp.diags_array([off.conj(), np.full(n, 2.5), off], offsets=[-1, 0, 1], format="csr")
    terms = [n * np.eye(n), values(n, n), values(n, n) * (rng.random((n, n)) < 0.2)]
    coefficients = [1.0, "exp(-mu)", "mu/7 + 1j/3" if cplx else "mu/7"]
    return FullOrderModel(
        [(c, kind(a)) for c, a in zip(coefficients, terms, strict=True)],
        [("1 + mu", values(n)), ("mu**2", values(n))],
        product,
        SPACE,
        0.1,
    )


@pytest.fixture
def _bits():
    ctx.prec = 300
    yield
    ctx.prec = 53


def exact(matrix) -> acb_mat:
    dense = matrix.toarray() if sp.issparse(matrix) else np.asarray(matrix)
    return acb_mat([[acb(complex(z)) for z in row] for row in dense])


def exact_system(m: FullOrderModel, mu: float) -> tuple[acb_mat, acb_mat]:
    """A(mu) and f(mu) from the double-precision terms and coefficients."""
    theta, phi = m.operator_coefficients(np.array([[mu]]))[0], m.rhs_coefficients(np.array([[mu]]))[0]
    matrix, n = acb_mat(m.dimension, m.dimension), m.dimension
    for t, term in zip(theta, m.operator_terms, strict=True):
        matrix += exact(term) * acb(complex(t))
    return matrix, exact(m.rhs_terms) * acb_mat([[acb(complex(p))] for p in phi]) + acb_mat(n, 1)


def norm_of(product: acb_mat, x: acb_mat, y: acb_mat) -> float:
    """Gives (y^H P x)^{1/2} of two columns."""
    px = product * x
    return float(sum((y[i, 0].conjugate() * px[i, 0] for i in range(x.nrows())), acb(0)).real.sqrt().mid())


@pytest.mark.parametrize("mu", [1.0, 10.0, 100.0])
def test_reaction_diffusion_converges_with_order_two_in_l2_and_one_in_h1(mu):
    points, weights = np.polynomial.legendre.leggauss(5)
    s, weights, root, sizes = (points + 1) / 2, weights / 2, mu**0.5, np.array([40, 80, 160, 320])
    errors = []
    for n in sizes:
        m, h = reaction_diffusion_1d(n), 1 / n
        u = np.concatenate([[0], m.solve([mu])[0], [0]])
        nodes = np.arange(n + 1) * h
        x = nodes[:-1, None] + h * s
        value, slope = u[:-1, None] * (1 - s) + u[1:, None] * s, np.diff(u)[:, None] / h
        exact_slope = -np.sinh(root * (x - 0.5)) / (root * np.cosh(root / 2))
        bend = np.cosh(root * (x - 0.5)) / np.cosh(root / 2)
        l2, h1, h2 = (
            np.sqrt(h * np.sum(e**2 @ weights)) for e in (value - exact_solution(x, mu), slope - exact_slope, bend)
        )
        mean = m.outputs["mean"].terms[0] @ u[1:-1] - (1 - np.tanh(root / 2) / (root / 2)) / mu
        errors.append([l2, abs(u - exact_solution(nodes, mu)).max(), abs(mean), h1])
        # the constant, not only the order: the best approximation in H1_0 has error h / 12^{1/2} |u|_{H2}
        assert h1 == pytest.approx(h / 12**0.5 * h2, rel=20 * mu / n**2, abs=0)
    slopes = np.polyfit(np.log(sizes), np.log(errors), 1)[0]
    assert slopes == pytest.approx([-2, -2, -2, -1], abs=0.02), f"observed orders {-slopes}"


@pytest.mark.usefixtures("_bits")
@pytest.mark.parametrize("mu", [1e-12, 1e-3, 1.0, 100.0])
def test_the_exact_solution_does_not_cancel_for_small_parameters(mu):
    for x in (0.0, 1e-3, 0.3, 0.5, 0.99):
        root = acb(mu).sqrt()
        reference = (1 - (root * (acb(x) - 0.5)).cosh() / (root / 2).cosh()) / mu
        assert exact_solution(np.array(x), mu) == pytest.approx(float(reference.real.mid()), rel=8 * EPS, abs=0)


def inner_nodes(n_elements: int) -> np.ndarray:
    x = thermal_block_mesh(n_elements).p
    return x[:, np.all((x > 0) & (x < 1), axis=0)]


@pytest.mark.parametrize("blocks", [(1, 1), (2, 3), (3, 2)])
def test_thermal_block_terms_live_in_their_blocks_and_sum_to_the_product(blocks):
    m, (x, y) = thermal_block(blocks, 12), inner_nodes(12)
    assert m.dimension == len(x) == 2 * 12**2 - 2 * 12 + 1
    for i, term in enumerate(m.operator_terms):
        column, row = i % blocks[0], i // blocks[0]
        inside = (abs(x * blocks[0] - column - 0.5) <= 0.5 + EPS) & (abs(y * blocks[1] - row - 0.5) <= 0.5 + EPS)
        assert np.array_equal(abs(term).sum(axis=1) > 100 * EPS, inside)
    assert abs(sum(m.operator_terms[1:], m.operator_terms[0]) - m.product).max() == 0


def test_thermal_block_is_symmetric_under_permutations_of_its_blocks_by_the_symmetries_of_the_square():
    m, nodes = thermal_block((3, 3), 12), inner_nodes(12)
    k = m.parameters.sample(1)[0].reshape(3, 3)  # k[row, column], rows along y
    u = m.solve(k.ravel())[0]
    for moved, image in (
        (k[:, ::-1], [1 - nodes[0], nodes[1]]),
        (k[::-1], [nodes[0], 1 - nodes[1]]),
        (k.T, [nodes[1], nodes[0]]),
    ):
        keys = [np.round(24 * np.asarray(p)).astype(int) @ np.eye(2, dtype=int) for p in (nodes.T, np.array(image).T)]
        position = {tuple(p): i for i, p in enumerate(keys[0])}
        order = [position[tuple(p)] for p in keys[1]]
        assert abs(m.solve(moved.ravel())[0][order] - u).max() <= 20 * EPS * abs(u).max()


def test_thermal_block_with_equal_blocks_is_poisson_s_equation():
    errors = []
    for n in (12, 24, 48):
        m = thermal_block((3, 2), n)
        errors.append(POISSON_MEAN - m.outputs["mean"].terms[0] @ m.solve(np.ones(6))[0])
    assert -np.polyfit(np.log([12, 24, 48]), np.log(errors), 1)[0] == pytest.approx(2, abs=0.02)
    assert errors[-1] <= 0.05 / 48**2


@pytest.mark.usefixtures("_bits")
@pytest.mark.parametrize("kind", [np.asarray, sp.csr_array])
@pytest.mark.parametrize("cplx", [False, True])
def test_solutions_residual_norms_and_errors_are_right_to_a_few_eps(kind, cplx):
    m, rng = random_model(kind, cplx=cplx), np.random.default_rng(1)
    mus, basis, coefficients = m.parameters.sample(3), rng.standard_normal((25, 2)), rng.standard_normal((3, 2))
    solutions, residuals = m.solve(mus), m.residual_norm(mus, coefficients, basis)
    errors = m.error_norm(mus, coefficients, basis, reference=m.solve_extended(mus))
    assert np.array_equal(errors, m.error_norm(mus, coefficients, basis))
    product = exact(m.product)
    for i, mu in enumerate(mus[:, 0]):
        matrix, rhs = exact_system(m, mu)
        u, v = matrix.solve(rhs), exact(basis) * exact(coefficients[i][:, None])
        deviation = [float(abs(u[j, 0] - acb(complex(solutions[i, j]))).mid()) for j in range(25)]
        assert max(deviation) <= EPS * abs(solutions[i]).max()
        r = rhs - matrix * v
        assert residuals[i] == pytest.approx(norm_of(exact(np.eye(25)), product.solve(r), r), rel=4 * EPS, abs=0)
        assert errors[i] == pytest.approx(norm_of(product, u - v, u - v), rel=4 * EPS, abs=0)


@pytest.mark.usefixtures("_bits")
@pytest.mark.parametrize("cplx", [False, True])
def test_errors_at_the_level_of_round_off_are_still_right(cplx):
    m = random_model(sp.csr_array, cplx=cplx)
    u, product = m.solve([2.0]), exact(m.product)
    matrix, rhs = exact_system(m, 2.0)
    rest = matrix.solve(rhs) - exact(u.T)
    error = m.error_norm([2.0], np.ones((1, 1)), u.T)[0]
    assert error <= EPS * m.inner_product.norm(u.T)[0]
    assert error == pytest.approx(norm_of(product, rest, rest), rel=2.0**-70 / EPS, abs=0)


def dense_solver(matrix, rhs: np.ndarray) -> np.ndarray:
    return np.linalg.solve(matrix.toarray() if sp.issparse(matrix) else matrix @ np.eye(len(rhs)), rhs)


def test_linear_operators_are_solved_by_the_solver_of_the_user():
    operators = [(1.0, spla.aslinearoperator(np.diag([2.0, 3.0]))), ("mu", spla.aslinearoperator(np.eye(2)))]
    m = model(operators, solver=dense_solver)
    assert m.black_box
    assert not model().black_box
    assert m.solve([[2.0], [1.0]]) == pytest.approx(np.array([[1 / 4, 1 / 5], [1 / 3, 1 / 4]]), rel=2 * EPS, abs=0)
    assert "not above an upper estimate of the inf-sup constant (Lanczos): at least" in repr(m.verify())
    with pytest.raises(
        ModelError, match=r"operator term 0 is a LinearOperator .*: give solver=, a function \(matrix, rhs"
    ):
        model(operators)


@pytest.mark.parametrize("kind", [np.asarray, sp.csr_array])
def test_linear_operators_and_matrices_may_be_mixed(kind):
    operators = [(1.0, spla.aslinearoperator(np.diag([2.0, 3.0]))), ("mu", kind(np.eye(2)))]
    assert model(operators, solver=dense_solver).solve([2.0]) == pytest.approx(
        np.array([[1 / 4, 1 / 5]]), rel=2 * EPS, abs=0
    )


@pytest.mark.parametrize(
    ("solver", "message"),
    [
        (lambda a, b: np.ones_like(b), "does not settle under iterative refinement"),
        (lambda a, b: -dense_solver(a, b), "does not settle under iterative refinement"),
        (lambda a, b: dense_solver(a, b) * 1.7, "does not settle .* or the solver is not accurate"),
        (
            lambda a, b: b * np.nan,
            r"the solver returned 2 entries that are NaN or infinite for a right-hand side of shape \(2, 1\)",
        ),
        (lambda a, b: b[:1], r"the solver returned shape \(1, 1\) for a right-hand side of shape \(2, 1\)"),
        (lambda a, b: None, r"the solver returned None for a right-hand side of shape \(2, 1\)"),
        (lambda a, b: 0 * b, "does not settle"),
    ],
)
def test_a_solver_that_returns_garbage_is_caught_with_the_parameter(solver, message):
    with pytest.raises(ModelError, match=f"full-order solve at mu = 2 failed: .*{message}"):
        model(solver=solver).solve([2.0])


def test_a_solver_of_four_digits_is_refined_to_sixteen():
    u = model(solver=lambda a, b: dense_solver(a, b) * (1 + 1e-4)).solve([2.0])
    assert u == pytest.approx(np.array([[1 / 4, 1 / 5]]), rel=2 * EPS, abs=0)


@pytest.mark.usefixtures("_bits")
@pytest.mark.parametrize(
    "n",
    [
        3,
        6,
        11,
    ],
)
def test_ill_conditioned_systems_are_solved_as_far_as_promised_or_refused(n):
    hilbert, rhs = scipy.linalg.hilbert(n), np.ones(n)
    try:
        u = model([(1.0, hilbert)], [(1.0, rhs)], product=np.eye(n)).solve([0.0])[0]
    except ModelError:
        return
    rest = exact(hilbert).solve(exact(rhs[:, None])) - exact(u[:, None])
    assert (
        max(float(abs(rest[i, 0]).mid()) for i in range(n))
        <= (4 * EPS + 2.0**-75 * np.linalg.cond(hilbert)) * abs(u).max()
    )


@pytest.mark.parametrize("dense", [False, True])
def test_a_correction_that_changes_nothing_is_foreseen_but_in_extended_solutions(dense, monkeypatch):
    base, calls = reaction_diffusion_1d(400), []
    terms = [a.toarray() if dense else a for a in base.operator_terms]
    honest = FullOrderModel.residual
    monkeypatch.setattr(FullOrderModel, "residual", lambda *args: calls.append(1) or honest(*args))

    def corrections(name: str, **options) -> int:
        m = model([(1.0, terms[0]), ("mu", terms[1])], [(1.0, base.rhs_terms[:, 0])], base.product, **options)
        calls.clear()
        getattr(m, name)([2.0])
        return len(calls)

    assert corrections("solve") == 1
    assert corrections("solve_extended") == 2
    assert corrections("solve", solver=dense_solver) == 2  # nothing is foreseen of a solver of the user


@pytest.mark.usefixtures("_bits")
def test_a_slow_refinement_goes_on_until_the_last_digits_are_right():
    """Condition numbers from 1e10 to 1e15: the first correction is not the last one."""
    for n in (8, 9, 10, 11):
        hilbert, rhs = scipy.linalg.hilbert(n), np.ones(n)
        u = model([(1.0, sp.csr_array(hilbert))], [(1.0, rhs)], product=np.eye(n)).solve([0.0])[0]
        rest = exact(hilbert).solve(exact(rhs[:, None])) - exact(u[:, None])
        error = max(float(abs(rest[i, 0]).mid()) for i in range(n))
        assert error <= (4 * EPS + 2.0**-75 * np.linalg.cond(hilbert)) * abs(u).max()


def test_residuals_of_few_and_of_many_vectors_are_the_same():
    for cplx in (False, True):
        m, rng = random_model(sp.csr_array, cplx=cplx), np.random.default_rng(0)
        mus = m.parameters.sample(7)
        theta, phi = m.operator_coefficients(mus), m.rhs_coefficients(mus)
        x = rng.standard_normal((25, 7))
        many = m.residual(theta, phi, (x, x * EPS / 8))
        for k in range(7):
            few = m.residual(theta[k : k + 1], phi[k : k + 1], (x[:, [k]], x[:, [k]] * EPS / 8))
            assert few[0].dtype == many[0].dtype
            deviation = abs((few[0] - many[0][:, [k]]) + (few[1] - many[1][:, [k]]))
            assert deviation.max() <= 2.0**-18 * EPS * abs(many[0]).max()


@pytest.mark.parametrize("kind", [np.asarray, sp.csr_array])
def test_a_singular_operator_is_named_by_its_parameter(kind):
    m = model([("mu - 2", kind(np.diag([1.0, 0.0]))), (1.0, kind(np.diag([0.0, 1.0])))])
    assert np.array_equal(m.solve([3.0]), [[1, 1]])
    with pytest.raises(
        ModelError, match=r"full-order solve at mu = 2 \(row 1\) failed: the matrix is singular.*; leave"
    ):
        m.solve([[3.0], [2.0]])


@pytest.mark.parametrize("way", ["in turn", "threads", "map only"])
def test_points_that_fail_do_not_take_the_others_with_them(way):
    """Singular at mu = 2; the coefficient log(mu - 1) has no value at mu <= 1."""
    m = model([("mu - 2", np.diag([1.0, 0.0])), ("1 + 0*log(mu - 1)", np.diag([0.0, 1.0]))])
    mus = np.array([3.0, 2.0, 4.0, 0.5, 5.0, 2.0, 0.25, 1.5, 4.5])[:, None]
    bad, good = [1, 3, 5, 6], [0, 2, 4, 7, 8]
    whole = m.solve(mus[good])
    with ThreadPoolExecutor(2) as pool:
        executor = {"in turn": None, "threads": pool, "map only": SimpleNamespace(map=pool.map)}[way]
        for name in ("solve", "solve_extended"):
            with pytest.raises(
                ModelError, match=r"at mu = 2 \(row 1\) failed: .*further rows that failed: 3, 5, 6 \(the other 5 of 9"
            ) as caught:
                getattr(m, name)(mus, executor=executor)
            assert caught.value.rows.tolist() == bad
            kept = caught.value.solution if name == "solve" else sum(caught.value.solution).T
            np.testing.assert_array_equal(kept[good], whole)
            assert np.isnan(kept[bad]).all()
        with pytest.raises(
            ModelError, match=r"\(row 0\) failed: .*further rows that failed: 1, 2, 3, 4, 5, 6, 7, 8, \.\.\.$"
        ) as caught:
            m.solve(np.full((11, 1), 2.0), executor=executor)
        assert caught.value.solution is None
        with pytest.raises(ValueError, match=r"mu = 0.5 \(row 1(, 2 such points)?\)") as caught:
            m.solve([[3.0], [0.5], [0.25]], executor=executor)
        assert caught.value.rows.tolist() == [1, 2]
        np.testing.assert_array_equal(caught.value.solution[:1], m.solve([[3.0]]))


def test_a_coefficient_that_is_wrong_as_a_whole_keeps_the_solutions_before_it():
    calls = [0]

    def coefficient(mus):
        calls[0] += 1
        return mus[:, 0] if calls[0] < 5 else np.ones(7)

    m = model([(coefficient, np.eye(2))])
    with pytest.raises(ValueError, match="shape") as caught:
        m.solve([[1.0], [2.0], [3.0], [4.0], [5.0], [1.5]])
    assert caught.value.rows is None
    np.testing.assert_array_equal(caught.value.solution[:, 0], [1, 1 / 2, 1 / 3, 1 / 4, np.nan, np.nan])


def test_a_single_point_that_fails_has_no_other_solutions():
    m = model([("mu - 2", np.diag([1.0, 0.0])), (1.0, np.diag([0.0, 1.0]))])
    with pytest.raises(ModelError, match=r"at mu = 2 failed: the matrix is singular") as caught:
        m.solve([2.0])
    assert (caught.value.solution, caught.value.rows.tolist()) == (None, [0])


@pytest.mark.parametrize("matrix", [[[1e-20, 1.0], [1.0, 1.0]], [[0.0, 1.0], [1.0, 0.0]], [[1e-20, 1.0], [1.0, 1e-20]]])
def test_pivots_leave_the_diagonal_where_they_must(matrix):
    m = model([(1.0, sp.csr_array(np.array(matrix)))], rhs=[(1.0, np.array([1.0, 2.0]))])
    assert m.solve([0.0])[0] == pytest.approx(np.linalg.solve(matrix, [1.0, 2.0]), rel=4 * EPS, abs=0)


@pytest.mark.parametrize(
    "make",
    [
        reaction_diffusion_1d,
        lambda: reaction_diffusion_1d(2),
        lambda: reaction_diffusion_1d(50, bounds=(-9.8, 0.0)),
        lambda: thermal_block((3, 3), 6),
        lambda: thermal_block((2, 2), 40),
        lambda: random_model(sp.csr_array, cplx=True),
    ],
)
def test_verify_passes_on_true_models_and_says_what_it_checked(make):
    m = make()
    verified = m.verify(samples=4, assembled=lambda mu: m.assemble(m.operator_coefficients(mu[None])[0]))
    assert ("the true inf-sup constant: at least" in repr(verified)) == (m.dimension <= 600)
    assert ("by the signs of pivots, on 4 samples" in repr(verified)) == (m.dimension > 600)
    for claim in ("positive definite", "stability bound is positive on 4", "affine sum equals", "relative residual of"):
        assert claim in repr(verified)


def test_verify_catches_an_affine_form_that_is_not_the_assembled_operator():
    with pytest.raises(ModelError, match=r"differs from the assembled operator at mu = .*: relative deviation"):
        model().verify(assembled=lambda mu: np.diag([2.0, 3.0]) + mu[0] * np.diag([1.0, 1 + 1e-9]))
    model().verify(assembled=lambda mu: np.diag([2.0, 3.0]) + mu[0] * np.eye(2))


def test_verify_passes_on_a_model_at_rest():
    model(rhs=[(0.0, np.ones(2))]).verify()


def test_parameters_are_checked_before_anything_is_solved():
    m = model()
    for query in (m.solve, lambda mus, **kw: m.residual_norm(mus, np.ones((1, 1)), np.ones((2, 1)), **kw)):
        with pytest.raises(ParameterError, match=r"mu = 7 \(row 0\) is outside \[0, 5\]; pass extrapolate=True"):
            query([7.0])
        with pytest.raises(ParameterError, match="parameters are real numbers, got complex ones"):
            query([1j])
        assert np.all(query([7.0], extrapolate=True) > 0)


def test_problems_name_meshes_that_do_not_fit():
    with pytest.raises(ModelError, match="n_elements must be at least 2, got 1"):
        reaction_diffusion_1d(1)
    with pytest.raises(ModelError, match=r"n_elements must be a whole number, got 2\.5"):
        reaction_diffusion_1d(2.5)
    with pytest.raises(ModelError, match="n_elements must be at least 1, got 0"):
        thermal_block_mesh(0)
    for blocks in ((0, 1), 3, (1, 2, 3), "ab", (1.0, 2)):
        with pytest.raises(ModelError, match="blocks must be a pair of positive whole numbers, got"):
            thermal_block(blocks, 4)
    for blocks, n in (((3, 2), 9), ((1, 1), 1)):
        with pytest.raises(ModelError, match=rf"n_elements = {n} must be .* both block numbers \({blocks[0]}, "):
            thermal_block(blocks, n)


def test_sums_beyond_the_range_of_numbers_are_no_singular_matrices():
    m = model(rhs=[(1e300, np.full(2, 1e300))])
    with pytest.raises(
        ModelError, match=r"the right-hand side sum_q phi_q f_q has 2 entries beyond the range .* scale"
    ):
        m.solve([1.0])
    m = model([("1e300*mu", np.eye(2) * 1e200)])
    with pytest.raises(ModelError, match=r"the matrix sum_q theta_q A_q has 2 entries beyond the range .* scale"):
        m.solve([1.0])


def test_a_coefficient_without_a_value_is_named_by_its_row():
    m = model([("1/(mu-2)", np.eye(2)), (9.0, np.eye(2))])
    for executor in (None, ThreadPoolExecutor(1)):
        with pytest.raises(ParameterError, match=r"at mu = 2 \(row 2\)") as caught:
            m.solve([[3.0], [1.0], [2.0], [4.0]], executor=executor)
        assert caught.value.rows.tolist() == [2]
