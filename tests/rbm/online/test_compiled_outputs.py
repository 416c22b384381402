"""Outputs and anchored bounds by compiled code against their definition in array operations, and against exact sums."""

from __future__ import annotations

import pickle
import subprocess
import sys
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from helpers.scattering_models import scattering

import rbm
from rbm.errors import ModelError, StabilityError
from rbm.online.compiled_outputs import pack_forms, pack_functional
from rbm.online.definitions import by_definition, compiled_code_serves
from rbm.online.kernels.output_sums import forms_scratch_size, quadratic_forms
from rbm.parameters.coefficients import Coefficients
from rbm.reduced.model import ReducedModel
from rbm.reduced.outputs import ReducedLinear, ReducedQuadratic
from rbm.stability.anchored_bound import BoundAnchored

U = float(np.finfo(float).eps) / 2
COUNTS = [1, 7, 8, 9, 15, 16, 17, 40]
SPACE = rbm.ParameterSpace({"a": (-1.0, 1.0), "b": (0.1, 1.0)})
KINDS = [(False, False), (True, False), (False, True), (True, True)]


def numbers(rng: np.random.Generator, *shape: int, is_complex: bool = False) -> np.ndarray:
    made = rng.standard_normal(shape)
    return made + 1j * rng.standard_normal(shape) if is_complex else made


def psi_of(is_complex: bool) -> Coefficients:
    """Three coefficients; the second vanishes at half of the points."""
    return Coefficients([2.0, "(a + abs(a)) / 2", (lambda mus: 1j * mus[:, 1]) if is_complex else "b**2"], SPACE)


def linear(rng: np.random.Generator, n: int, rank: int, is_complex: bool, of_psi: bool) -> ReducedLinear:
    def draw(*shape: int) -> np.ndarray:
        return numbers(rng, *shape, is_complex=is_complex)

    defects, rounding = rng.uniform(0, 1e-15, 3), rng.uniform(0, 1e-17, (3, n))
    return ReducedLinear(psi_of(of_psi), draw(3, n), draw(rank, 3), defects, rounding)


def exact(values: list[list[complex]]) -> tuple[Fraction, Fraction]:
    """The sum of the products of the numbers in each list, without any rounding: real and imaginary part."""
    real, imag = Fraction(0), Fraction(0)
    for factors in values:
        x, y = Fraction(1), Fraction(0)
        for f in map(complex, factors):
            u, v = Fraction(f.real), Fraction(f.imag)
            x, y = x * u - y * v, x * v + y * u
        real, imag = real + x, imag + y
    return real, imag


@pytest.mark.parametrize(("is_complex", "of_gamma"), KINDS)
@pytest.mark.parametrize("n", [1, 3, 11])
@pytest.mark.parametrize("rank", [0, 1, 3])
def test_linear_outputs(n: int, rank: int, is_complex: bool, of_gamma: bool) -> None:
    """Values within the rounding that bounds charge for them, exactly summed; and a point does not see its lane."""
    rng = np.random.default_rng(n)
    out = linear(rng, n, rank, is_complex, of_psi=is_complex and n == 3)
    mus = SPACE.sample(40, "random", rng=1)
    psi, gamma = out.coefficients(mus), numbers(rng, 40, n, is_complex=of_gamma)
    value, bound = out.value(mus, gamma), out.bound(mus, gamma, np.full(40, 0.25))
    with by_definition():
        plain, plain_bound = out.value(mus, gamma), out.bound(mus, gamma, np.full(40, 0.25))
    assert value.dtype == plain.dtype
    np.testing.assert_allclose(bound, plain_bound, rtol=1e-13)
    size, norm = out._magnitudes(psi, gamma)
    assert np.all(np.abs(value - plain) <= 2 * size)
    for i in range(0, 40, 7):
        real, imag = exact([[psi[i, q], out.vectors[q, j], gamma[i, j]] for q in range(3) for j in range(n)])
        made = complex(value[i])
        assert (Fraction(made.real) - real) ** 2 + (Fraction(made.imag) - imag) ** 2 <= Fraction(size[i]) ** 2
        assert bound[i] >= 0.25 * norm[i] + size[i] * (1 - 1e-12)
    for count in COUNTS:
        np.testing.assert_array_equal(out.value(mus[:count], gamma[:count]), value[:count])
        np.testing.assert_array_equal(out.bound(mus[:count], gamma[:count], np.full(count, 0.25)), bound[:count])


