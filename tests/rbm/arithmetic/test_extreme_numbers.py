"""Numbers at the ends of the range of double precision.

A bound is true there, or refused; only what is zero has a bound of zero.
"""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest

import rbm
from problems import reaction_diffusion_1d
from rbm.arithmetic.precision import row_norms
from rbm.online.reference import where_present

METHODS = ("orthonormal", "expanded", "direct")


def diagonal_model(phi: str, outputs: dict | None = None, load: np.ndarray | None = None) -> rbm.FullOrderModel:
    """mu u = phi(mu) (1, 1, 1): u is known, and the basis (1, 0, 0) leaves an error of phi / mu sqrt(2)."""
    return rbm.FullOrderModel(
        [("mu", np.eye(3))],
        [(phi, np.ones(3) if load is None else load)],
        np.eye(3),
        rbm.ParameterSpace({"mu": (0.5, 2.6)}),
        stability=rbm.stability.MinTheta([1.0]),
        outputs=outputs,
    )


@pytest.mark.parametrize("count", [1, 40])
@pytest.mark.parametrize("phi", ["exp(-300*mu)", "1e-200*mu", "1e-310", "1e-160"])
def test_numbers_below_the_normal_range_do_not_make_a_bound_of_zero(phi: str, count: int) -> None:
    model = diagonal_model(phi)
    reduced = rbm.project(model, np.eye(3)[:, :1], METHODS)
    mus = np.linspace(2.3, 2.45, count)[:, None]
    error = model.rhs_coefficients(mus)[:, 0] / mus[:, 0] * 2**0.5
    assert np.all(error > 0)
    theta, phi_values = model.operator_coefficients(mus), model.rhs_coefficients(mus)
    for method in METHODS:
        answer = reduced.solve(mus, method=method)
        assert np.all(answer.bound >= error)
        assert not np.any(answer.estimate.resolved & (np.abs(answer.estimate.value - error) > 0.1 * error))
        read = reduced.estimators[method].evaluate(theta, phi_values, answer.coefficients)
        assert np.all(read.bound / mus[:, 0] >= error * (1 - 1e-15))


@pytest.mark.parametrize("count", [1, 40])
@pytest.mark.parametrize("method", METHODS)
def test_what_is_zero_has_a_bound_of_zero(method: str, count: int) -> None:
    mus = np.linspace(0.5, 2.5, count)[:, None]
    answer = rbm.project(diagonal_model("0*mu"), np.eye(3)[:, :1], METHODS).solve(mus, method=method)
    assert np.array_equal(answer.bound, np.zeros(count))
    # coefficients of a term that is zero say nothing
    two = rbm.FullOrderModel(
        [("mu", np.eye(3))],
        [(1.0, np.zeros(3)), ("mu - mu", np.ones(3))],
        np.eye(3),
        rbm.ParameterSpace({"mu": (0.5, 2.6)}),
        stability=rbm.stability.MinTheta([1.0]),
    )
    assert np.array_equal(rbm.project(two, np.eye(3)[:, :1], METHODS).solve(mus, method=method).bound, np.zeros(count))


def test_presence_is_decided_by_the_numbers_not_by_their_products() -> None:
    floor = np.ones(5)
    theta = np.array([[1e-200], [1e-200], [0.0], [1.0], [1.0]])
    phi = np.array([[0.0], [0.0], [0.0], [1e-320], [0.0]])
    gamma = np.array([[1e-200, 0.0], [0.0, 1e-200], [1.0, 1.0], [0.0, 0.0], [0.0, 0.0]])
    assert np.array_equal(where_present(theta, phi, gamma, np.array([1.0, 1.0, 0.0]), floor), [1, 0, 0, 1, 0])
    assert np.array_equal(where_present(theta, phi, gamma, np.array([0.0, 1.0, 1.0]), floor), [1, 1, 0, 0, 0])


