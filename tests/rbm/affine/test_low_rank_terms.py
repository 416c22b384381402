"""Operator terms that are low-rank factors: products, truth solves, reduced models, against exact and dense sums."""

from __future__ import annotations

import pickle
import tracemalloc
from typing import Any

import flint
import numpy as np
import pytest
import scipy.sparse as sp
import scipy.sparse.linalg as spla
from helpers.oracle import Oracle, exact_error, exact_image, exact_solution

import rbm
from lowrank import LowRankMatrix
from rbm.affine.inner_product import InnerProduct
from rbm.affine.low_rank_terms import skew_sizes
from rbm.arithmetic import extended
from rbm.arithmetic.low_rank import SplitLowRank
from rbm.solvers.updated import UpdatedMatrix, bordered, woodbury

SPACE = rbm.ParameterSpace({"mu": (1.0, 10.0), "nu": (0.1, 20.0)})
KINDS = ("real", "complex", "single", "unsymmetric")


def stiffness(n: int, *, free: bool = False) -> Any:
    one = np.ones(n)
    middle = 2 * one
    if free:
        middle[[0, -1]] = 1
    return sp.diags_array([-one[1:], middle, -one[1:]], offsets=[-1, 0, 1], format="csr") * (n + 1)


def mass(n: int) -> Any:
    one = np.ones(n)
    return sp.diags_array([one[1:], 4 * one, one[1:]], offsets=[-1, 0, 1], format="csr") / (6 * (n + 1))


def patch(n: int, kind: str = "real") -> LowRankMatrix:
    x = np.linspace(0, 1, n + 2)[1:-1]
    u = np.stack([np.exp(-50 * (x - 0.3) ** 2), (x > 0.6) + x / 3], axis=1) / (n + 1)
    v = u * (1 + x[:, None] / 2) if kind == "unsymmetric" else u
    if kind == "complex":
        u = v = u * np.exp(5j * x)[:, None]
    s = np.array([1.0, 3.0])
    return LowRankMatrix(*(a.astype(np.float32) if kind == "single" else a for a in (u, s, v)))


def model(n: int, kind: str = "real", *, dense: bool = False, free: bool = False, **options: Any) -> rbm.FullOrderModel:
    k, m, a = stiffness(n, free=free), mass(n), patch(n, kind)
    whole = (a.U.astype(np.result_type(a.U, float)) * a.s) @ a.V.conj().T if dense else a
    return rbm.FullOrderModel(
        [(1.0, k), ("mu", m), ("nu", whole)],
        [(1.0, np.ones(n) / (n + 1)), ("mu", np.linspace(0, 1, n) / n)],
        k + m,
        SPACE,
        options.pop("stability", 1.0),
        outputs={"mean": np.ones(n) / (n + 1), "end": np.arange(n) == n - 1},
        **options,
    )


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("spread", [0.0, 12.0])
def test_products_are_right_to_their_bound_which_is_below_double_precision(kind: str, spread: float) -> None:
    rng, (n, r) = np.random.default_rng(0), (200, 5)
    u, v, x = (rng.standard_normal(shape) for shape in ((n, r), (n, r), (n, 2)))
    if kind == "complex":
        u, x = u * np.exp(1j * v), x + 1j
    term = LowRankMatrix(u, 10.0 ** np.linspace(-spread, spread, r), v)
    scale = 2.0 ** rng.integers(-20, 20, n)
    split = SplitLowRank(term, scale)
    lo = x * scale[:, None] * 2.0**-60
    given = (x * scale[:, None], lo)
    hi, rest = extended.product(split, given)
    bound = extended.rounding(split, given)
    flint.ctx.prec = 300
    for j in range(2):
        point = [flint.acb(complex(a)) + flint.acb(complex(b)) for a, b in zip(given[0][:, j], lo[:, j], strict=True)]
        exact = exact_image(term, point)
        off = [
            abs(complex(e - flint.acb(complex(a)) - flint.acb(complex(b))))
            for e, a, b in zip(exact, hi[:, j], rest[:, j], strict=True)
        ]
        assert np.all(np.array(off) <= bound[:, j])
    sizes = np.abs(u) @ (term.s[:, None] * (np.abs(v).T @ np.abs(given[0])))
    assert bound.max() <= 1e-16 * sizes.max()
    assert np.all((abs(split) @ np.abs(given[0])) * (1 + 1e-12) >= np.abs(hi))


