"""Dirichlet conditions: against the full system, solved with its fixed values put in by hand."""

from __future__ import annotations

import pickle
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.sparse as sp
import scipy.sparse.linalg as spla

import rbm

N = 12
FIXED = np.array([11, 0, 5])
SPACE = rbm.ParameterSpace({"k": (0.5, 4.0), "T": (-2.0, 3.0)})


def matrices(kind: str = "real sparse") -> tuple[Any, Any, np.ndarray]:
    rng = np.random.default_rng(7)
    stiffness = 2 * np.eye(N) - np.eye(N, k=1) - np.eye(N, k=-1)
    mass = np.eye(N) + np.diag(rng.uniform(0, 0.2, N - 1), 1)
    load = rng.standard_normal(N)
    if "complex" in kind:
        mass, load = mass * (1 + 0.5j), load * np.exp(1j * np.arange(N))
    return (stiffness, mass, load) if "dense" in kind else (sp.csr_array(stiffness), sp.coo_array(mass), load)


def full_solution(terms: list[tuple[complex, Any]], f: np.ndarray, g: np.ndarray) -> np.ndarray:
    """The solution (n,) with u = g at FIXED: identity rows in the whole system, nothing eliminated."""
    a: Any = sum(c * (m.toarray() if sp.issparse(m) else m) for c, m in terms)
    f = np.array(f, dtype=np.result_type(a, f, g))
    a[FIXED], f[FIXED] = np.eye(N)[FIXED], g
    return np.linalg.solve(a, f)


@pytest.mark.parametrize("kind", ["real sparse", "complex sparse", "real dense", "complex dense"])
def test_against_the_full_system(kind: str) -> None:
    stiffness, mass, load = matrices(kind)
    first, second = np.array([1.0, -2.0, 3.0]), np.array([0.5, 0.25, -1.0]) * (1j if "complex" in kind else 1)
    made = rbm.constrain(
        [("k", stiffness), (0.5, mass)],
        [(2.0, load), ("T", load)],
        stiffness,
        FIXED,
        [("T", first), ("1 + k**2", second), (3.0, first)],
        parameters=SPACE,
    )
    model = rbm.FullOrderModel(**made.arguments, parameters=SPACE, stability=1e-3)
    for k, t in SPACE.sample(20):
        u = model.constraints.expand(model.solve([k, t]), [k, t])[0]
        g = (t + 3) * first + (1 + k**2) * second
        wanted = full_solution([(k, stiffness), (0.5, mass)], (2 + t) * load, g)
        assert np.abs(u - wanted).max() < 1e-12 * np.abs(wanted).max()
        np.testing.assert_array_equal(made.expand(u[made.free], [k, t]), u)
        np.testing.assert_array_equal(model.constraints.restrict(u), u[made.free])
    np.testing.assert_array_equal(made.free, np.setdiff1d(np.arange(N), FIXED))


def test_lifting_terms_are_merged_and_stay_formulas() -> None:
    stiffness, mass, load = matrices()
    g = np.array([1.0, 2.0, 4.0])
    columns = stiffness.toarray()[:, FIXED]
    free = np.setdiff1d(np.arange(N), FIXED)
    made = rbm.constrain([("k", stiffness), (2.0, mass)], [(1.0, load), (" k", load)], stiffness, FIXED, [(3.0, g)])
    assert [c for c, _ in made.rhs] == ["k", 1.0]
    np.testing.assert_allclose(made.rhs[0][1], load[free] - 3 * (columns @ g)[free], rtol=1e-15, atol=1e-15)
    made = rbm.constrain([("k + 1", stiffness)], [("T", load)], stiffness, FIXED, [("T", g), ("2 * pi", g), ("k", g)])
    assert [c for c, _ in made.rhs] == ["T", "(k + 1) * T", "k + 1", "(k + 1) * k"]
    assert made.rhs[0][1] is not load
    np.testing.assert_array_equal(made.rhs[0][1], load[free])  # a term with which nothing is merged stays as it is
    np.testing.assert_allclose(made.rhs[2][1], -2 * np.pi * (columns @ g)[free], rtol=1e-15)
    # T k and k T are one coefficient, and so are terms that only meet here
    made = rbm.constrain([("k", stiffness), ("T", stiffness)], [(1.0, load)], stiffness, FIXED, [("T", g), ("k", g)])
    assert [c for c, _ in made.rhs] == [1.0, "T * k", "k * k", "T * T"]
    np.testing.assert_allclose(made.rhs[1][1], -2 * (columns @ g)[free], rtol=1e-15)


