"""Stability bounds.

They are below the true constant everywhere, equal at the reference, and refused where they would be false.
"""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
import scipy.linalg
import scipy.sparse as sp
import scipy.sparse.linalg as spla

from problems import reaction_diffusion_1d, thermal_block
from rbm import FullOrderModel, ModelError, ParameterError, ParameterSpace, StabilityError, greedy
from rbm.stability.bound import MinTheta

EPS = np.finfo(float).eps
SPACE = ParameterSpace({"mu": (0.0, 5.0)})


def model(operators=None, stability=1.0, product=None, **others) -> FullOrderModel:
    """diag(2, 3) + mu I on two unknowns, with what a test replaces."""
    operators = operators or [(1.0, np.diag([2.0, 3.0])), ("mu", np.eye(2))]
    return FullOrderModel(
        operators, [(1.0, np.ones(2))], np.eye(2) if product is None else product, SPACE, stability, **others
    )


def model_of(stiffness, mass, product) -> FullOrderModel:
    """K + mu M with the min-theta bound about mu = 0.1."""
    terms, load = [(1.0, stiffness), ("mu", mass)], [(1.0, np.ones(mass.shape[0]))]
    return FullOrderModel(terms, load, product, SPACE, MinTheta([0.1]))


def bound(m: FullOrderModel, mus) -> np.ndarray:
    mus = np.atleast_2d(mus)
    return m.stability(mus, m.operator_coefficients(mus))


def dense(matrix) -> np.ndarray:
    return matrix.toarray() if sp.issparse(matrix) else matrix


def coercivity(m: FullOrderModel, mu: np.ndarray) -> float:
    """Smallest eigenvalue of A(mu) x = lambda P x."""
    matrix = m.assemble(m.operator_coefficients(mu[None])[0])
    return float(scipy.linalg.eigh(dense(matrix), dense(m.product), eigvals_only=True)[0])


def hermitian_model(kind, *, cplx: bool, n: int = 12) -> FullOrderModel:
    """Positive semi-definite terms of low rank beside a definite one, and a product that is not their sum."""
    rng = np.random.default_rng(0)

    def term(rank: int) -> np.ndarray:
        x = rng.standard_normal((n, rank)) + (1j * rng.standard_normal((n, rank)) if cplx else 0)
        return x @ x.conj().T

    space = ParameterSpace({"a": (0.1, 10.0), "b": (0.1, 10.0)}, scale="log")
    terms = [("1 + a/4", term(n) + np.eye(n)), ("a*b", term(3)), ("exp(-b)", term(2))]
    product = np.diag(np.arange(1.0, n + 1)) + 0.3 * term(1)
    return FullOrderModel(
        [(c, kind(a)) for c, a in terms], [(1.0, np.ones(n))], kind(product), space, MinTheta([1.0, 1.0])
    )


@pytest.mark.parametrize("kind", [np.asarray, sp.csr_array])
@pytest.mark.parametrize("cplx", [False, True])
def test_min_theta_is_below_the_coercivity_constant_and_meets_it_at_the_reference(kind, cplx):
    m = hermitian_model(kind, cplx=cplx)
    mus = np.concatenate([m.parameters.sample(100, "random", rng=1), [[0.1, 10], [10, 0.1], [10, 10], [0.1, 0.1]]])
    true = np.array([coercivity(m, mu) for mu in mus])
    assert np.all(bound(m, mus) <= true)
    assert np.all(bound(m, mus) > 0)
    reference = coercivity(m, np.ones(2))
    assert (1 - 2e-9) * reference <= bound(m, [1.0, 1.0])[0] <= reference  # lowered by 1e-9, on the safe side