def test_the_bound_covers_terms_that_cancel_between_the_factors() -> None:
    """V^H x is round-off of its terms: what rounding leaves there is larger than all that U adds."""
    n, rng = 5000, np.random.default_rng(3)
    v, x = rng.standard_normal((2, n, 1))
    x = x - v * float(extended.dot(v, x)[0]) / float(extended.dot(v, v)[0])
    split = SplitLowRank(LowRankMatrix(np.ones((2, 1)), [1.0], v))
    hi, lo = extended.product(split, x)
    exact = exact_image(split.matrix, [flint.acb(float(y)) for y in x[:, 0]])[0]
    off = abs(complex(exact - flint.acb(float(hi[0, 0])) - flint.acb(float(lo[0, 0]))))
    assert 1e-30 < off <= extended.rounding(split, x)[0, 0] < 1e-14


@pytest.mark.parametrize(("s", "v", "u"), [(1e-300, 1e-15, 1e200), (1e-310, 1.0, 1e290), (1e-160, 1e-160, 1e290)])
def test_the_bound_covers_what_is_lost_below_the_range_of_numbers(s: float, v: float, u: float) -> None:
    """Between the factors the numbers are below the normal range, and U brings them back."""
    rng = np.random.default_rng(0)
    split = SplitLowRank(
        LowRankMatrix(u * rng.standard_normal((4, 2)), s * np.ones(2), v * rng.standard_normal((4, 2)))
    )
    x = rng.standard_normal((4, 1))
    (hi, lo), bound = extended.product(split, x), extended.rounding(split, x)
    exact = exact_image(split.matrix, [flint.acb(float(y)) for y in x[:, 0]])
    pairs = zip(exact, hi[:, 0], lo[:, 0], strict=True)
    off = [float(abs(e - flint.acb(float(a)) - flint.acb(float(b))).mid()) for e, a, b in pairs]
    assert min(off) > 0
    assert np.all(np.array(off) <= bound[:, 0])


@pytest.mark.parametrize(
    ("kind", "projection"), [*((kind, "galerkin") for kind in KINDS), ("complex", "least-squares")]
)
def test_residual_norms_and_bounds_are_those_of_exact_numbers(kind: str, projection: Any) -> None:
    made = model(10, kind, projection=projection)
    mus = made.parameters.sample(2)
    result = rbm.greedy(
        made, made.parameters.sample(10), max_basis=5, estimators=("E1", "E2", "E_onb"), progress=False
    ).reduced_model
    assert result.basis is not None
    oracle = Oracle(made, result.basis)
    for size in (3, result.size):
        shown = result.truncate(size)
        for method in shown.estimators:
            solution = shown.solve(mus, method=method)
            theta, phi = made.operator_coefficients(mus), made.rhs_coefficients(mus)
            exact = oracle.norm(theta, phi, solution.coefficients)
            assert solution.estimate is not None
            assert np.all(np.abs(solution.estimate.value - exact) <= solution.estimate.floor + 1e-15 * exact)
            for i, mu in enumerate(mus):
                error = exact_error(made, mu, result.basis[:, :size], solution.coefficients[i])
                assert error <= solution.bound[i], (method, size)
                assert solution.bound[i] <= 1.5 * error + 1e-12 or method == "expanded"
            values = made.outputs["mean"](mus, made.solve(mus))
            assert np.all(np.abs(values - solution.outputs["mean"]) <= solution.output_bounds["mean"] + 1e-15)


@pytest.mark.parametrize("kind", KINDS)
def test_truth_solves_are_right_to_the_last_bits(kind: str) -> None:
    for free in (False, True):
        made = model(14, kind, free=free)
        for mu in made.parameters.sample(3):
            exact = np.array([complex(x) for x in exact_solution(made, mu).entries()])
            np.testing.assert_allclose(made.solve(mu)[0], exact, rtol=0, atol=4e-16 * np.abs(exact).max())