@pytest.mark.parametrize(("is_complex", "of_gamma"), KINDS)
@pytest.mark.parametrize("n", [1, 2, 3, 6, 13])
def test_quadratic_outputs(n: int, is_complex: bool, of_gamma: bool) -> None:
    """Also of matrices that are not Hermitian, of which only the Hermitian part counts."""
    rng = np.random.default_rng(n)
    matrices = numbers(rng, 3, n, n, is_complex=is_complex)
    norms = np.array([np.linalg.norm(m, 2) for m in matrices])
    out = ReducedQuadratic(psi_of(is_complex and n == 3), matrices, norms, np.full(3, 1e-17), 1e-13)
    mus, gamma = SPACE.sample(40, "random", rng=1), numbers(rng, 40, n, is_complex=of_gamma)
    value, bound = out.value(mus, gamma), out.bound(mus, gamma, np.full(40, 0.25))
    with by_definition():
        plain, plain_bound = out.value(mus, gamma), out.bound(mus, gamma, np.full(40, 0.25))
    assert value.dtype == plain.dtype
    np.testing.assert_allclose(bound, plain_bound, rtol=1e-13)
    psi, size = np.abs(out.coefficients(mus)), np.linalg.norm(gamma, axis=1)
    charged = 16 * (n + 5) ** 1.5 * U * (psi @ norms) * size**2
    assert np.all(np.abs(value - plain) <= charged)
    forms = pack_forms(matrices, of_gamma).values(gamma)
    for i in range(0, 40, 7):
        for q in range(3):
            terms = [[np.conj(gamma[i, j]), matrices[q, j, k], gamma[i, k]] for j in range(n) for k in range(n)]
            off = abs(Fraction(float(forms[i, q])) - exact(terms)[0])
            assert off <= Fraction(8 * (n + 2) ** 1.5 * U * norms[q] * size[i] ** 2)
    for count in COUNTS:
        np.testing.assert_array_equal(out.value(mus[:count], gamma[:count]), value[:count])
        packed = pack_forms(matrices, of_gamma)
        np.testing.assert_array_equal(packed.norms(gamma[:count]), packed.norms(gamma)[:count])
        # weights are a product of NumPy's, whose last bit may depend on the batch
        np.testing.assert_allclose(
            out.bound(mus[:count], gamma[:count], np.full(count, 0.25)), bound[:count], rtol=1e-14
        )


def test_functionals_that_vanish_are_zero_and_have_no_bound_above_their_smallest_number() -> None:
    out = ReducedLinear(Coefficients(["0 * a", "a - a"], SPACE), np.ones((2, 4)), np.zeros((1, 2)))
    mus = SPACE.sample(9, "random", rng=1)
    gamma = np.ones((9, 4), complex)
    np.testing.assert_array_equal(out.value(mus, gamma), np.zeros(9))
    bound = out.bound(mus, gamma, np.ones(9))
    with by_definition():
        np.testing.assert_array_equal(out.bound(mus, gamma, np.ones(9)), bound)
    assert np.all(bound <= 1e-300)
    none = ReducedLinear(Coefficients(["a"], SPACE), np.ones((1, 4)), np.zeros((0, 1)))
    assert np.all(none.bound(mus, 0 * gamma, np.ones(9)) < 1e-300)