def test_min_theta_of_the_thermal_block_is_its_smallest_conductivity():
    m = thermal_block((3, 3), 6)
    mus = m.parameters.sample(50, "random", rng=1)
    np.testing.assert_allclose(bound(m, mus), mus.min(axis=1), rtol=1e-11)  # what rounding hides is charged
    assert np.all(bound(m, mus) < mus.min(axis=1))
    true = np.array([coercivity(m, mu) for mu in mus])
    assert np.all(bound(m, mus) <= true + 100 * EPS)  # the eigenvalue solver is right to eps times the largest, 1
    assert 1 - 1e-12 <= bound(m, np.ones(9))[0] < 1
    assert coercivity(m, np.ones(9)) == pytest.approx(1, rel=100 * EPS, abs=0)


def test_the_reference_may_be_anywhere_and_sharpens_the_bound_near_it():
    for reference in ([0.2, 3.0], [50.0, 50.0]):
        m = hermitian_model(np.asarray, cplx=False)
        moved = MinTheta(reference).bind(m)
        mus = np.concatenate([m.parameters.sample(50, "random", rng=2), [reference]])
        values = moved(mus, m.operator_coefficients(mus))
        true = np.array([coercivity(m, mu) for mu in mus])
        assert np.all(values <= true)
        assert values[-1] == pytest.approx(true[-1], rel=2e-9, abs=0)


def test_large_models_use_an_iterative_eigenvalue_on_the_safe_side():
    n = 1500
    (_, stiffness), (_, mass) = zip((1.0, "mu"), reaction_diffusion_1d(n).operator_terms, strict=True)
    m = model_of(stiffness, mass, product=stiffness + mass)
    # K + mu M against K + M: (k + mu) / (k + 1) at the smallest k of K x = k M x, known for equal elements
    k = 6 * n**2 * (1 - np.cos(np.pi / n)) / (2 + np.cos(np.pi / n))
    true = (k + 0.1) / (k + 1)
    assert (1 - 3e-3) * true <= m.stability.constant <= true


@pytest.mark.parametrize("kind", [np.asarray, sp.csr_array])
@pytest.mark.parametrize(
    ("operators", "message"),
    [
        ([(1, np.eye(2)), (1, np.array([[1.0, 3.0], [0.0, 1.0]]))], "operator term 1 is not positive semi-definite"),
        ([(1, np.array([[1, 3j], [0, 1]]))], "operator term 0 is not positive semi-definite"),
        ([("mu", np.array([[0.0, 1.0], [-1.0, 0.0]]))], "all operator terms are skew-Hermitian"),
        (
            [(1, np.eye(2)), ("1j", np.array([[0.0, 1], [-1, 0]]))],
            r"needs real coefficients, but theta_1 = 1j at mu = 1",
        ),
        ([(1, np.array([[1.0, 2.0], [2.0, 1.0]]))], "operator term 0 is not positive semi-definite"),
        ([(1, np.eye(2)), ("mu", np.array([[0, 1j], [-1j, 0]]))], "operator term 1 is not positive semi-definite"),
        ([("-mu", -np.eye(2))], "operator term 0 is not positive semi-definite; move its sign into the coefficient"),
        ([(1, np.eye(2)), ("mu - 3", np.eye(2))], r"positive coefficients, but theta_1 = -2.0 at mu = 1 \(row 0\)"),
        ([("mu - 1", np.eye(2))], "positive coefficients, but theta_0 = 0.0 at mu = 1"),
        ([("mu + 1j", np.eye(2))], r"positive coefficients, but theta_0 = \(1\+1j\) at mu = 1"),
        ([(1, np.diag([1.0, 0.0]))], r"needs a coercive model, but the smallest eigenvalue .* is about [-\d]"),
    ],
)
def test_min_theta_is_refused_where_its_conditions_fail(kind, operators, message):
    with pytest.raises(StabilityError, match=message):
        model([(c, kind(a)) for c, a in operators], MinTheta([1.0]))


