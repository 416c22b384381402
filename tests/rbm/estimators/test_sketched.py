"""The randomised estimator.

Its bounds fail as often as it says, no more and (where the law is known exactly) no less.
"""

from __future__ import annotations

from pathlib import Path

import flint
import numpy as np
import pytest
from conftest import Case, make_case
from scipy import stats

import rbm
from rbm.estimators import Orthonormal, Sketched

EPS = float(np.finfo(float).eps)
SEEDS = 1500


def state_of(factor: np.ndarray) -> Orthonormal:
    """E_onb with this factor and no defects."""
    return Orthonormal(factor, np.linalg.norm(factor, axis=0), np.zeros(factor.shape[1]), 0.0)


def normal(rng: np.random.Generator, *shape: int, complex_valued: bool) -> np.ndarray:
    return rng.standard_normal(shape) + (1j * rng.standard_normal(shape) if complex_valued else 0)


@pytest.mark.every(7)
@pytest.mark.parametrize("rows", [1, 5, 30])
@pytest.mark.parametrize("failure", [0.05, 0.3])
@pytest.mark.parametrize("shape", [(1, 4), (8, 12)], ids=["rank 1", "rank 8"])
@pytest.mark.parametrize("kind", ["real", "complex", "complex c"])
def test_bounds_fail_as_often_as_they_say(kind: str, shape: tuple[int, int], failure: float, rows: int) -> None:
    rng = np.random.default_rng(1)
    factor = normal(rng, *shape, complex_valued=kind == "complex") * np.geomspace(1, 1e-3, shape[1])
    c = normal(rng, 1, shape[1], complex_valued=kind != "real")
    exact = np.linalg.norm(c @ factor.T)
    none = (np.zeros((1, 1)), c, np.zeros((1, 0)))
    made = (Sketched.of(state_of(factor), rows, failure, seed).evaluate(*none) for seed in range(SEEDS))
    failed = sum(bool(e.bound[0] < exact) for e in made)
    # a count this far out comes up once in 1e5 correct implementations
    assert failed <= stats.binom.isf(1e-5, SEEDS, failure)
    if kind != "complex c":  # there the law is known and the inflation exact, else it is on the safe side
        assert failed >= stats.binom.ppf(1e-5, SEEDS, failure)


def test_a_complex_c_with_a_real_factor_needs_more_than_the_real_law() -> None:
    """c = i times a real vector is the worst case: half of the degrees of freedom that complex data have."""
    rng = np.random.default_rng(2)
    factor = rng.standard_normal((6, 9))
    sketch = Sketched.of(state_of(factor), 5, 0.05)
    assert sketch.factor.dtype == np.float64
    assert sketch.inflation(np.complex128) > sketch.inflation(np.float64)
    assert sketch.inflation(np.complex128) == pytest.approx(Sketched.of(state_of(factor), 5, 0.025).inflation(float))
    c = 1j * rng.standard_normal((1, 9))
    exact = np.linalg.norm(c @ factor.T)
    query = (np.zeros((1, 1)), c, np.zeros((1, 0)))
    failed = sum(
        bool(Sketched.of(state_of(factor), 5, 0.05, seed).evaluate(*query).bound[0] < exact) for seed in range(SEEDS)
    )
    assert failed <= stats.binom.isf(1e-5, SEEDS, 0.05)
    assert failed >= stats.binom.ppf(1e-5, SEEDS, 0.025)


@pytest.mark.parametrize("complex_valued", [False, True])
def test_inflation_is_that_of_the_chi_square_law(complex_valued: bool) -> None:
    factor = np.eye(3, dtype=complex if complex_valued else float)
    for rows in (1, 7, 40):
        for failure in (1e-9, 1e-3, 0.5):
            degrees = rows * (2 if complex_valued else 1)
            made = Sketched.of(state_of(factor), rows, failure).inflation(factor.dtype)
            assert made == pytest.approx(np.sqrt(degrees / stats.chi2.ppf(failure, degrees)), rel=1e-8)
            assert made > 1
    docstring = [
        Sketched.of(state_of(np.eye(3)), rows, p).inflation(float) for rows in (40, 80) for p in (1e-3, 1e-6, 1e-10)
    ]
    np.testing.assert_allclose(docstring, [1.49, 1.93, 2.57, 1.31, 1.55, 1.84], atol=0.0051)