def test_a_sum_that_is_nearly_singular_is_solved_or_refused() -> None:
    """K - mu (K x) (K x)^T / (x^T K x) maps x to (1 - mu) K x."""
    n = 20
    k, x = stiffness(n), np.ones(n)
    v = (k @ x / np.sqrt(x @ (k @ x)))[:, None]
    made = rbm.FullOrderModel(
        [(1.0, k), ("mu", LowRankMatrix(v, np.array([-1.0]), v))], [(1.0, np.ones(n))], k, {"mu": (0.1, 2.0)}, 1e-3
    )
    with pytest.raises(rbm.ModelError, match=r"mu = 1 failed: .*singular"):
        made.solve([1.0])
    for mu in 1 - 10.0 ** -np.arange(2, 16):
        exact = np.array([complex(y).real for y in exact_solution(made, np.array([mu])).entries()])
        try:
            np.testing.assert_allclose(made.solve([mu])[0], exact, rtol=0, atol=1e-6 * np.abs(exact).max())
        except rbm.ModelError:
            assert mu > 1 - 1e-13
    # of n ones, a sum that is singular to the last bit: K - K, of rank one
    tiny = rbm.FullOrderModel(
        [(1.0, sp.csr_array([[2.0]])), ("mu", LowRankMatrix([[1.0]], [-2.0], [[1.0]]))],
        [(1.0, [1.0])], np.eye(1), {"mu": (0.5, 2.0)}, 1.0,
    )  # fmt: skip
    with pytest.raises(rbm.ModelError, match="singular"):
        tiny.solve([1.0])
    assert tiny.solve([0.5]) == 1.0


def test_a_sparse_part_that_is_singular_is_solved_by_the_bordered_system() -> None:
    n, rng = 400, np.random.default_rng(0)
    k = stiffness(n, free=True)
    u = np.concatenate([np.ones((n, 1)), rng.standard_normal((n, 2))], axis=1) / n
    v = u + 0.1 * rng.standard_normal((n, 3)) / n
    whole = UpdatedMatrix(k, u.astype(complex), v * 1j)
    b = rng.standard_normal((n, 3))
    x = np.linalg.solve(whole.to_dense(), b)
    found = bordered(whole)(b)
    np.testing.assert_allclose(found, x, atol=1e-6 * np.abs(x).max())
    np.testing.assert_allclose(whole.factorized(symmetric=True)(b), x, atol=1e-6 * np.abs(x).max())
    np.testing.assert_allclose(bordered(whole.conj().T)(b), np.linalg.solve(whole.to_dense().conj().T, b), rtol=1e-4)
    regular = UpdatedMatrix(k + sp.eye_array(n), u, v)
    solve = spla.splu(sp.csc_array(regular.base)).solve
    np.testing.assert_allclose(woodbury(solve, regular)(b), np.linalg.solve(regular.to_dense(), b), rtol=1e-9)
    np.testing.assert_array_equal((abs(regular) @ np.abs(b) >= np.abs(regular @ b)), True)
    with pytest.raises(rbm.ModelError, match="singular"):
        bordered(UpdatedMatrix(0 * k, u, v))


def test_a_model_whose_matrices_alone_are_singular() -> None:
    """The sum is regular by its low-rank term only; A(mu) is solved to the last bits, and certified."""
    n = 14
    k, one = stiffness(n, free=True), np.ones((n, 1)) / n
    made = rbm.FullOrderModel(
        [("mu", k), ("nu", LowRankMatrix(one, [1.0], one))], [(1.0, np.arange(n) / n)], k + mass(n), SPACE, "0.05"
    )
    for mu in made.parameters.sample(3):
        exact = np.array([complex(x).real for x in exact_solution(made, mu).entries()])
        np.testing.assert_allclose(made.solve(mu)[0], exact, rtol=0, atol=4e-16 * np.abs(exact).max())
    assert "verified" in repr(made.verify(samples=2))