def test_min_theta_needs_entries_and_a_sound_reference():
    with pytest.raises(StabilityError, match="needs the entries of operator term 0, which is a MatrixLinearOperator"):
        model([(1.0, spla.aslinearoperator(np.eye(2)))], MinTheta([1.0]), solver=np.linalg.solve)
    for constant in (-1.0, 0.0, np.nan, np.inf):
        with pytest.raises(StabilityError, match=f"constant must be a positive number.*got {constant}"):
            model(stability=MinTheta([1.0], constant=constant))
    with pytest.raises(ParameterError, match=r"mu = nan \(row 0\) is not a finite number"):
        model(stability=MinTheta([np.nan]))
    with pytest.raises(ParameterError, match=r"got shape \(2,\)"):
        model(stability=MinTheta([1.0, 2.0]))


def test_a_coefficient_that_turns_negative_online_is_named():
    m = model([(1, np.eye(2)), ("mu - 3", np.eye(2))], MinTheta([4.0]))
    assert 2 * (1 - 100 * EPS) <= bound(m, [5.0])[0] <= 2
    with pytest.raises(
        StabilityError,
        match=r"theta_1 = -1.0 at mu = 2 \(row 1, 2 such points\); give another stability bound or restrict",
    ):
        bound(m, [[4.0], [2.0], [1.0]])


@pytest.mark.parametrize(
    ("stability", "values"),
    [
        (0.5, [0.5, 0.5]),
        ("mu", [1, 4]),
        ("sqrt(mu) + 0j", [1, 2]),
        (lambda mus: mus[:, 0] / 2, [0.5, 2]),
        (MinTheta([2.0], constant=0.25), [0.125, 0.25]),
    ],
)
def test_bounds_are_numbers_expressions_callables_or_min_theta(stability, values):
    m = model(stability=stability)
    beta = bound(m, [[1.0], [4.0]])
    assert beta.dtype == np.float64
    np.testing.assert_allclose(beta, values, rtol=4 * EPS)  # min-theta is lowered by its rounding
    assert np.all(beta <= values)
    assert np.array_equal(bound(model(stability=m.stability), [[1.0], [4.0]]), beta)  # already bound


@pytest.mark.parametrize(
    ("stability", "message"),
    [
        (0, r"the stability bound is 0; an error bound needs a real number beta > 0"),
        ("mu - 2", r"the stability bound 'mu - 2' is -1.0 at mu = 1 \(row 0, 2 such points\)"),
        ("mu + 1j", r"the stability bound 'mu \+ 1j' is \(1\+1j\) at mu = 1 \(row 0, 3 such points\)"),
        (lambda mus: 2.5 - mus[:, 0], r"is -0.5 at mu = 3 \(row 2\)"),
    ],
)
def test_bounds_that_are_not_positive_are_named(stability, message):
    with pytest.raises(StabilityError, match=message):
        bound(model(stability=stability), [[1.0], [2.0], [3.0]])


@pytest.mark.parametrize("stability", [-1, 0.0, 1j, float("nan"), float("inf"), np.float64(-2)])
def test_numbers_that_are_no_stability_bound_are_refused_with_the_model(stability):
    with pytest.raises(StabilityError, match=r"the stability bound is .*; an error bound needs a real number beta > 0"):
        model(stability=stability)


@pytest.mark.parametrize("stability", ["log(-mu)", "1/(mu - 2)"])
def test_bounds_that_are_not_finite_are_named(stability):
    with pytest.raises(ParameterError, match=r"coefficient .* is (nan|inf) at mu = [12]"):
        bound(model(stability=stability), [[1.0], [2.0]])


@pytest.mark.parametrize(
    ("replaced", "error", "message"),
    [
        ({"stability": 2.5}, StabilityError, "bound 2.5 at mu = 0.204868 is above the true inf-sup constant 2.20487"),
        ({"stability": MinTheta([1.0], constant=9.0)}, StabilityError, "is above the true inf-sup constant"),
        ({"stability": "mu - 1"}, StabilityError, "'mu - 1' is -0.79.* at mu = 0.204868 .*needs beta > 0"),
        ({"product": np.eye(2) * 100}, StabilityError, "bound 1 at mu = .* above the true inf-sup constant 0.0"),
        ({"product": np.array([[1.0, 2.0], [2.0, 1.0]])}, ModelError, "the product is not positive definite"),
        ({"operators": [("mu - 5", np.eye(2))], "stability": 4.9}, StabilityError, "above the true inf-sup constant"),
    ],
)
def test_verify_catches_wrong_claims(replaced, error, message):
    with pytest.raises(error, match=message):
        model(**replaced).verify()