def test_zero_values_leave_the_right_hand_side_as_it_is() -> None:
    stiffness, mass, load = matrices()
    for values in (None, 0.0, np.zeros(3), [("T", np.zeros(3))]):
        made = rbm.constrain([("k", stiffness), (1.0, mass)], [("T", load)], stiffness, FIXED, values)
        assert [c for c, _ in made.rhs] == ["T"]
        np.testing.assert_array_equal(made.rhs[0][1], np.delete(load, FIXED))
        np.testing.assert_array_equal(made.expand(np.ones(N - 3))[FIXED], 0)
    zero = rbm.constrain([("k", stiffness)], [(1.0, np.zeros(N)), ("T", np.zeros(N))], stiffness, FIXED)
    assert len(zero.rhs) == 1  # a model has at least one term


def test_values_are_given_in_several_forms() -> None:
    stiffness, _, load = matrices()
    whole = np.arange(1.0, N + 1)
    mask = np.zeros(N, dtype=bool)
    mask[FIXED] = True
    given = [(FIXED, whole), (FIXED, whole[FIXED]), (mask, whole), (np.sort(FIXED), whole[np.sort(FIXED)].tolist())]
    given += [(FIXED.astype(float)[:, None], whole[:, None]), (list(map(int, FIXED)), [(1.0, whole)])]
    expected = load - stiffness @ np.where(mask, whole, 0)
    for fixed, values in given:
        made = rbm.constrain([(1.0, stiffness)], [(1.0, load)], stiffness, fixed, values)
        np.testing.assert_allclose(made.rhs[0][1], expected[~mask], rtol=1e-15, atol=1e-15)
        np.testing.assert_array_equal(made.constraints.fixed_values()[0], whole[np.sort(FIXED)])
    made = rbm.constrain([(1.0, stiffness)], [(1.0, load)], stiffness, FIXED, 2.5)
    np.testing.assert_array_equal(made.expand(np.zeros((2, N - 3)))[:, FIXED], 2.5)


def test_entries_are_right_to_one_rounding() -> None:
    """Rational arithmetic shows it, for sums that cancel to a part in 10^9."""
    rng = np.random.default_rng(3)
    a = rng.standard_normal((N, N))
    g = rng.standard_normal(3)
    free = np.setdiff1d(np.arange(N), FIXED)
    load = np.zeros(N)
    load[free] = (0.3 * a[free][:, FIXED] @ g) * (1 + 1e-9 * rng.standard_normal(len(free)))
    made = rbm.constrain([(0.3, a)], [(1.0, load)], np.eye(N), FIXED, [(1.0, g)])
    for i, value in zip(free, made.rhs[0][1], strict=True):
        products = [Fraction(0.3) * Fraction(a[i, j]) * Fraction(x) for j, x in zip(FIXED, g, strict=True)]
        exact = Fraction(load[i]) - sum(products)
        terms = abs(Fraction(load[i])) + sum(map(abs, products))
        assert abs(Fraction(value) - exact) <= Fraction(2) ** -53 * abs(exact) + Fraction(2) ** -70 * terms


def test_functions_and_interpolated_terms_as_coefficients(tmp_path: Path) -> None:
    stiffness, mass, load = matrices()
    g = np.array([1.0, 2.0, 4.0])
    family = rbm.InterpolatedFamily.polynomial("k", [1.0, 2.0, 3.0])
    operators = [(c, (m + 1) * stiffness) for m, c in enumerate(family.terms(2.0))]
    made = rbm.constrain(operators, [(1.0, load)], stiffness, FIXED, [("T", g)])
    model = rbm.FullOrderModel(**made.arguments, parameters=SPACE, stability=1e-3)
    result = rbm.greedy(model, SPACE.sample(20), max_basis=3)
    result.reduced_model.save(tmp_path / "m.rbm")  # no function among the coefficients
    mu = [1.7, 0.3]
    u = model.constraints.expand(model.solve(mu), mu)[0]
    theta = 2 * family.compiled(("k", "T"))(np.array([mu]))[0]
    terms = [(t, (m + 1) * stiffness) for m, t in enumerate(theta)]
    np.testing.assert_allclose(u, full_solution(terms, load, mu[1] * g), rtol=1e-12)

    def theta_of(mus: np.ndarray) -> np.ndarray:
        return np.exp(mus[:, 0])

    with pytest.raises(rbm.ModelError, match=r"has to know the parameters: pass parameters="):
        rbm.constrain([(theta_of, stiffness)], [(1.0, load)], stiffness, FIXED, [("T", g)])
    made = rbm.constrain(
        [(theta_of, stiffness), ("k", mass)],
        [(theta_of, load)],
        stiffness,
        FIXED,
        [("T", g), (2.0, g)],
        parameters=SPACE,
    )
    assert len(made.rhs) == 4  # of f and 2 theta one
    model = rbm.FullOrderModel(**made.arguments, parameters=SPACE, stability=1e-3)
    u = model.constraints.expand(model.solve(mu), mu)[0]
    wanted = full_solution([(np.exp(1.7), stiffness), (1.7, mass)], np.exp(1.7) * load, 2.3 * g)
    np.testing.assert_allclose(u, wanted, rtol=1e-12)