@pytest.mark.parametrize("n", [1, 4, 8])
def test_a_model_against_the_oracle(case: Case, n: int) -> None:
    """1000 points at 1e-9 each: the probability that this fails is 1e-6, and for the seed that is given it does not."""
    sketched = case.result.reduced_model.truncate(n).sketch(rows=20, failure=1e-9, rng=3)
    state = sketched.estimators["sketched"]
    exact = case.exact(n)
    e = state.evaluate(*case.query(n))
    assert np.all(e.bound >= exact)
    inflation = state.inflation(case.result.basis.dtype)
    plain = sketched.estimators["orthonormal"].evaluate(*case.query(n))
    rounding = e.floor - (inflation - 1) * e.value
    assert np.all(rounding >= 0)
    sharp = exact > 1e3 * rounding
    if n < 8:
        assert sharp.mean() > 0.5
    # neither blind nor useless: within a factor of inflation, on both sides
    assert np.all(e.bound[sharp] <= 1.01 * inflation**2 * exact[sharp])
    assert np.all(e.value[sharp] >= 0.99 * exact[sharp] / inflation)
    assert np.all(plain.bound <= e.bound)
    np.testing.assert_allclose(e.bound, inflation * (e.value + rounding / inflation), rtol=64 * EPS)


def test_rounding_of_the_sketch_is_in_the_floor(case: Case) -> None:
    """At the level of round-off the value is wrong by what the floor holds beyond the inflation."""
    rng = np.random.default_rng(0)
    complex_valued = case.result.basis.dtype.kind == "c"
    factor = normal(rng, 10, 30, complex_valued=complex_valued) * np.geomspace(1, 1e6, 30)
    null = np.linalg.svd(factor)[2][10:].conj()
    c = normal(rng, 200, len(null), complex_valued=complex_valued) @ null  # R c is round-off of c
    for seed in range(5):
        state = Sketched.of(state_of(factor), 20, 0.5, seed)
        e = state.evaluate(np.zeros((200, 1)), c, np.zeros((200, 0)))
        draws = np.random.default_rng([seed, 10])
        omega = normal(draws, 20, 10, complex_valued=complex_valued) / np.sqrt(40 if complex_valued else 20)
        # the same sketch without rounding: what the law is about, and what the bound must not fall short of
        exact = np.array([norm_exact(omega, factor, x) for x in c])
        assert np.all(e.bound >= state.inflation(c.dtype) * exact)
        assert np.all(e.floor <= 1e3 * EPS * (np.abs(c) @ np.linalg.norm(factor, axis=0)))


def norm_exact(omega: np.ndarray, factor: np.ndarray, c: np.ndarray) -> float:
    """||Omega R c|| in 200-bit arithmetic."""
    flint.ctx.prec = 200
    x = flint.acb_mat([[flint.acb(v.real, v.imag)] for v in c.astype(complex)])
    for matrix in (factor, omega):
        x = flint.acb_mat([[flint.acb(v.real, v.imag) for v in row] for row in matrix.astype(complex).tolist()]) * x
    return float(np.sqrt(sum(float(abs(x[i, 0]).mid()) ** 2 for i in range(len(omega)))))


def test_truncation_is_the_sketch_of_the_truncated_factor() -> None:
    case = make_case("complex")
    sketched = case.result.reduced_model.sketch(rows=12, failure=0.05, rng=1)
    whole, cut = sketched.estimators["sketched"], sketched.truncate(3).estimators["sketched"]
    np.testing.assert_array_equal(cut.factor, whole.factor[:, :7])
    assert (cut.rows, cut.failure, cut.seed) == (12, 0.05, 1)
    theta, phi, gamma = (x[:1] for x in case.query(3))
    exact = case.exact(3)[0]
    failed = 0
    for seed in range(400):
        state = Sketched.of(case.result.reduced_model.estimators["orthonormal"], 12, 0.05, seed).truncate(3, 7)
        failed += bool(state.evaluate(theta, phi, gamma).bound[0] < exact)
    assert stats.binom.ppf(1e-5, 400, 0.05) <= failed <= stats.binom.isf(1e-5, 400, 0.05)