@pytest.mark.parametrize("kind", KINDS)
def test_the_reduced_model_is_that_of_the_dense_sum(kind: str) -> None:
    factors, dense = model(100, kind), model(100, kind, dense=True)
    training, mus = factors.parameters.sample(20), factors.parameters.sample(7, rng=3)
    np.testing.assert_allclose(factors.solve(mus), dense.solve(mus), rtol=1e-13)
    a, b = (rbm.greedy(m, training, max_basis=5, progress=False) for m in (factors, dense))
    np.testing.assert_array_equal(a.reduced_model.selected, b.reduced_model.selected)
    x, y = a.reduced_model.solve(mus), b.reduced_model.solve(mus)
    np.testing.assert_allclose(x.bound, y.bound, rtol=1e-2)
    basis = b.reduced_model.basis
    c, d = rbm.project(factors, basis), rbm.project(dense, basis)
    np.testing.assert_allclose(c.operators, d.operators, rtol=0, atol=1e-13 * np.abs(d.operators).max())
    np.testing.assert_allclose(c.solve(mus).coefficients, d.solve(mus).coefficients, rtol=0, atol=1e-13)
    # a term's own entries, not those of the largest
    own = np.abs(d.operators[2]).max()
    np.testing.assert_allclose(c.operators[2], d.operators[2], rtol=0, atol=1e-13 * own)


def test_nothing_as_large_as_a_dense_matrix_is_made() -> None:
    n = 25_000
    term = patch(n, "unsymmetric")
    tracemalloc.start()
    try:
        made = model(n, "unsymmetric", stability=0.9)
        reduced = rbm.project(made, made.solve(made.parameters.sample(2)).T, estimators=("E_onb",))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 8 * n**2 / 20  # of 5 GB
    basis = reduced.basis
    assert basis is not None
    own = (basis.T @ (term.U * term.s)) @ (term.V.T @ basis)
    np.testing.assert_allclose(reduced.operators[2], own, rtol=0, atol=1e-13 * np.abs(own).max())
    mus = made.parameters.sample(2, rng=1)
    solution = reduced.solve(mus)
    assert np.all(made.error_norm(mus, solution.coefficients, basis) <= solution.bound)


def test_outputs_dual_problems_and_energies_take_factors() -> None:
    factors, dense = model(60, stability=rbm.stability.MinTheta([1.0, 1.0])), model(60, dense=True)
    mus = factors.parameters.sample(5, rng=2)
    symmetric = rbm.greedy(factors, factors.parameters.sample(30), max_basis=4, dual=["end"], progress=False)
    truth, found = factors.solve(mus), symmetric.reduced_model.solve(mus)
    for name in ("mean", "end"):
        off = np.abs(factors.outputs[name](mus, truth) - found.outputs[name])
        assert np.all(off <= found.output_bounds[name])
    twisted = model(60, "unsymmetric", stability=0.9)
    result = rbm.greedy(twisted, factors.parameters.sample(30), max_basis=4, dual=["end", "mean"], progress=False)
    truth, found = twisted.solve(mus), result.reduced_model.solve(mus)
    for name in ("mean", "end"):
        off = np.abs(twisted.outputs[name](mus, truth) - found.outputs[name])
        assert np.all(off <= found.output_bounds[name])
        # the dual problem makes the bound one of products of errors
        assert np.all(found.output_bounds[name] <= 1e3 * found.bound**2 + 1e-12)
    assert "verified" in repr(
        factors.verify(assembled=lambda mu: dense.assemble(dense.operator_coefficients(mu[None])[0]))
    )


def test_a_compliant_output_is_found_beside_hermitian_factors_only() -> None:
    kinds = {}
    for kind in ("real", "complex", "unsymmetric"):
        n, a = 30, patch(30, kind)
        f = np.ones(n) / n
        made = rbm.FullOrderModel([(1.0, stiffness(n)), ("nu", a)], [(1.0, f)], stiffness(n), SPACE, 1.0, {"s": f})
        reduced = rbm.greedy(made, made.parameters.sample(20), max_basis=2, progress=False).reduced_model
        mus = made.parameters.sample(4, rng=5)
        found = reduced.solve(mus)
        assert np.all(np.abs(made.outputs["s"](mus, made.solve(mus)) - found.outputs["s"]) <= found.output_bounds["s"])
        kinds[kind] = type(reduced.outputs["s"]).__name__
    assert kinds == {"real": "ReducedCompliant", "complex": "ReducedCompliant", "unsymmetric": "ReducedLinear"}