@pytest.mark.parametrize("cplx", [False, True])
@pytest.mark.parametrize("kind", [np.asarray, sp.csr_array])
def test_verify_compares_with_the_inf_sup_constant_of_indefinite_operators(kind, cplx):
    # P = L L^H, A(mu) = L Q diag(2 + mu, -4 - mu) L^H with Q unitary: not definite, inf-sup constant 2 + mu
    i = 1j if cplx else 1
    root, rotation = np.array([[1, 0], [3 * i, 1]]), np.array([[0.6, 0.8 * i], [-0.8 * np.conj(i), 0.6]])
    terms = [kind(root @ rotation @ np.diag(d) @ root.conj().T) for d in ([2.0, -4.0], [1.0, -1.0])]
    operators, product = list(zip([1.0, "mu"], terms, strict=True)), kind(root @ root.conj().T)
    assert "true inf-sup constant: at least 1 of it" in repr(model(operators, "2 + mu", product).verify())
    with pytest.raises(StabilityError, match="above the true inf-sup constant"):
        model(operators, "2.000001 + mu", product).verify()


def exact_infimum_is_above(m: FullOrderModel, mu: np.ndarray, beta: float) -> bool:
    """Whether Re v^H A(mu) v >= beta v^H P v for all v: exact elimination of H(mu) - beta P, in rational numbers."""
    theta = m.operator_coefficients(mu[None])[0]
    n = m.dimension

    def number(x) -> Fraction:
        return Fraction(float(x))

    terms, product = [dense(a) for a in m.operator_terms], dense(m.product)
    a = [
        [
            sum(
                (number(t) * (number(x[i, j]) + number(x[j, i])) / 2 for t, x in zip(theta, terms, strict=True)),
                Fraction(0),
            )
            - number(beta) * number(product[i, j])
            for j in range(n)
        ]
        for i in range(n)
    ]
    for k in range(n):
        if a[k][k] < 0 or (a[k][k] == 0 and any(a[i][k] != 0 for i in range(k + 1, n))):
            return False
        for i in range(k + 1, n) if a[k][k] else []:
            t = a[i][k] / a[k][k]
            for j in range(k, n):
                a[i][j] -= t * a[k][j]
    return True


@pytest.mark.parametrize("kind", [np.asarray, sp.csr_array])
@pytest.mark.parametrize("condition", [1e2, 1e8, 1e12])
@pytest.mark.parametrize("skew", [False, True], ids=["symmetric", "with convection"])
def test_min_theta_is_proved_in_mixed_units_and_for_ill_conditioned_products(kind, condition, skew):
    """Units 2^+-40 by rows, terms of low rank, rounded: exactly below the infimum of the Hermitian part, or refused."""
    accepted = 0
    for seed in range(6):
        rng = np.random.default_rng(seed)
        n = 5
        units = np.ldexp(1.0, rng.integers(-40, 41, n))
        root = np.linalg.qr(rng.standard_normal((n, n)))[0] * np.geomspace(1, condition, n) ** 0.5
        root = units[:, None] * root

        def term(rank: int, root: np.ndarray = root, rng: np.random.Generator = rng) -> np.ndarray:
            x = root @ rng.standard_normal((root.shape[0], rank))
            return np.tril(x @ x.T) + np.tril(x @ x.T, -1).T

        x = root @ rng.standard_normal((n, n)) @ root.T
        operators = [(1.0, term(n)), ("mu", term(2)), ("mu*mu", term(1))] + [
            ("mu - 2", np.triu(x, 1) - np.triu(x, 1).T)
        ] * skew
        product = np.tril(root @ root.T) + np.tril(root @ root.T, -1).T
        try:
            m = FullOrderModel(
                [(c, kind(a)) for c, a in operators], [(1.0, units)], kind(product), SPACE, MinTheta([1.0])
            )
            mus = np.array([[0.01], [1.0], [1.7], [5.0]])
            beta = bound(m, mus)
        except StabilityError:
            continue
        accepted += 1
        assert all(exact_infimum_is_above(m, mu, b) for mu, b in zip(mus, beta, strict=True))
        assert not exact_infimum_is_above(
            m, mus[1], 1.01 * beta[1] + 100 * beta[1] * condition * EPS
        )  # and no smaller than need be
    assert accepted >= (4 if condition <= 1e8 else 1)