@pytest.mark.parametrize("power", [-500, -300, 300, 480])
def test_sizes_far_from_one(power: int) -> None:
    """Norms are squared neither beyond nor below the range of numbers."""
    rng, scale = np.random.default_rng(0), 2.0**power
    mus, error = SPACE.sample(9, "random", rng=1), np.full(9, scale)
    gamma = numbers(rng, 9, 5, is_complex=True)
    out = linear(rng, 5, 2, True, False)
    one = out.bound(mus, gamma, np.ones(9))
    np.testing.assert_allclose(out.bound(mus, scale * gamma, error), scale * one, rtol=1e-12)
    far = ReducedLinear(out.coefficients, out.vectors, scale * out.dual, scale * out.defects)
    near = ReducedLinear(out.coefficients, out.vectors, out.dual, out.defects)
    sizes = [o._compiled(o.coefficients(mus), gamma).sizes_and_norms(o.coefficients(mus), gamma) for o in (far, near)]
    np.testing.assert_allclose(sizes[0][1], scale * sizes[1][1], rtol=1e-12)
    turned = pack_functional(np.ones((1, 1)), np.ones((1, 1)), np.full((1, 1), 1e-9 + 1e200j), np.zeros(1), True)
    assert turned.sizes_and_norms(np.ones((9, 1)), np.ones((9, 1)))[1].tolist() == [1e200] * 9
    forms = pack_forms(numbers(rng, 1, 5, 5), True)
    np.testing.assert_allclose(forms.norms(scale * gamma), scale * np.linalg.norm(gamma, axis=1), rtol=1e-14)


def test_scratch_memory_may_hold_anything() -> None:
    """Columns are padded to a multiple of four: what lay in their memory before is no part of a sum."""
    rng = np.random.default_rng(0)
    packed, gamma, made = pack_forms(numbers(rng, 2, 3, 3), False), numbers(rng, 9, 3), np.empty((9, 2))
    room = np.full(forms_scratch_size(packed.columns), np.nan)
    quadratic_forms(gamma, *packed[:3], (made, np.zeros(0)), room)
    np.testing.assert_array_equal(made, packed.values(gamma))


def test_numbers_beyond_their_range_are_not_hidden() -> None:
    out = ReducedLinear(psi_of(False), np.full((3, 2), 1e300), np.full((1, 3), 1e300))
    mus = SPACE.sample(9, "random", rng=1)
    with np.errstate(over="ignore", invalid="ignore"):
        assert not np.any(np.isfinite(out.value(mus, np.full((9, 2), 1e10))))
        assert not np.any(np.isfinite(out.bound(mus, np.ones((9, 2)), np.full(9, 1e10))))
    packed = pack_functional(np.ones((1, 1)), np.ones((1, 1)), np.full((1, 1), 1e300), np.zeros(1), False)
    assert packed.sizes_and_norms(np.full((9, 1), 1e300), np.ones((9, 1)))[1].tolist() == [np.inf] * 9
    assert np.all(np.isnan(pack_forms(np.ones((1, 2, 2)), False).values(np.full((9, 2), np.nan))))


def anchored(
    rng: np.random.Generator, count: int, terms: int, known: int, is_complex: bool, mixed: bool
) -> BoundAnchored:
    anchors = numbers(rng, count, terms, is_complex=is_complex)
    rotated = numbers(rng, terms, terms, is_complex=mixed)
    constants, growths = rng.uniform(0.5, 1.0, count), rng.uniform(0.1, 1.0, count)
    norms = rng.uniform(0.1, 1.0, terms)
    return BoundAnchored(anchors, constants, growths, norms, rotated[:known], rotated[known:], SPACE)


@pytest.mark.parametrize("count", [1, 2, 11])
@pytest.mark.parametrize(("terms", "known"), [(1, 1), (1, 0), (3, 2), (4, 4), (5, 0)])
@pytest.mark.parametrize(("is_complex", "mixed"), KINDS)
def test_constants_from_anchors(count: int, terms: int, known: int, is_complex: bool, mixed: bool) -> None:
    """Near anchors, at them, between two that tie, and so far away that the bound is negative."""
    rng = np.random.default_rng(terms + 10 * count)
    bound = anchored(rng, count, terms, known, is_complex, mixed)
    near = bound.anchors[rng.integers(count, size=20)] + 0.1 * numbers(rng, 20, terms, is_complex=is_complex)
    middle = (bound.anchors[:1] + bound.anchors[-1:]) / 2
    theta = np.concatenate([near, bound.anchors, middle, 50 * near])
    made, plain = bound.best(theta), bound._best(theta)
    np.testing.assert_allclose(made, plain, rtol=1e-13, atol=1e-13 * np.abs(plain).max())
    assert made[-20:].min() < 0
    assert np.all(made[20 : 20 + count] >= bound.constants)  # at an anchor nothing is lost
    for length in COUNTS:
        np.testing.assert_array_equal(bound.best(theta[:length]), made[:length])


