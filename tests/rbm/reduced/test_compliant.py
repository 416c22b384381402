"""Compliant outputs: their bound is about the square of the plain one, and holds down to round-off."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.sparse as sp
from helpers.exact_outputs import compliant_model, convection_model, line, output_errors
from helpers.other_arrays import xp

import rbm
from problems import thermal_block
from rbm.reduced.compliant import ReducedCompliant, _distances
from rbm.reduced.outputs import AtPoints, ReducedLinear
from rbm.reduction import Reduction

KINDS = ["real", "complex", "indefinite"]


@cache
def reduced(kind: str) -> tuple[rbm.FullOrderModel, rbm.ReducedModel, np.ndarray]:
    model = compliant_model(kind)
    points = model.parameters.sample(25, "random", rng=1)
    return model, rbm.greedy(model, model.parameters.sample(60)).reduced_model, points


def compliant(model: rbm.ReducedModel, name: str = "s") -> ReducedCompliant:
    output = model.outputs[name]
    assert isinstance(output, ReducedCompliant)
    return output


def by_definition(model: rbm.ReducedModel, mus: np.ndarray, name: str = "s") -> tuple[np.ndarray, np.ndarray]:
    """Values and bounds by the readable definition, where the kernels have their own."""
    made = model.solve(mus)
    theta, phi = model.operator_coefficients(mus), model.rhs_coefficients(mus)
    beta = model.stability(mus, theta)
    return compliant(model, name).certified(AtPoints(mus, theta, phi, made.coefficients, beta, made.bound))


@pytest.mark.parametrize("kind", KINDS)
def test_the_bound_holds_and_is_about_the_square(kind: str) -> None:
    model, full, mus = reduced(kind)
    beta = np.asarray(full.stability(mus, full.operator_coefficients(mus)))
    for size in range(1, full.size + 1):
        made = full.truncate(size)
        answer = made.solve(mus)
        errors = output_errors(model, mus, answer.outputs)
        values, bounds = by_definition(made, mus)
        assert np.all(errors["s"] <= answer.output_bounds["s"]), size
        assert np.all(errors["other"] <= answer.output_bounds["other"]), size
        assert np.all(output_errors(model, mus, {"s": values})["s"] <= bounds), size
        square = beta * answer.bound**2
        assert np.all(answer.output_bounds["s"] <= 1.01 * square + 2e-13 * np.abs(answer.outputs["s"]).max()), size
        assert np.all(
            answer.output_bounds["s"] <= 1.01 * made.outputs["s"].bound(mus, answer.coefficients, answer.bound)
        )
    four = full.truncate(4).solve(mus)
    assert four.output_bounds["s"].max() < 1e-2 * four.output_bounds["other"].max()


def test_the_error_has_a_sign_where_the_operator_is_positive() -> None:
    model, full, mus = reduced("real")
    u = model.solve(mus)
    three = full.truncate(3).solve(mus)
    assert np.all(model.outputs["s"](mus, u) > three.outputs["s"])


def test_terms_that_are_hermitian_up_to_round_off_are_charged() -> None:
    stiffness, mass, load = line(14)
    skewed = stiffness.copy()
    skewed.data = skewed.data * (1 + 8e-16 * np.sin(np.arange(skewed.nnz)))
    product = (stiffness + stiffness.T) / 2
    model = rbm.FullOrderModel(
        [(1.0, skewed), ("a", mass)], [(1.0, load)], product, {"a": (0.5, 200.0)}, 1 - 1e-13,
        outputs={"s": load * (1 + 2e-16)},
    )  # fmt: skip
    made = rbm.greedy(model, model.parameters.sample(60)).reduced_model
    output = compliant(made)
    assert 1e-17 < output.skew[0] < 1e-13
    assert output.skew[1] == 0
    assert 0 < output.mismatch[0] < 1e-15
    mus = model.parameters.sample(20, "random", rng=2)
    for size in (2, 4, 6, made.size):
        part = made.truncate(size)
        answer = part.solve(mus)
        errors = output_errors(model, mus, answer.outputs)["s"]
        values, bounds = by_definition(part, mus)
        assert np.all(errors <= answer.output_bounds["s"])
        assert np.all(errors <= bounds)
        np.testing.assert_allclose(values, answer.outputs["s"], rtol=1e-14)


def test_what_is_charged_for_a_skew_part() -> None:
    """Numbers that are far from round-off: the bound must hold for a skew part and a mismatch as large as they say."""
    stiffness, mass, load = line(14)
    model = compliant_model("real")
    made = rbm.greedy(model, model.parameters.sample(60), max_basis=3).reduced_model
    rng = np.random.default_rng(0)
    tilt = rng.standard_normal((14, 14))
    tilt = 0.01 * (tilt - tilt.T)
    load_of_output = load + 0.5 * load.max() * rng.standard_normal(14)
    other = rbm.FullOrderModel(
        [(1.0, stiffness), ("a", mass), (1.0, tilt)], [(1.0, load)], stiffness, {"a": (0.5, 200.0)}, 1.0,
        outputs={"s": load_of_output},
    )  # fmt: skip
    part = rbm.project(other, made.basis)
    plain = part.outputs["s"]
    assert type(plain) is ReducedLinear
    norm = 2 * np.linalg.norm(tilt, 2) / np.linalg.eigvalsh(stiffness.toarray()).min()
    gap = load_of_output - load
    gap = np.sqrt(gap @ np.linalg.solve(stiffness.toarray(), gap))
    base = compliant(made)
    skew, operators = np.append(base.skew, norm), np.concatenate([base.operators, np.zeros((1, 3, 3))])
    forced = ReducedCompliant(
        **vars_of(plain), operators=operators, operator_errors=np.zeros((3, 3)), rhs=base.rhs,
        rhs_errors=base.rhs_errors, skew=skew, mismatch=np.array([gap]), orthonormality=1e-10, definite=True,
    )  # fmt: skip
    mus = other.parameters.sample(20, "random", rng=2)
    answer = part.solve(mus)
    theta = part.operator_coefficients(mus)
    at = AtPoints(mus, theta, None, answer.coefficients, np.ones(20), answer.bound)
    values, bounds = forced.certified(at)
    errors = output_errors(other, mus, {"s": values})["s"]
    # u_N^H r has a part gamma^H Z^H tilt Z gamma, which is zero: real and skew
    assert np.all(errors <= bounds)
    assert np.any(errors > answer.bound**2)  # without the charge it would fail


def vars_of(output: ReducedLinear) -> dict[str, Any]:
    names = ("coefficients", "vectors", "dual", "defects", "rounding")
    return {name: getattr(output, name) for name in names}


def test_outputs_that_are_not_compliant_keep_the_plain_bound() -> None:
    stiffness, mass, load = line(14)

    def kind(terms: Any, output: Any, rhs: Any = None, **options: Any) -> type:
        model = rbm.FullOrderModel(
            terms, rhs or [(1.0, load)], stiffness, {"a": (0.5, 2.0)}, 1.0, outputs={"s": output}, **options
        )
        basis = model.solve([[1.0]]).T
        return type(rbm.project(model, basis).outputs["s"])

    hermitian = [(1.0, stiffness), ("a", mass)]
    first = sp.csr_array(sp.diags_array([-np.ones(13), np.ones(13)], offsets=[-1, 1]))
    assert kind(hermitian, load) is ReducedCompliant
    assert kind(hermitian, load + 1e-12 * load.max() * np.eye(14)[3]) is ReducedLinear
    assert kind([*hermitian, (0.1, first)], load) is ReducedLinear
    assert kind([(1.0, stiffness), ("a + 0.1j", mass)], load) is ReducedCompliant  # decided where it is evaluated
    assert kind([(1.0, stiffness), (1 + 0.1j, mass)], load) is ReducedLinear
    assert kind(hermitian, [("a", load)], [("a", load)]) is ReducedCompliant
    assert kind(hermitian, [("a", load)], [("a + 0", load)]) is ReducedLinear
    assert kind(hermitian, [(1 - 2j, load)], [(1 + 2j, load)]) is ReducedCompliant
    assert kind(hermitian, [(1 + 2j, load)], [(1 + 2j, load)]) is ReducedLinear
    turned = load * np.exp(1j * np.arange(14))
    assert kind(hermitian, turned.conj(), [(1.0, turned)]) is ReducedCompliant
    assert kind(hermitian, turned, [(1.0, turned)]) is ReducedLinear
    two = [(1.0, load), ("a", turned)]
    assert kind(hermitian, [("a", turned.conj()), (1.0, load)], two) is ReducedCompliant  # in another order
    assert kind(hermitian, load, projection="least-squares") is ReducedLinear
    assert kind(hermitian, load, interpolation_error=(0.0, 1e-9)) is ReducedLinear


def test_complex_coefficients_get_the_plain_bound() -> None:
    stiffness, mass, load = line(14)
    for rhs, output in (([(1.0, load)], load), ([("a + 0.2j", load)], [("a + 0.2j", load)])):
        model = rbm.FullOrderModel(
            [(1.0, stiffness), ("a + 3j", mass)], rhs, stiffness, {"a": (0.5, 200.0)}, 1.0, outputs={"s": output}
        )
        made = rbm.greedy(model, model.parameters.sample(60), max_basis=3).reduced_model
        compliant(made)
        mus = model.parameters.sample(10, "random", rng=2)
        answer = made.solve(mus)
        errors = output_errors(model, mus, answer.outputs)["s"]
        assert np.all(errors <= answer.output_bounds["s"])
        plain = made.outputs["s"].bound(mus, answer.coefficients, answer.bound)
        np.testing.assert_allclose(answer.output_bounds["s"], plain, rtol=1e-9)
        np.testing.assert_allclose(by_definition(made, mus)[1], plain, rtol=1e-9)


def test_coefficients_that_vary_with_the_parameter() -> None:
    stiffness, mass, load = line(14)
    both = [("a", load), ("sqrt(a)", load[::-1].copy())]
    model = rbm.FullOrderModel(
        [(1.0, stiffness), ("a", mass)], both, stiffness, {"a": (0.5, 200.0)}, 1.0, outputs={"s": both}
    )
    made = rbm.greedy(model, model.parameters.sample(60)).reduced_model
    mus = model.parameters.sample(20, "random", rng=2)
    for size in (1, 3, 5, made.size):
        answer = made.truncate(size).solve(mus)
        assert np.all(output_errors(model, mus, answer.outputs)["s"] <= answer.output_bounds["s"])
        assert np.all(answer.output_bounds["s"] <= 1.01 * answer.bound**2 + 1e-13 * np.abs(answer.outputs["s"]))


@pytest.mark.parametrize("kind", KINDS)
def test_files_devices_and_single_precision(kind: str, tmp_path: Path) -> None:
    model, full, mus = reduced(kind)
    four = full.truncate(4)
    four.save(tmp_path / "model.rbm")
    loaded = rbm.load(tmp_path / "model.rbm")
    before, after = four.solve(mus), loaded.solve(mus)
    np.testing.assert_array_equal(before.outputs["s"], after.outputs["s"])
    np.testing.assert_array_equal(before.output_bounds["s"], after.output_bounds["s"])
    moved = four.to(xp).solve(mus).to("numpy")  # by plain array operations, as the definition
    np.testing.assert_allclose(moved.output_bounds["s"], by_definition(four, mus)[1], rtol=1e-4, atol=1e-15)
    assert np.all(output_errors(model, mus, {"s": moved.outputs["s"]})["s"] <= moved.output_bounds["s"])
    single = full.astype("float32")
    for made in (single, single.truncate(3)):
        answer = made.solve(mus)
        errors = output_errors(model, mus, answer.outputs)
        assert np.all(errors["s"] <= answer.output_bounds["s"])
        assert np.all(errors["s"] <= by_definition(made, mus)[1])


def test_given_other_coefficients_the_rounding_term_sees_it() -> None:
    """u_N^H r is measured by the definition: it holds for coefficients that are not Galerkin's."""
    model, full, mus = reduced("real")
    five = full.truncate(5)
    answer = five.solve(mus)
    theta = five.operator_coefficients(mus)
    gamma = answer.coefficients * (1 + 1e-3 * np.cos(np.arange(5)))
    error = five.estimate(mus, gamma).bound
    values, bounds = compliant(five).certified(AtPoints(mus, theta, None, gamma, np.ones(len(mus)), error))
    errors = output_errors(model, mus, {"s": values})["s"]
    assert np.all(errors <= bounds)
    assert np.any(errors > 1.01 * error**2)