@pytest.mark.parametrize("kind", ["linear", "several", "quadratic"])
@pytest.mark.parametrize("exponent", [-1000, -540, -300, 0, 300, 520, 1000])
def test_outputs_of_any_size_are_certified_or_refused_by_name(kind: str, exponent: int) -> None:
    base = reaction_diffusion_1d(12)
    scale = 2.0**exponent
    load, energy = base.rhs_terms[:, 0], base.product.toarray()
    given = {
        "linear": load * scale,
        "several": [("mu", load * scale), ("-mu", load * scale * (1 - 2.0**-30)), (1.0, np.eye(11)[0] * scale)],
        "quadratic": energy * scale,
    }[kind]
    model = rbm.FullOrderModel(
        list(zip([1.0, "mu"], base.operator_terms, strict=True)),
        [(1.0, load)],
        base.product,
        base.parameters,
        1.0,
        outputs={"size": given},
    )
    mus = model.parameters.sample(8, "random", rng=5)
    reduced = rbm.greedy(model, model.parameters.sample(30), max_basis=2, progress=False).reduced_model
    hi, lo = model.solve_extended(mus)
    for points in (mus, mus[:1]):
        answer = reduced.solve(points)
        for k, mu in enumerate(points[:, 0]):
            u = [Fraction(a) + Fraction(b) for a, b in zip(hi[:, k].tolist(), lo[:, k].tolist(), strict=True)]
            if kind == "quadratic":
                exact = sum(
                    x * y * Fraction(float(q))
                    for x, row in zip(u, given, strict=True)
                    for y, q in zip(u, row, strict=True)
                )
            else:
                terms = [(1.0, given)] if kind == "linear" else given
                psi = [Fraction(mu) * (1 if c == "mu" else -1) if isinstance(c, str) else Fraction(c) for c, _ in terms]
                exact = sum(
                    p * Fraction(float(v)) * x
                    for p, (_, vector) in zip(psi, terms, strict=True)
                    for v, x in zip(vector, u, strict=True)
                )
            error = abs(exact - Fraction(float(answer.outputs["size"][k])))
            assert error <= Fraction(float(answer.output_bounds["size"][k]))
        assert np.all(answer.output_bounds["size"] < 1e9 * scale)


def test_an_output_beyond_the_range_is_named() -> None:
    huge = {"heat": np.full(3, 1e300)}
    model = diagonal_model("1e12*mu", huge)
    reduced = rbm.project(model, np.eye(3)[:, :1])
    with pytest.raises(
        rbm.ModelError, match=r"output 'heat' is inf at mu = 1 \(row 0, 2 such points\): beyond the range"
    ):
        reduced.solve([[1.0], [2.0]])
    marked = reduced.solve([[1.0]], on_error="mark")
    assert list(marked.failed) == [0]
    model = rbm.FullOrderModel(
        [("mu", np.eye(2) * 1e-20)],
        [(1.0, np.ones(2))],
        np.eye(2) * 1e-20,
        rbm.ParameterSpace({"mu": (1.0, 2.0)}),
        1.0,
        outputs={"heat": np.full(2, 1e300)},
    )
    with pytest.raises(
        rbm.ModelError, match=r"output 'heat' has entries up to 1e\+300: its reduced form is beyond the range"
    ):
        rbm.project(model, np.eye(2)[:, :1])


@pytest.mark.parametrize("exponents", [(200, -200), (160, -160), (-260, 260), (0, 0)])
def test_quadratic_outputs_in_units_further_apart_than_the_range_of_numbers(exponents: tuple[int, int]) -> None:
    """Q = P in part: the entries that count in the units of the product may be the smallest as numbers."""
    p = 10.0 ** np.array(exponents)
    q = p * 10.0 ** np.array([-30, 30])  # the second entry is the larger one for P
    units = np.ldexp(1.0, np.round(np.log2(p) / 2).astype(int))
    model = rbm.FullOrderModel(
        [("mu", np.diag(p))],
        [(1.0, units)],
        np.diag(p),
        rbm.ParameterSpace({"mu": (1.0, 10.0)}),
        "mu",
        outputs={"q": np.diag(q)},
    )
    answer = rbm.project(model, np.array([[0.0], [1 / units[1]]])).solve([[1.0]])
    u = [Fraction(x) / Fraction(y) for x, y in zip(units.tolist(), p.tolist(), strict=True)]
    exact = sum(Fraction(x) * y * y for x, y in zip(q.tolist(), u, strict=True))
    assert abs(exact - Fraction(float(answer.outputs["q"][0]))) <= Fraction(float(answer.output_bounds["q"][0]))
    assert answer.output_bounds["q"][0] <= 1e4 * float(exact)