@pytest.mark.parametrize("kind", ["real", "complex", "unsymmetric"])
def test_constrained_unknowns_leave_factors(kind: str) -> None:
    n, fixed = 20, [0, 7, 19]
    values = [("mu", [1.0, -2.0, 0.5])]
    solved = []
    for dense in (False, True):
        a = patch(n, kind)
        terms = [(1.0, stiffness(n)), ("nu", a.to_dense() if dense else a)]
        made = rbm.constrain(terms, [(1.0, np.ones(n))], stiffness(n), fixed, values)
        assert isinstance(made.operators[1][1], LowRankMatrix) is not dense
        whole = rbm.FullOrderModel(made.operators, made.rhs, made.product, SPACE, 1.0, constraints=made.constraints)
        solved.append(whole.solve(SPACE.sample(3)))
    np.testing.assert_allclose(solved[0], solved[1], rtol=1e-12)


def test_products_of_low_rank_matrices_outside_of_a_model() -> None:
    a, x = patch(20), np.ones((20, 1))
    np.testing.assert_allclose(extended.product(a, x)[0], a @ x, rtol=1e-15)


def test_a_solver_of_the_user_sees_the_sparse_terms_only() -> None:
    seen = []

    def solver(matrix: Any, rhs: np.ndarray) -> np.ndarray:
        seen.append(matrix)
        return spla.splu(sp.csc_array(matrix)).solve(rhs)

    mus = SPACE.sample(3)
    made = model(30, "unsymmetric", solver=solver)
    np.testing.assert_allclose(made.solve(mus), model(30, "unsymmetric").solve(mus), rtol=1e-13)
    assert all(sp.issparse(a) for a in seen)
    assert "verified" in repr(model(30, solver=solver).verify())
    # beside an operator without entries the low-rank term is one, too
    n, k = 30, stiffness(30)
    black = rbm.FullOrderModel(
        [(1.0, spla.aslinearoperator(k)), ("mu", mass(n)), ("nu", patch(n))], [(1.0, np.ones(n))], k, SPACE, 1.0,
        solver=lambda a, b: np.linalg.solve(a @ np.eye(n), b),
    )  # fmt: skip
    plain = rbm.FullOrderModel([(1.0, k), ("mu", mass(n)), ("nu", patch(n))], [(1.0, np.ones(n))], k, SPACE, 1.0)
    np.testing.assert_allclose(black.solve(mus), plain.solve(mus), rtol=1e-12)


def test_fingerprints_see_all_factors_and_models_travel() -> None:
    made = model(20)
    assert made.fingerprint() == model(20).fingerprint() == pickle.loads(pickle.dumps(made)).fingerprint()
    seen = {made.fingerprint(), model(20, dense=True).fingerprint()}
    a = patch(20)
    for factor in ("U", "s", "V"):
        changed = {name: np.array(getattr(a, name)) for name in ("U", "s", "V")}
        changed[factor].flat[-1] *= 1 + 2.0**-52
        other = rbm.FullOrderModel(
            [(1.0, stiffness(20)), ("mu", mass(20)), ("nu", LowRankMatrix(**changed))],
            [(1.0, np.ones(20) / 21), ("mu", np.linspace(0, 1, 20) / 20)],
            stiffness(20) + mass(20), SPACE, 1.0,
            outputs={"mean": np.ones(20) / 21, "end": np.arange(20) == 19},
        )  # fmt: skip
        seen.add(other.fingerprint())
    assert len(seen) == 5