def test_anchors_that_tie_give_one_constant() -> None:
    rng = np.random.default_rng(0)
    one = anchored(rng, 1, 3, 2, False, True)
    twice = [np.concatenate([a, a]) for a in (one.anchors, one.constants, one.growths)]
    two = BoundAnchored(*twice, one.norms, one.transform, one.remainder, SPACE)
    theta = numbers(rng, 20, 3)
    np.testing.assert_array_equal(two.best(theta), one.best(theta))


def test_real_coefficients_and_complex_anchors_and_the_reverse() -> None:
    rng = np.random.default_rng(0)
    theta = numbers(rng, 9, 3)
    for is_complex in (False, True):
        bound = anchored(rng, 4, 3, 2, is_complex, False)
        for points in (theta, theta + 1j):
            np.testing.assert_allclose(bound.best(points), bound._best(points), rtol=1e-13, atol=1e-13)


def test_constants_of_no_number_and_of_tiny_differences() -> None:
    """Growths of zero times a difference beyond the range are no number, here as there; moduli do not vanish early."""
    bound = BoundAnchored(
        np.zeros((2, 2)), np.ones(2), np.array([0.0, 1.0]), np.ones(2), np.eye(2), np.zeros((0, 2)), SPACE
    )
    with np.errstate(over="ignore", invalid="ignore"):
        theta = np.full((9, 2), 1e200)
        assert np.all(np.isnan(bound._best(theta)))
        assert np.all(np.isnan(bound.best(theta)))
    steep = BoundAnchored(
        np.zeros((1, 1), complex),
        np.ones(1),
        np.full(1, 1e200),
        np.full(1, 1e200),
        np.ones((0, 1)),
        np.ones((1, 1)),
        SPACE,
    )
    theta = np.full((9, 1), 3e-201 + 4e-201j)
    np.testing.assert_allclose(steep._best(theta), steep.best(theta), rtol=1e-12)


def test_a_point_without_a_bound_is_an_error_that_names_it() -> None:
    bound = anchored(np.random.default_rng(0), 3, 2, 1, False, True)
    theta = np.concatenate([bound.anchors, np.full((1, 2), 1e3)])
    with pytest.raises(StabilityError, match=r"3 anchors is -.*a = 0, b = 0"):
        bound(np.zeros((4, 2)), theta)


def test_definitions_answer_where_compiled_code_does_not_fit() -> None:
    """Arrays that do not fit each other are refused, not read beyond their ends."""
    bound = anchored(np.random.default_rng(0), 3, 2, 1, False, True)
    with pytest.raises(ValueError, match="broadcast"):
        bound.best(np.zeros((4, 3)))
    out = linear(np.random.default_rng(0), 3, 1, False, False)
    with pytest.raises(ValueError, match="broadcast"):
        out.value(np.ones((4, 2)), np.ones((4, 5)))
    square = ReducedQuadratic(Coefficients(["a"], SPACE), np.ones((1, 3, 3)), np.ones(1))
    with pytest.raises(ValueError, match="match"):
        square.value(np.ones((4, 2)), np.ones((4, 5)))
    assert compiled_code_serves(np.ones(3))
    assert not compiled_code_serves(np.ones(3), np.ones(0))
    with by_definition():
        assert not compiled_code_serves(np.ones(3))
    assert out.value(np.ones((0, 2)), np.ones((0, 3))).shape == (0,)
    assert ReducedLinear(out.coefficients, np.ones((3, 0)), out.dual).value(np.ones((2, 2)), np.ones((2, 0))).shape == (
        2,
    )


def small(projection: str) -> tuple[rbm.FullOrderModel, ReducedModel]:
    model = scattering(complex_valued=projection == "least-squares")
    basis = rbm.greedy(model, model.parameters.sample(60), max_basis=9, progress=False).basis
    return model, rbm.project(model, basis, projection=projection)