def test_a_model_without_compliant_outputs_is_answered_as_before() -> None:
    made = rbm.greedy(convection_model(), [[1.0, 1.0], [-1.0, 0.5], [0.3, 0.2]]).reduced_model
    assert made._online.finish is None  # "mixed" has coefficients that vary
    assert all(type(output) is ReducedLinear for output in made.outputs.values())


@pytest.mark.parametrize("kind", KINDS)
def test_the_energy_is_compliant(kind: str) -> None:
    base = compliant_model(kind)
    terms = list(zip(base.operator_coefficients.sources, base.operator_terms, strict=True))
    other = [(c, 2 * a) for c, a in terms]
    model = compliant_model(kind, outputs={"energy": terms[::-1], "twice": other, "s": base.rhs_terms[:, 0].conj()})
    made = rbm.greedy(model, model.parameters.sample(60)).reduced_model
    mus = model.parameters.sample(20, "random", rng=3)
    for size in (2, 4, made.size):
        part = made.truncate(size)
        answer = part.solve(mus)
        energy = answer.outputs["energy"]
        assert energy.dtype == float
        errors = output_errors(model, mus, {"s": energy})["s"]  # the same exact value: f^H u
        assert np.all(errors <= answer.output_bounds["energy"])
        np.testing.assert_allclose(energy, answer.outputs["twice"] / 2, rtol=1e-12)
        assert np.all(answer.output_bounds["energy"] <= answer.output_bounds["twice"])
    four = made.truncate(4).solve(mus)
    assert four.output_bounds["energy"].max() < 1e-2 * four.output_bounds["twice"].max()


