"""Bounds of random small models in mixed units against exact arithmetic: no violation in 10^5 points.

A point is a parameter point of a model at which the error bound and all output bounds were compared with the exact
values; residual norms and stability constants are compared there, too. ``python -m benchmarks.truth`` does 10^6 and
prints a table.
"""

from __future__ import annotations

import json
from fractions import Fraction
from pathlib import Path

import flint
import numpy as np
import pytest

import rbm
from benchmarks.exact import BITS, Exact, Rational, Setting, definite, whitened
from benchmarks.random_models import FAMILIES, Case
from benchmarks.truth import Tally, case_of, main, sweep
from benchmarks.truth_checks import check

#: Points a model: more of them cost less each, fewer see more models.
POINTS = 200
#: Points of all families together; families that are refused often have fewer.
ALL = 110_000


@pytest.mark.parametrize("name", FAMILIES)
def test_no_bound_is_below_the_exact_value(name: str) -> None:
    tally, share = Tally(), ALL / len(FAMILIES)
    while tally.points < share and tally.models * POINTS < 3 * share:
        sweep(name, tally, 1, POINTS)
    assert not tally.kinds, tally.examples
    assert not tally.crashed, tally.examples
    assert not tally.refused_kind, tally.examples
    assert tally.points > 0, tally.reasons


def toy(**changes: object) -> Case:
    """A model whose exact answers are short: P = diag(1, 4), A = P + mu diag(0, 1)."""
    given: dict[str, object] = {
        "operators": [(1.0, np.diag([1.0, 4.0])), ("mu", np.diag([0.0, 1.0]))],
        "rhs": [(1.0, np.array([1.0, 1.0]))],
        "product": np.diag([1.0, 4.0]),
        "ranges": {"mu": (0.5, 2.0)},
        "basis": np.array([[1.0], [0.0]]),
        "stability": 1.0,
        "outputs": {"l": np.array([0.0, 3.0]), "q": np.diag([1.0, -1.0])},
    }
    return Case(**{**given, **changes})  # type: ignore[arg-type]


@pytest.mark.parametrize("unit", [0, 7, 400])
@pytest.mark.parametrize("complex_valued", [False, True])
def test_exact_answers_of_a_model_known_in_closed_form(unit: int, complex_valued: bool) -> None:
    s = toy().setting()
    d = np.array([1.0, 2.0**unit])
    product = np.diag(d) @ s.product @ np.diag(d) * (1 + 0j if complex_valued else 1.0)
    setting = Setting(
        [d[:, None] * a * d for a in s.operators], d[:, None] * s.rhs, product, {"l": [d * s.outputs["l"][0]]}
    )
    exact = Exact(setting, np.array([[1.0], [0.0]]), BITS[0], complex_valued)
    mu = 0.5
    gamma = exact.column([0.25])
    r = exact.residual([1.0, mu], [1.0], gamma)
    assert Fraction(9, 16) + Fraction(1, 4) == Fraction(float(exact.square(r, exact.inverse)))
    e = exact.operator([1.0, mu]).solve(r)
    # e = (3/4, 2/9): ||e||_P^2 = 9/16 + 4 (2/9)^2, and l^T u = 3 (2/9)
    expected = flint.arb(9) / 16 + flint.arb(16) / 81
    assert exact.square(e, exact.product).overlaps(expected)
    value = exact.output("l", [1.0], exact.basis * gamma + e)
    assert value.real.overlaps(flint.arb(2) / 3)
    # singular values from P to P': 1 and 1 + mu / 4
    above = np.nextafter(1.0, 2.0)
    for beta, true in ((0.5, True), (1.0, True), (above, False), (1.1, False)):
        theta = [1.0, mu]
        assert exact.stable(exact.operator(theta), theta, float(beta)) == true
        assert Rational(setting).stable(theta, float(beta)) == true