def test_the_seed_decides() -> None:
    case = make_case("real")
    reduced = case.result.reduced_model
    a, b, other = (reduced.sketch(rng=s).estimators["sketched"].factor for s in (0, 0, 1))
    np.testing.assert_array_equal(a, b)
    assert np.all(a != other)
    # and so does the size: what selected a basis is not what certifies the next one
    small = reduced.truncate(3).sketch().estimators["sketched"].factor
    assert np.abs(small - a[:, : small.shape[1]]).max() > 0.01


def test_project_and_greedy_prepare_it_but_it_does_not_drive() -> None:
    case = make_case("real")
    made = rbm.project(case.model, case.result.basis[:, :3], ("orthonormal", "sketched"))
    np.testing.assert_array_equal(
        made.estimators["sketched"].factor,
        case.result.reduced_model.truncate(3).sketch().estimators["sketched"].factor,
    )
    result = rbm.greedy(case.model, case.training, max_basis=2, estimators=("E_onb", Sketched), progress=False)
    assert list(result.reduced_model.estimators) == ["orthonormal", "sketched"]
    assert np.all(result.reduced_model.solve(case.tests, method="sketched").bound > 0)
    with pytest.raises(rbm.ModelError, match=r"cannot drive a greedy.*\(\"orthonormal\", \"sketched\"\)"):
        rbm.greedy(case.model, case.training, estimators=("sketched",), progress=False)


def test_it_says_that_it_may_fail(tmp_path: Path) -> None:
    case = make_case("complex")
    sketched = case.result.reduced_model.truncate(4).sketch(rows=15, failure=1e-6, rng=7)
    assert "sketched (15 rows; each bound fails with probability 1.0e-06)" in repr(sketched)
    assert "WITH PROBABILITY" in str(Sketched.__doc__)
    sketched.save(tmp_path / "sketched.rbm")
    loaded = rbm.load(tmp_path / "sketched.rbm")
    state = loaded.estimators["sketched"]
    assert (state.failure, state.seed, state.rows) == (1e-6, 7, 15)
    np.testing.assert_array_equal(
        loaded.solve(case.tests, method="sketched").bound, sketched.solve(case.tests, method="sketched").bound
    )


def test_single_precision(case: Case) -> None:
    reduced = case.result.reduced_model.truncate(4)
    mus = case.tests[:200]
    for single in (reduced.sketch(rows=20).astype("float32"), reduced.astype("float32").sketch(rows=20)):
        state = single.estimators["sketched"]
        assert np.finfo(state.factor.dtype).dtype == np.float32
        gamma = single.solve(mus, estimate=False).coefficients
        theta, phi = case.model.operator_coefficients(mus), case.model.rhs_coefficients(mus)
        exact = case.oracle.norm(theta, phi, gamma)
        e = state.evaluate(theta, phi, gamma)
        assert np.all(e.bound >= exact)
        # beyond the inflation the floor is single round-off
        extra = e.bound - state.inflation(gamma.dtype) * e.value
        assert np.all(extra <= 1e3 * np.finfo(np.float32).eps)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"rows": 0}, "rows of at least 1, got 0"),
        ({"rows": 2.5}, "rows of at least 1, got 2.5"),
        ({"failure": 0.0}, "above 0 and at most 0.5, got 0.0"),
        ({"failure": 0.9}, "above 0 and at most 0.5, got 0.9"),
        ({"failure": np.nan}, "above 0 and at most 0.5"),
        ({"rows": 1, "failure": 1e-200}, "1 rows .* too few for a failure probability of 1e-200"),
        ({"rng": -1}, "rng of a sketch"),
        ({"rng": None}, "rng of a sketch"),
    ],
)
def test_bad_arguments(options: dict, message: str) -> None:
    with pytest.raises(rbm.ModelError, match=message):
        make_case("real").result.reduced_model.sketch(**options)


def test_it_needs_the_orthonormal_factor() -> None:
    case = make_case("real")
    with pytest.raises(rbm.ModelError, match="no estimator 'orthonormal'"):
        rbm.project(case.model, case.result.basis[:, :2], ("expanded",)).sketch()
