"""Models in units at the ends of the range of numbers: certified, or refused for the reason that it is."""

from __future__ import annotations

import itertools
import warnings
from typing import Any

import numpy as np
import pytest
import scipy.sparse as sp

import rbm

N = 9
SPACE = rbm.ParameterSpace({"mu": (1.0, 2.0)})


def pieces(complex_valued: bool) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """P, A, f and Z of ordinary size; A is coercive with a constant of 0.2 at least."""
    rng = np.random.default_rng(3)
    p = 3 * np.eye(N) + 0.1 * (x := rng.standard_normal((N, N))) + 0.1 * x.T
    a, f, z = p + 0.2 * rng.standard_normal((N, N)), rng.standard_normal(N), rng.standard_normal((N, 3))
    if complex_valued:
        turn = np.exp(1j * np.arange(N))
        p, a = (turn[:, None] * b * turn.conj() for b in (p, a))
        p, f = (p + p.conj().T) / 2, f * (1 + 1j)
    return p, a, f, z


def assert_certified(model: rbm.FullOrderModel, basis: np.ndarray) -> None:
    mus = np.array([[1.5], [1.1]])
    for method in ("orthonormal", "direct"):
        reduced = rbm.project(model, basis, (method,))
        answer = reduced.solve(mus)
        error = model.error_norm(mus, answer.coefficients, reduced.basis)
        assert np.all(np.isfinite(answer.bound))
        assert np.all(answer.bound >= error * (1 - 1e-12))
        assert np.all(answer.bound <= 100 * error)
    rbm.greedy(model, [[1.0], [1.3], [2.0]], max_basis=2, progress=False)
    model.verify(2)


@pytest.mark.every(9)
@pytest.mark.parametrize(
    ("which", "exponent"),
    [
        (w, e)
        for w in ("rhs", "operators", "both", "product", "all")
        for e in (-200, -160, -150, -145, -120, 120, 150, 200)
    ]
    + [(w, -290) for w in ("rhs", "operators", "both")],
)
@pytest.mark.parametrize("kind", ["dense", "sparse", "complex dense", "complex sparse"])
def test_coefficients_undo_the_units(kind: str, which: str, exponent: int) -> None:
    """The solution is of ordinary size, and so are its bounds."""
    p, a, f, z = pieces("complex" in kind)
    store = sp.csr_array if "sparse" in kind else np.asarray
    unit, back = 10.0**exponent, f"1e{-exponent}"
    of_rhs, undo_rhs = (unit, back) if which in ("rhs", "both", "all") else (1.0, "1")
    of_operator, undo = (unit, back) if which in ("operators", "both", "all") else (1.0, "1")
    of_product = unit if which in ("product", "all") else 1.0
    model = rbm.FullOrderModel(
        [(f"mu * {undo}", store(a * of_operator)), (undo, store(p * of_operator))],
        [(undo_rhs, f * of_rhs)],
        store(p * of_product),
        SPACE,
        0.2 / of_product,
    )
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert_certified(model, z)


@pytest.mark.parametrize("kind", ["dense", "sparse", "complex dense", "complex sparse"])
@pytest.mark.parametrize("exponent", [-300, -305])
def test_what_is_too_large_in_units_of_the_product_is_refused_as_that(exponent: int, kind: str) -> None:
    p, a, f, z = pieces("complex" in kind)
    store = sp.csr_array if "sparse" in kind else np.asarray
    model = rbm.FullOrderModel([("mu", store(a))], [(1.0, f)], store(p * 10.0**exponent), SPACE, 0.1)
    with pytest.raises(
        rbm.ModelError, match=r"functionals of norm \de\+30\d in the dual of the product are beyond|beyond the range"
    ):
        rbm.project(model, z)


@pytest.mark.parametrize(("large", "complex_valued"), list(itertools.product([140, 150, 240], [False, True])))
def test_a_stability_bound_that_is_too_large_is_found_for_solutions_of_any_size(
    large: int, complex_valued: bool
) -> None:
    """Squares of the error vector, and of the solution, overflow."""
    p, _, f, _ = pieces(complex_valued)
    product = sp.csr_array(p * 10.0 ** (large // 2))
    model = rbm.FullOrderModel(
        [("mu", sp.csr_array(p)), (1.0, sp.eye_array(N, format="csr"))],
        [(1.0, f * 10.0 ** (large // 2))],
        product,
        SPACE,
        10.0 ** (2 - large // 2),
    )
    with pytest.raises(rbm.StabilityError, match="is too large by a factor of"):
        rbm.greedy(model, SPACE.sample(10), progress=False)


def chain(scale: Any) -> tuple[Any, Any, np.ndarray]:
    one, n = np.ones(30), 30
    k = sp.diags_array([-one[1:], 2 * one, -one[1:]], offsets=[-1, 0, 1]).tocsr() * (n + 1)
    m = sp.diags_array([one[1:], 4 * one, one[1:]], offsets=[-1, 0, 1]).tocsr() / (6 * (n + 1))
    d = sp.diags_array(scale)
    return sp.csr_array(d @ k @ d), sp.csr_array(d @ m @ d), d @ one / (n + 1)


@pytest.mark.every(5)
@pytest.mark.parametrize("dense", [False, True], ids=["sparse", "dense"])
@pytest.mark.parametrize("exponents", ["alternating", "ramp", "tiny", "huge"])
@pytest.mark.parametrize("stability", ["number", "min-theta", "anchored"])
def test_units_of_the_unknowns_may_be_anything(stability: str, exponents: str, dense: bool) -> None:
    """Entries of operators and product from 1e-290 to 1e290, in one matrix: the same bounds."""
    steps = {
        "alternating": np.where(np.arange(30) % 2, 400, -400),
        "ramp": np.linspace(-450, 450, 30).astype(int),
        "tiny": np.full(30, -480),
        "huge": np.full(30, 480),
    }[exponents]
    bound = {
        "number": 1.0,
        "min-theta": rbm.stability.MinTheta([1.0]),
        "anchored": rbm.stability.Anchored(progress=False),
    }
    answers = []
    for scale in (np.ones(30), np.ldexp(1.0, steps)):
        k, m, f = chain(scale)
        k, m = (k.toarray(), m.toarray()) if dense else (k, m)
        model = rbm.FullOrderModel(
            [(1.0, k), ("mu", m)], [(1.0, f)], k, SPACE, bound[stability], outputs={"s": f, "q": m}
        )
        result = rbm.greedy(model, SPACE.sample(10), max_basis=2, progress=False)
        answers.append(result.reduced_model.solve([[1.37]]))
    np.testing.assert_allclose(answers[1].bound, answers[0].bound, rtol=1e-6)
    for name in ("s", "q"):
        np.testing.assert_allclose(answers[1].outputs[name], answers[0].outputs[name], rtol=1e-12)
        np.testing.assert_allclose(answers[1].output_bounds[name], answers[0].output_bounds[name], rtol=1e-6)