@pytest.mark.parametrize("projection", ["galerkin", "least-squares"])
def test_a_scattering_model_end_to_end(projection: str) -> None:
    """Bounds hold, evaluators and batches have the same bits, and other precisions and methods go the same way."""
    model, reduced = small(projection)
    mus = model.parameters.sample(5000, "random", rng=3)
    made = reduced.solve(mus)
    with by_definition():
        plain = reduced.solve(mus)
    np.testing.assert_array_equal(made.coefficients, plain.coefficients)
    np.testing.assert_allclose(made.bound, plain.bound, rtol=1e-13)
    truth = model.solve(mus[:200])
    for name, output in model.outputs.items():
        off = np.abs(output(mus[:200], truth) - made.outputs[name][:200])
        assert np.all(off <= made.output_bounds[name][:200] * (1 + 1e-9) + 1e-13)
        np.testing.assert_allclose(made.output_bounds[name], plain.output_bounds[name], rtol=1e-12)
        assert np.abs(made.outputs[name] - plain.outputs[name]).max() <= 1e-13
    evaluate = reduced.evaluator()
    for i in (0, 4999):
        answer, one = evaluate(mus[i]), reduced.solve(mus[i])
        assert (answer.bound, answer.outputs["absorption"]) == (one.bound[0], one.outputs["absorption"][0])
        assert answer.output_bounds["forward"] == one.output_bounds["forward"][0]
        assert one.outputs["forward"][0] == pytest.approx(made.outputs["forward"][i], abs=1e-13)
    single = reduced.astype("float32").solve(mus[:200])
    for name, output in model.outputs.items():
        assert np.all(np.abs(output(mus[:200], truth) - single.outputs[name]) <= single.output_bounds[name] + 1e-13)
    assert (
        reduced.solve(mus[:9], estimate=False).outputs["absorption"].tolist() == made.outputs["absorption"][:9].tolist()
    )


def test_answers_have_their_places_and_failures_are_wiped() -> None:
    """Coefficients are written where the batch keeps them; a piece that fails leaves nothing behind."""
    model, reduced = small("galerkin")
    mus = model.parameters.sample(5000, "random", rng=3)
    mus[4500:4503] = np.nan
    made = reduced.solve(mus, on_error="mark")
    assert made.failed.tolist() == [4500, 4501, 4502]
    assert np.all(np.isnan(made.coefficients[4500:4503]))
    np.testing.assert_array_equal(made.coefficients[4503:], reduced.solve(mus[4503:]).coefficients)
    far = model.parameters.sample(5000, "random", rng=3)
    far[4700] = 1e9  # no anchor reaches so far, which is known before anything is solved
    other = reduced.solve(far, extrapolate=True, on_error="mark")
    assert other.failed.tolist() == [4700]
    np.testing.assert_array_equal(other.coefficients[:4500], made.coefficients[:4500])
    kept = reduced.solve(far[:4700], coefficients=False)
    assert kept.coefficients.shape == (4700, 0)
    query, state = reduced._online, reduced.state(None)
    room = query.answer(mus[:20], state, False, True)
    assert query.answer(mus[20:40], state, False, True, room).coefficients is room.coefficients


def test_an_output_beyond_the_range_is_an_error() -> None:
    _, reduced = small("galerkin")
    weights = Coefficients(["1e6 + beta_1", "beta_1", "beta_2"], reduced.parameters)
    huge = ReducedLinear(weights, np.full((3, reduced.size), 1e308), np.ones((1, 3)))
    with pytest.raises(ModelError, match="beyond the range of double precision"):
        replace(reduced, outputs={"huge": huge}).solve(reduced.parameters.sample(20))


def test_what_is_packed_is_not_pickled() -> None:
    _, reduced = small("galerkin")
    before = [len(pickle.dumps(x)) for x in (*reduced.outputs.values(), reduced.stability)]
    reduced.solve(reduced.parameters.sample(20))
    assert [len(pickle.dumps(x)) for x in (*reduced.outputs.values(), reduced.stability)] == before
    again = pickle.loads(pickle.dumps(reduced.outputs["absorption"]))
    mus, gamma = reduced.parameters.sample(5), np.ones((5, reduced.size), complex)
    np.testing.assert_array_equal(again.value(mus, gamma), reduced.outputs["absorption"].value(mus, gamma))


def test_reading_a_file_needs_no_compiled_code(tmp_path: Path) -> None:
    _, reduced = small("galerkin")
    reduced.save(tmp_path / "model.rbm")
    code = f"import sys, rbm; rbm.load({str(tmp_path / 'model.rbm')!r}); print('numba' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