def test_what_is_charged_for_a_functional_that_is_the_right_hand_side_up_to_round_off() -> None:
    """With a complex product the dual norm of v -> (l - conj f)^T v is that of conj l - f, not of its conjugate."""
    rng = np.random.default_rng(0)
    n = 12
    root = rng.standard_normal((n, n)) + 1j * rng.standard_normal((n, n))
    product = root @ root.conj().T + np.eye(n)
    f = rng.standard_normal(n) + 1j * rng.standard_normal(n)
    away = f.conj() * (1 + 4e-15 * (rng.standard_normal(n) + 1j * rng.standard_normal(n)))
    terms = [(1.0, product), ("mu", np.eye(n))]
    model = rbm.FullOrderModel(terms, [(1.0, f)], product, {"mu": (1.0, 9.0)}, 1.0, outputs={"s": away})
    made = compliant(rbm.greedy(model, model.parameters.sample(20), max_basis=3).reduced_model)
    off = away.conj() - f
    right, wrong = (float(np.sqrt((w.conj() @ np.linalg.solve(product, w)).real)) for w in (off, off.conj()))
    assert made.mismatch[0] == pytest.approx(right, rel=1e-6, abs=0.0)
    assert abs(wrong / right - 1) > 0.05  # so that this test can fail


@pytest.mark.parametrize("threads", ["1", "3"])
def test_what_projected_operators_are_off_by_is_covered(monkeypatch: pytest.MonkeyPatch, threads: str) -> None:
    """|x^H E_q x| <= (sum_i e_qi |x_i|)^2, for operators that are off by known E_q."""
    monkeypatch.setenv("RBM_NUM_THREADS", threads)
    model, rng = thermal_block((2, 2), 8), np.random.default_rng(0)
    reduction = Reduction(model, np.linalg.qr(rng.standard_normal((model.dimension, 5)))[0])
    off = rng.standard_normal(reduction.operators.shape)
    off = off + off.transpose(0, 2, 1)
    found = _distances(reduction.operators + off, reduction)
    x = rng.standard_normal((50, 5))
    forms = np.abs(np.einsum("mi,qij,mj->mq", x, off, x))
    assert np.all(forms <= (np.abs(x) @ found.T) ** 2 * (1 + 1e-12))
    np.testing.assert_allclose(found, np.sqrt(np.abs(off).sum(axis=2)), rtol=1e-9)  # and no larger than that