def test_reduced_models_and_files_know_the_fixed_unknowns(tmp_path: Path) -> None:
    stiffness, _, load = matrices()
    mass = sp.eye_array(N, format="csr")
    operators, values = [(1.0, stiffness), ("k", mass)], [("T", np.array([1.0, 0.0, 2.0]))]
    weights = np.ones(N)
    weights[FIXED] = 0
    made = rbm.constrain(operators, [(1.0, load)], stiffness + mass, FIXED, values, outputs={"sum": weights})
    model = rbm.FullOrderModel(**made.arguments, parameters=SPACE, stability=0.1)
    reduced = rbm.greedy(model, SPACE.sample(40), tol=1e-9).reduced_model
    reduced.save(tmp_path / "model.rbm")
    mus = SPACE.sample(5, "random")
    for known in (reduced, rbm.load(tmp_path / "model.rbm"), reduced.truncate(reduced.size - 1)):
        solution = known.solve(mus)
        whole = known.constraints.expand(known.reconstruct(solution), mus)
        for i, (mu, u) in enumerate(zip(mus, whole, strict=True)):
            wanted = full_solution([(1.0, stiffness), (mu[0], mass)], load, mu[1] * np.array([1.0, 0.0, 2.0]))
            error = u - wanted
            assert np.sqrt(error @ ((stiffness + mass) @ error)) <= solution.bound[i] + 1e-12
            assert abs(weights @ wanted - solution.outputs["sum"][i]) <= solution.output_bounds["sum"][i] + 1e-12
    assert rbm.project(model, reduced.basis).constraints is model.constraints
    xp = pytest.importorskip("array_api_strict")  # in place of a device
    moved = reduced.to(xp)
    there = moved.solve(xp.asarray(mus))
    here = reduced.constraints.expand(reduced.reconstruct(reduced.solve(mus)), mus)
    back = moved.constraints.expand(moved.reconstruct(there), there.mus)
    np.testing.assert_allclose(back, here, rtol=1e-9)
    reduced.astype("float32").save(tmp_path / "single.rbm", basis=False)
    np.testing.assert_array_equal(rbm.load(tmp_path / "single.rbm").constraints.free, made.free)


def top_level(mus: np.ndarray) -> np.ndarray:
    return np.exp(mus[:, 0])


def test_models_travel_and_have_fingerprints() -> None:
    """Products of functions count by what they are made of; a function that cannot travel is named."""
    stiffness, _, load = matrices()

    def model(theta: Any, value: Any) -> rbm.FullOrderModel:
        operators, values = [(theta, stiffness)], [(value, np.ones(3))]
        made = rbm.constrain(operators, [(1.0, load)], stiffness, FIXED, values, parameters=SPACE)
        return rbm.FullOrderModel(**made.arguments, parameters=SPACE, stability=1e-3)

    first = model(top_level, "T")
    assert first.fingerprint() == model(top_level, "T").fingerprint()
    assert first.fingerprint() != model(top_level, "T + 1").fingerprint()
    again = pickle.loads(pickle.dumps(first))
    np.testing.assert_array_equal(again.solve([1.0, 2.0]), first.solve([1.0, 2.0]))
    np.testing.assert_array_equal(again.constraints.fixed_values([1.0, 2.0]), [[2.0] * 3])
    for wrong in (model("k", lambda mus: mus[:, 1]), model(lambda mus: mus[:, 0], "T")):
        with pytest.raises(rbm.ModelError, match=r"<lambda> cannot be pickled"):
            pickle.dumps(wrong)