def test_the_oracle_agrees_with_the_one_of_the_other_tests() -> None:
    from helpers.oracle import Oracle

    case, _ = case_of("units", 1)
    model = case.model()
    reduced = rbm.project(model, case.basis)  # type: ignore[arg-type]
    mus = model.parameters.sample(5)
    theta, phi, gamma = model.operator_coefficients(mus), model.rhs_coefficients(mus), reduced.solve(mus).coefficients
    norms = Oracle(model, reduced.basis).norm(theta, phi, gamma)  # type: ignore[arg-type]
    exact = Exact(case.setting(), reduced.basis, BITS[0], True)  # type: ignore[arg-type]
    for t, p, g, norm in zip(theta, phi, gamma, norms, strict=True):
        r = exact.residual(t.tolist(), p.tolist(), exact.column(g.tolist()))
        assert float(exact.square(r, exact.inverse).sqrt()) == pytest.approx(norm, rel=1e-14)


def test_definite_and_whitened() -> None:
    rng = np.random.default_rng(0)
    g = rng.standard_normal((4, 4)) + 1j * rng.standard_normal((4, 4))
    p = g @ g.conj().T
    p = (p + p.conj().T) / 2
    a = rng.standard_normal((4, 4))
    half = np.linalg.cholesky(p)
    made = whitened(Setting([a], np.ones((4, 1)), p))[0]
    np.testing.assert_allclose(
        made, np.linalg.solve(half, np.linalg.solve(half, a.T.astype(complex)).conj().T), atol=1e-10
    )
    for shift, answer in ((0.0, True), (-2.0 * np.linalg.eigvalsh(p)[0], False)):
        rows = [[flint.acb(x.real, x.imag) for x in row] for row in (p + shift * np.eye(4)).tolist()]
        assert definite(rows) is answer
    assert definite([[flint.arb(0)]]) is None
    with pytest.raises(ArithmeticError, match="positive definite"):
        whitened(Setting([a], np.ones((4, 1)), -p))


@pytest.mark.parametrize(
    ("changes", "kinds"),
    [
        ({}, set()),
        ({"stability": 1.0 + 2.0**-52}, {"stability"}),
        ({"stability": 5.0}, {"stability", "error", "output l"}),
        ({"left_out": ([(1e-3, np.diag([0.0, 4.0]))], []), "stability": "1 + mu/4"}, {"stability"}),
        ({"left_out": ([], [(-0.5, np.array([1.0, 0.0]))])}, {"error"}),
    ],
)
def test_what_is_false_is_found(changes: dict[str, object], kinds: set[str]) -> None:
    outcome = check(toy(**changes), np.random.default_rng(0), 20)
    assert outcome.points == 20
    assert outcome.crashed == outcome.refused == ""
    assert kinds <= set(outcome.kinds)
    assert bool(kinds) == (outcome.violations > 0)


def test_refusals_and_crashes_are_told_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    refused = check(toy(stability=-1.0), np.random.default_rng(0), 5)
    assert "StabilityError" in refused.refused or "stability" in refused.refused
    assert not refused.crashed
    monkeypatch.setattr(rbm, "project", lambda *_: 1 / 0)
    crashed = check(toy(), np.random.default_rng(0), 5)
    assert "ZeroDivisionError" in crashed.crashed
    tally = Tally()
    tally.add("toy", 0, toy(stability=-1.0, kind=True), refused)
    tally.add("toy", 1, toy(), crashed)
    assert (tally.refused_kind, tally.crashed, tally.failures) == (1, 1, 2)


def test_a_sweep_goes_on_where_it_stopped(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    results = tmp_path / "truth.json"
    arguments = ["--family", "cancelling_terms", "--results", str(results)]
    assert main(["bounds", *arguments, "--points", "1"]) == 0
    first = json.loads(results.read_text())["bounds"]["cancelling_terms"]
    assert main([*arguments, "--points", "1"]) == 0
    assert json.loads(results.read_text())["bounds"]["cancelling_terms"] == first
    assert "cancelling_terms" in capsys.readouterr().out
    results.write_text(json.dumps({"bounds": {"cancelling_terms": {**first, "digest": "of another version"}}}))
    assert main([*arguments, "--points", "1"]) == 0
    assert json.loads(results.read_text())["bounds"]["cancelling_terms"] == first
    assert main([*arguments, "--index", "3"]) == 0
    assert "violations: 0" in capsys.readouterr().out
    assert main(["--family", "no such family"]) == 2