@pytest.mark.parametrize("scale", [1e-280, 1e-200, 1e-150, 1.0, 1e150, 1e200])
@pytest.mark.parametrize("n", [1, 3])
def test_e1_of_data_of_any_size(scale: float, n: int) -> None:
    """f and A of that size, P = I: the rounding in the floor is formed without squares that vanish."""
    rng = np.random.default_rng(n)
    for operator_too in (False, True):
        f, a = rng.uniform(1, 2, n) * scale, np.diag(rng.uniform(1, 2, n)) * (scale if operator_too else 1.0)
        model = rbm.FullOrderModel([("mu", a)], [(1.0, f)], np.eye(n), rbm.ParameterSpace({"mu": (0.5, 2.0)}), 1.0)
        state = rbm.project(model, np.eye(n)[:, :1], ("direct",)).estimators["direct"]
        gamma = np.array([[f[0] / a[0, 0]]])
        estimate = state.evaluate(np.array([[1.0]]), np.array([[1.0]]), gamma)
        residual = [Fraction(float(x)) for x in f]
        residual[0] -= Fraction(float(a[0, 0])) * Fraction(float(gamma[0, 0]))
        assert Fraction(float(estimate.bound[0])) ** 2 >= sum(r * r for r in residual)
        assert np.all(np.isfinite(estimate.bound))


def test_an_output_that_overflows_is_refused_on_the_fast_path_too() -> None:
    model = rbm.FullOrderModel(
        [("mu", np.eye(2))],
        [(1.0, np.ones(2) * 1e150)],
        np.eye(2),
        rbm.ParameterSpace({"mu": (1.0, 2.0)}),
        "mu",
        outputs={"heat": np.ones(2) * 1e160},
    )
    with pytest.raises(rbm.ModelError, match="output 'heat' is inf at mu = 1"):
        rbm.project(model, np.ones((2, 1))).solve([[1.0]])


def test_terms_at_the_ends_of_the_range_are_decided_or_refused_and_never_wait() -> None:
    refusals: list[str] = []
    for size, product in ((1e-310, 1.0), (1e-200, 1e-200), (1e280, 1e280), (1e200, 1e-200)):
        try:
            model = rbm.FullOrderModel(
                [(1.0, np.eye(2) * product), ("mu", np.array([[4.0, 2], [2, 1]]) * size)],
                [(1.0, np.ones(2))],
                np.eye(2) * product,
                rbm.ParameterSpace({"mu": (1.0, 2.0)}),
                rbm.stability.MinTheta([1.0]),
            )
        except (rbm.StabilityError, rbm.ModelError) as error:
            refusals.append(str(error))
            continue
        assert 0 < model.stability(np.array([[1.0]]), np.array([[1.0, 1.0]]))[0] <= 1
    assert len(refusals) == 1
    assert "choose other units" in refusals[0]
    with pytest.raises(rbm.ModelError, match="entries up to 1e\\+305, in units of the product, are beyond the range"):
        rbm.FullOrderModel(
            [("mu", np.eye(2) * 1e305)], [(1.0, np.ones(2))], np.eye(2), rbm.ParameterSpace({"mu": (1.0, 2.0)}), 1.0
        )
    with pytest.raises(rbm.StabilityError, match="take it apart into semi-definite terms"):
        rbm.FullOrderModel(
            [(1.0, np.eye(2)), ("mu", np.array([[1.0, 2], [2, 1]]) * 1e-300)],
            [(1.0, np.ones(2))],
            np.eye(2),
            rbm.ParameterSpace({"mu": (1.0, 2.0)}),
            rbm.stability.MinTheta([1.0]),
        )


@pytest.mark.parametrize("size", [1e-150, 1e150])
def test_e1_of_very_small_and_very_large_residuals(size: float) -> None:
    base = reaction_diffusion_1d(20)
    reduced = rbm.project(base, np.eye(19)[:, :2], ("direct",))
    state, theta = reduced.estimators["direct"], base.operator_coefficients(np.array([[3.0], [50.0]]))
    gamma = np.array([[0.3, -0.1], [0.2, 0.4]])
    one = state.evaluate(theta, np.ones((2, 1)), gamma)
    exponent = np.log2(size).round()
    other = state.evaluate(theta, np.full((2, 1), 2.0**exponent), gamma * 2.0**exponent)
    np.testing.assert_allclose(other.value, one.value * 2.0**exponent, rtol=1e-15)
    np.testing.assert_allclose(other.floor, one.floor * 2.0**exponent, rtol=1e-3)