def test_slack_that_is_forgiven_costs_the_bound():
    """diag(1, -d) is semi-definite to rounding; with coefficients of 1/d it is not."""
    for negative in (3e-16, 2e-14, 1e-11):
        m = FullOrderModel(
            [(1.0, np.eye(2)), ("mu", np.diag([1.0, -negative]))],
            [(1.0, np.ones(2))],
            np.eye(2),
            ParameterSpace({"mu": (1.0, 1e17)}),
            MinTheta([1.0]),
        )
        mus = np.geomspace(1.0, 0.999 / negative, 40)[:, None]
        known = np.array([[1.0, mu] for mu in mus[:, 0]])
        beta = np.array([_or_zero(m, mu) for mu in mus])
        assert np.all(beta <= 1 - negative * known[:, 1])
        assert beta[0] > 0.9
        with pytest.raises(StabilityError, match=r"the min-theta bound is -.* at mu = .* restrict the parameters"):
            bound(m, [[2.0 / negative]])


def _or_zero(m: FullOrderModel, mu: np.ndarray) -> float:
    try:
        return float(bound(m, mu)[0])
    except StabilityError:
        return 0.0


@pytest.mark.parametrize("kind", [np.asarray, sp.csr_array])
def test_convection_diffusion_is_certified_by_its_hermitian_part(kind):
    """nu K + b C, C skew: P = K, beta = nu whatever b is, also negative; the greedy's bounds hold."""
    n = 40
    base = reaction_diffusion_1d(n)
    convection = sp.diags_array([-np.full(n - 2, 0.5), np.full(n - 2, 0.5)], offsets=[-1, 1], format="csr")
    space = ParameterSpace({"nu": (0.1, 1.0), "b": (-5.0, 50.0)})
    m = FullOrderModel(
        [("nu", kind(dense(base.operator_terms[0]))), ("b", kind(dense(convection)))],
        [(1.0, base.rhs_terms[:, 0])],
        base.product,
        space,
        MinTheta([0.5, 1.0]),
    )
    mus = space.sample(50, "random", rng=1)
    np.testing.assert_allclose(bound(m, mus), mus[:, 0], rtol=1e-11)
    assert np.all(bound(m, mus) <= mus[:, 0])
    result = greedy(m, space.sample(100), max_basis=12, progress=False)
    answer = result.reduced_model.solve(mus)
    assert np.all(answer.bound >= m.error_norm(mus, answer.coefficients, result.basis))


def test_a_term_that_is_nearly_skew_is_charged_for_the_rest():
    """Assembled convection whose symmetric part is rounding: b may be negative, and b slack is subtracted."""
    convection = np.array([[0.0, 1.0], [-1.0, 0.0]]) + 1e-14 * np.array([[1.0, 0.5], [0.0, -1.0]])
    m = model([(1.0, np.eye(2)), ("mu - 2", convection)], MinTheta([1.0]))
    mus = np.array([[0.0], [2.0], [5.0]])
    assert np.all(bound(m, mus) <= 1 - 1e-14 * np.abs(mus[:, 0] - 2))
    assert np.all(bound(m, mus) >= 1 - 1e-12)
    assert all(exact_infimum_is_above(m, mu, b) for mu, b in zip(mus, bound(m, mus), strict=True))