def test_linear_and_quadratic_outputs_lose_their_fixed_entries() -> None:
    stiffness, _, load = matrices()
    outputs = {"linear": [("k", load), (1.0, 2 * load)], "energy": stiffness, "column": load[:, None]}
    made = rbm.constrain([("k", stiffness)], [(1.0, load)], stiffness, FIXED, outputs=outputs)
    assert [np.shape(a) for _, a in made.outputs["linear"]] == [(N - 3,)] * 2
    assert made.outputs["energy"][0][1].shape == (N - 3, N - 3)
    np.testing.assert_array_equal(made.outputs["column"][0][1], np.delete(load, FIXED))
    rbm.FullOrderModel(**made.arguments, parameters=SPACE, stability=1e-3)
    for output in (stiffness, stiffness.toarray(), [("k", stiffness), (1.0, stiffness)]):
        with pytest.raises(rbm.ModelError, match=r"quadratic output 'a' reads fixed unknowns with values that are not"):
            rbm.constrain([("k", stiffness)], [(1.0, load)], stiffness, FIXED, 1.0, outputs={"a": output})


STIFFNESS, _, LOAD = matrices()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"fixed": [12, 3]}, r"the unknown 12, outside 0 to 11; they are counted from 0, subtract 1"),
        ({"fixed": [-1]}, r"the unknown -1, outside 0 to 11"),
        ({"fixed": [3, 4, 3]}, r"the unknown 3 more than once"),
        ({"fixed": np.arange(N)}, r"all 12 unknowns are fixed"),
        ({"fixed": []}, r"fixed must be the numbers .* got shape \(0,\)"),
        ({"fixed": [0.5]}, r"fixed must be the numbers .* of float64"),
        ({"fixed": np.eye(2, dtype=int)}, r"fixed must be the numbers"),
        ({"fixed": np.ones(5, dtype=bool)}, r"mask of fixed unknowns must have shape \(12,\), got \(5,\)"),
        ({"values": [1.0, 2.0]}, r"values has shape \(2,\), expected a number, \(3,\) as fixed, or \(12,\)"),
        ({"values": [("T", [1.0]), (1.0, np.ones(4))]}, r"term 0 of values has shape \(1,\)"),
        ({"values": ("T", np.ones(3))}, r"got one pair alone"),
        ({"values": np.nan}, r"NaN or infinite"),
        ({"values": [(np.inf, np.ones(3))]}, r"a coefficient is inf"),
        ({"product": np.ones((3, 2))}, r"the product has shape \(3, 2\)"),
        ({"operators": [(1.0, np.eye(3))]}, r"operator term 0 has shape \(3, 3\), the product has shape \(12, 12\)"),
        ({"rhs": [(1.0, np.ones(3))]}, r"right-hand side term 0 has shape \(3,\)"),
        ({"operators": [("k", spla.aslinearoperator(STIFFNESS))]}, r"shows no columns to eliminate"),
        ({"operators": [("k" * 600, STIFFNESS)], "values": [("T" * 600, np.ones(3))]}, r"has 1203 characters"),
    ],
)
def test_bad_input(change: dict[str, Any], message: str) -> None:
    given = {"operators": [("k", STIFFNESS)], "rhs": [(1.0, LOAD)], "product": STIFFNESS, "fixed": FIXED, **change}
    with pytest.raises(rbm.ModelError, match=message):
        rbm.constrain(**given)


def test_vectors_and_points_that_do_not_fit() -> None:
    made = rbm.constrain([("k", STIFFNESS)], [(1.0, LOAD)], STIFFNESS, FIXED, [("T", 1.0)])
    with pytest.raises(rbm.ModelError, match=r"pass parameters= to rbm\.constrain"):
        made.expand(np.zeros(N - 3))
    known = rbm.FullOrderModel(**made.arguments, parameters=SPACE, stability=1e-3).constraints
    with pytest.raises(rbm.ModelError, match=r"pass mus, \(M, 2\), as well"):
        known.expand(np.zeros(N - 3))
    with pytest.raises(rbm.ModelError, match=r"3 vectors and 2 parameter points"):
        known.expand(np.zeros((3, N - 3)), SPACE.sample(2))
    with pytest.raises(rbm.ModelError, match=r"must have shape \(M, 9\), got \(12,\)"):
        known.expand(np.zeros(N), [1.0, 1.0])
    with pytest.raises(rbm.ModelError, match=r"must have shape \(M, 12\), got \(9,\)"):
        known.restrict(np.zeros(N - 3))
    with pytest.raises(rbm.ModelError, match=r"the constraints leave 9 unknowns, the product has 12"):
        rbm.FullOrderModel([("k", STIFFNESS)], [(1.0, LOAD)], STIFFNESS, SPACE, 1e-3, constraints=made.constraints)
    with pytest.raises(rbm.ModelError, match=r"constraints must be those of rbm\.constrain"):
        rbm.FullOrderModel([("k", STIFFNESS)], [(1.0, LOAD)], STIFFNESS, SPACE, 1e-3, constraints=FIXED)