@pytest.mark.parametrize("condition", [1e6, 1e10, 1e13])
@pytest.mark.parametrize("complex_valued", [False, True])
def test_the_energy_in_mixed_units_is_certified_for_ill_conditioned_products(
    condition: float, complex_valued: bool
) -> None:
    """u^H P u with P of condition 1e13 in units of 2^-40 to 2^40: the terms of Z^H P Z that cancel are in the bound."""
    for seed in range(10):
        rng = np.random.default_rng(seed)
        n = 4
        part = rng.standard_normal((n, n)) + (1j * rng.standard_normal((n, n)) if complex_valued else 0)
        q = np.linalg.qr(part)[0]
        units = np.ldexp(1.0, rng.integers(-40, 41, n))
        p = (q * np.geomspace(1 / condition, 1, n)) @ q.conj().T
        p = units[:, None] * ((p + p.conj().T) / 2) * units
        load = p @ ((q[:, 0] + 1e-3 * q[:, 1]) / units)
        model = rbm.FullOrderModel(
            [("mu", p)],
            [(1.0, load)],
            p,
            rbm.ParameterSpace({"mu": (0.5, 2.0)}),
            rbm.stability.MinTheta([1.0]),
            outputs={"q": p},
        )
        reduced = rbm.project(model, model.solve([[1.0]]).T)
        exact_p, exact_u = _fractions(p), _solve(_fractions(p), _fractions(load[:, None]))
        for mu in (0.5, 1.7):
            u = [(x[0] / Fraction(mu), x[1] / Fraction(mu)) for x in exact_u]
            energy = sum(_real(u[i], exact_p[i][j], u[j]) for i in range(n) for j in range(n))
            answer = reduced.solve([[mu]])
            off = abs(energy - Fraction(float(answer.outputs["q"][0])))
            assert off <= Fraction(float(answer.output_bounds["q"][0]))


Pair = tuple[Fraction, Fraction]


def _fractions(a: np.ndarray) -> list[list[Pair]]:
    return [[(Fraction(float(np.real(x))), Fraction(float(np.imag(x)))) for x in row] for row in a]


def _times(x: Pair, y: Pair) -> Pair:
    return x[0] * y[0] - x[1] * y[1], x[0] * y[1] + x[1] * y[0]


def _real(x: Pair, a: Pair, y: Pair) -> Fraction:
    return _times(_times((x[0], -x[1]), a), y)[0]


def _solve(a: list[list[Pair]], b: list[list[Pair]]) -> list[Pair]:
    """A x = b by Gauss, exactly."""
    n = len(a)
    a, x = [list(row) for row in a], [row[0] for row in b]

    def over(p: Pair, q: Pair) -> Pair:
        size = q[0] ** 2 + q[1] ** 2
        return _times(p, (q[0] / size, -q[1] / size))

    for k in range(n):
        for i in range(k + 1, n):
            t = over(a[i][k], a[k][k])
            a[i] = [(p[0] - d[0], p[1] - d[1]) for p, d in zip(a[i], [_times(t, e) for e in a[k]], strict=True)]
            d = _times(t, x[k])
            x[i] = (x[i][0] - d[0], x[i][1] - d[1])
    for i in reversed(range(n)):
        for j in range(i + 1, n):
            d = _times(a[i][j], x[j])
            x[i] = (x[i][0] - d[0], x[i][1] - d[1])
        x[i] = over(x[i], a[i][i])
    return x


@pytest.mark.parametrize("complex_valued", [False, True])
def test_norms_of_rows_of_any_size(complex_valued: bool) -> None:
    rows = np.array([[3.0, 4.0], [0.0, 0.0]]) * (1j if complex_valued else 1.0)
    for scale in (5e-324, 1e-310, 1e-200, 1.0, 1e200, 1e307):
        norms = row_norms(rows * scale)
        assert norms[1] == 0
        assert norms[0] == pytest.approx(5 * scale, rel=1e-15 if scale > 1e-307 else 1e-13, abs=0.0)