def test_files_of_the_reduced_model(tmp_path: Any) -> None:
    reduced = rbm.greedy(
        model(30, stability=rbm.stability.MinTheta([2.0, 1.0])), SPACE.sample(20), max_basis=3, progress=False
    ).reduced_model
    reduced.save(tmp_path / "model.npz")
    mus = SPACE.sample(5, rng=7)
    np.testing.assert_array_equal(rbm.load(tmp_path / "model.npz").solve(mus).bound, reduced.solve(mus).bound)


def test_unknowns_held_by_their_own_row_are_told_from_those_that_factors_reach() -> None:
    n = 10
    k = sp.lil_array(stiffness(n))
    k[0, 1] = k[1, 0] = k[9, 8] = k[8, 9] = 0
    u = (np.arange(n) >= 5)[:, None] / n
    made = rbm.FullOrderModel(
        [(1.0, k), ("mu", LowRankMatrix(u, [1.0], u))], [(1.0, np.ones(n))], sp.csr_array(k), {"mu": (1.0, 2.0)}, 1.0
    )
    line = next(c for c in made.verify().checks if "diagonal entry only" in c)
    assert "unknown 0 has" in line or "unknown 0 " in line
    assert "9" not in line.split("rows")[0]


@pytest.mark.parametrize(
    ("term", "message"),
    [
        (LowRankMatrix(np.ones((9, 1)), [1.0], np.ones((9, 1))), r"operator term 1 has shape \(9, 9\)"),
        (LowRankMatrix(np.ones((10, 0)), [], np.ones((10, 0))), "rank 0.*leave the term out"),
        (
            LowRankMatrix(np.full((10, 1), np.nan), [1.0], np.ones((10, 1))),
            "operator term 1: its factor U has 10 entries",
        ),
        (LowRankMatrix(np.ones((10, 1)), [np.inf], np.ones((10, 1))), "its factor s has 1 entries"),
        (LowRankMatrix(np.full((10, 1), 1e300), [1.0], np.ones((10, 1))), "choose other units"),
    ],
)
def test_factors_that_do_not_fit_are_refused(term: LowRankMatrix, message: str) -> None:
    with pytest.raises(rbm.ModelError, match=message):
        rbm.FullOrderModel([(1.0, stiffness(10)), ("mu", term)], [(1.0, np.ones(10))], stiffness(10), SPACE, 1.0)


def test_a_model_of_factors_alone_and_a_product_of_factors_are_refused() -> None:
    with pytest.raises(rbm.ModelError, match=r"all operator terms are low-rank.*to_dense"):
        rbm.FullOrderModel([(1.0, patch(10))], [(1.0, np.ones(10))], stiffness(10), SPACE, 1.0)
    with pytest.raises(rbm.ModelError, match=r"the product .*\.to_dense\(\)"):
        rbm.FullOrderModel([(1.0, stiffness(10))], [(1.0, np.ones(10))], patch(10), SPACE, 1.0)
    with pytest.raises(rbm.ModelError, match="beyond the range of double"):
        model(10).__class__(
            [(1.0, stiffness(10)), ("1e300 * mu", LowRankMatrix(np.full((10, 1), 1e10), [1.0], np.ones((10, 1))))],
            [(1.0, np.ones(10))], stiffness(10), SPACE, 1.0,
        ).solve([1.0, 1.0])  # fmt: skip


def test_skew_parts_are_measured_in_the_units_of_the_product_and_once() -> None:
    rng = np.random.default_rng(5)
    n = 12
    inner = InnerProduct(np.diag(4.0 ** rng.integers(-3, 4, n)))
    units = inner.balance
    whole = rng.standard_normal((n, n))
    near = whole + whole.T
    near[0, 1] *= 1 + 2.0**-50
    for term in (whole, near, near + near.T, 1j * (whole - whole.T)):
        for matrix in (term, sp.csr_array(term)):
            found = skew_sizes(inner, matrix)
            scaled = np.outer(units, units) * (term - term.conj().T)
            assert found.skew == np.abs(scaled).max()
            assert found.size == np.abs(np.outer(units, units) * term).max()
            assert np.linalg.norm(scaled, 2) <= found.norm <= 4 * np.linalg.norm(scaled, 2)
            assert found.is_rounding(64.0) == (term is not whole)
