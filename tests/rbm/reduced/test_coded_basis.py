"""Models with a basis in few bits: bounds against exact errors in balls of 300 bits, and what the bits change."""

from __future__ import annotations

import copy
import json
import pickle
from collections.abc import Callable
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import array_api_strict
import flint
import numpy as np
import pytest
import scipy.sparse as sp
from helpers.exact_outputs import output_errors
from helpers.models import complex_model, two_parameter_model
from helpers.small_models import fragile_model, matrices

import rbm
from benchmarks import truth_quantized
from benchmarks.exact import BITS
from benchmarks.random_models import Case
from benchmarks.truth import main
from benchmarks.truth_quantized import Tally, Truth, sweep
from lowrank import quantize
from lowrank.arrays import to_numpy
from problems import thermal_block
from rbm.affine.functional_range import FunctionalRange
from rbm.affine.inner_product import InnerProduct
from rbm.reduced import coded_basis
from rbm.reduced.coded_basis import CodedBasis, principal_axes

ESTIMATORS = ("orthonormal", "expanded", "sampled", "interpolated")


def real_model() -> rbm.FullOrderModel:
    """Two parameters, a compliant output, one with a dual problem's form, and a quadratic one."""
    base = two_parameter_model(16)
    n = base.dimension
    return rbm.FullOrderModel(
        list(zip(base.operator_coefficients.sources, base.operator_terms, strict=True)),
        [(1.0, base.rhs_terms[:, 0]), ("sqrt(a)/b", np.linspace(0, 1, n) / n)],
        base.product,
        base.parameters,
        1.0,
        outputs={"mean": np.full(n, 1 / n), "energy": base.product},
    )


def mixed_units() -> rbm.FullOrderModel:
    """The real model with unknowns in units from 2^-30 to 2^30."""
    base, scale = real_model(), np.exp2(np.arange(15) * 4.0 - 30)
    d = sp.diags_array(scale)
    return rbm.FullOrderModel(
        [(c, d @ a @ d) for c, a in zip(base.operator_coefficients.sources, base.operator_terms, strict=True)],
        [(c, scale * f) for c, f in zip(base.rhs_coefficients.sources, base.rhs_terms.T, strict=True)],
        d @ base.product @ d,
        base.parameters,
        1.0,
    )


def complex_product() -> rbm.FullOrderModel:
    """Terms, product and load complex."""
    stiffness, mass, load = matrices("complex")
    space = rbm.ParameterSpace({"a": (1.0, 100.0), "b": (-50.0, 50.0)})
    return rbm.FullOrderModel([(1.0, stiffness), ("a + 1j*b", mass)], [(1.0, load)], stiffness, space, 1.0)


MODELS: dict[str, Callable[[], rbm.FullOrderModel]] = {
    "real": real_model,
    "complex": lambda: complex_model(16),
    "complex product": complex_product,
    "units": mixed_units,
}


@lru_cache
def reduced(name: str, size: int = 4) -> tuple[rbm.FullOrderModel, rbm.ReducedModel]:
    model = MODELS[name]()
    snapshots = model.solve(model.parameters.sample(size, "random", rng=3)).T
    return model, rbm.project(model, snapshots, ESTIMATORS, model.parameters.sample(100))


def truth_of(model: rbm.FullOrderModel, mus: np.ndarray, coded: CodedBasis | None, basis: np.ndarray | None) -> Truth:
    assert coded is not None
    assert basis is not None
    case = Case(
        list(zip(model.operator_coefficients.sources, model.operator_terms, strict=True)),
        list(zip(model.rhs_coefficients.sources, model.rhs_terms.T, strict=True)),
        model.product,
        dict(zip(model.parameters.names, map(tuple, model.parameters.bounds.tolist()), strict=True)),
        basis,
    )
    return Truth(case, mus, coded, basis)


def exact_norms(truth: Truth, gamma: np.ndarray) -> np.ndarray:
    """(M, 3): error of what is reconstructed, added error and norm of Z gamma, rounded once."""
    wide = gamma.astype(np.result_type(gamma, float))
    found = [truth.squares(k, wide[k], BITS[0]) for k in range(len(wide))]
    return np.array([[float(x.sqrt()) if x > 0 else 0.0 for x in row] for row in found])


def points(model: rbm.FullOrderModel, count: int = 12) -> np.ndarray:
    return np.concatenate([model.parameters.sample(count - 2, "random", rng=7), model.parameters.bounds.T])


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("name", MODELS)
def test_bounds_hold_and_the_added_error_is_exact(name: str, dtype: str) -> None:
    model, whole = reduced(name)
    whole = whole.astype(dtype)
    mus = points(model, 8)
    for bits in (2, 8, 16) if dtype == "float64" else (5,):
        small = whole.quantize(bits)
        solution = small.solve(mus)
        assert solution.coefficients.dtype == np.result_type(dtype, solution.coefficients.dtype)
        assert small.coded is not None
        error, added, size = exact_norms(truth_of(model, mus, small.coded, whole.basis), solution.coefficients).T
        assert np.all(solution.bound >= error)
        assert np.all(solution.quantization_error >= added * (1 - 4e-16))
        assert np.all(solution.quantization_error - added <= 1e-13 * size)
        assert np.all(solution.quantization_error <= added * (1 + (1e-11 if bits < 9 else 1e-8)))
        for method in whole.estimators if bits == 8 else ():
            answer = small.solve(mus, method=method)
            if method in ("orthonormal", "expanded"):
                assert np.all(answer.bound >= error)
            np.testing.assert_array_equal(answer.quantization_error, solution.quantization_error)


def test_a_sweep_over_random_models_finds_nothing() -> None:
    """The first models of some families of ``python -m benchmarks.truth quantized``, which does 10^5 points."""
    tally = Tally()
    for name in ("units", "linear_outputs", "interpolated", "single_precision", "wide_ranges", "whole_space"):
        tally.models = 0
        sweep(name, tally, 1, 10)
    assert tally.failures == 0, tally.examples
    assert tally.evaluations >= 120
    assert tally.complex > 0 < tally.single


def test_the_truth_question_goes_on_where_it_stopped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(truth_quantized, "PIECE", 1)
    monkeypatch.setattr(truth_quantized, "POINTS", 5)
    monkeypatch.setattr(truth_quantized, "digest", lambda name: "of these sources")
    results = tmp_path / "truth.json"
    arguments = ["quantized", "--family", "plain", "--results", str(results), "--points"]
    assert main([*arguments, "1"]) == 0
    first = json.loads(results.read_text())
    assert first["plain"]["tally"]["models"] == 1
    assert main([*arguments, "1"]) == 0
    assert json.loads(results.read_text()) == first
    assert main([*arguments, str(first["plain"]["tally"]["evaluations"] + 1)]) == 0
    assert json.loads(results.read_text())["plain"]["tally"]["models"] == 2
    results.write_text(json.dumps({"plain": {**first["plain"], "digest": "of others"}}))
    assert main([*arguments, "1"]) == 0
    assert json.loads(results.read_text()) == first
    assert "largest error / bound" in capsys.readouterr().out


def test_only_floor_and_bound_of_the_solution_change() -> None:
    model, whole = reduced("real")
    mus = points(model)
    small = whole.quantize(6)
    before, after = whole.solve(mus), small.solve(mus)
    for name in ("coefficients", "mus"):
        np.testing.assert_array_equal(getattr(before, name), getattr(after, name))
    for name in before.outputs:  # output bounds do not grow: outputs are of Z gamma
        np.testing.assert_array_equal(before.outputs[name], after.outputs[name])
        np.testing.assert_array_equal(before.output_bounds[name], after.output_bounds[name])
    assert before.estimate is not None
    assert after.estimate is not None
    np.testing.assert_array_equal(before.estimate.value, after.estimate.value)
    np.testing.assert_allclose(after.estimate.floor, before.estimate.floor + after.quantization_error, rtol=1e-14)
    np.testing.assert_array_equal(after.estimate.resolved, after.estimate.value >= 11 * after.estimate.floor)
    assert np.all(before.quantization_error == 0)
    assert np.all(after.quantization_error > 0)
    given = small.estimate(mus, before.coefficients)
    np.testing.assert_allclose(given.quantization, after.quantization_error, rtol=1e-14)
    np.testing.assert_allclose(given.bound, after.bound, rtol=1e-12)
    np.testing.assert_allclose(whole.reconstruct(after) - small.reconstruct(after), 0, atol=3 * small.coded.largest)  # type: ignore[union-attr]
    only_bounds = small.solve(mus, coefficients=False)
    np.testing.assert_array_equal(only_bounds.bound, after.bound)
    with pytest.raises(ValueError, match="estimate=False"):
        _ = small.solve(mus, estimate=False).quantization_error


@pytest.mark.parametrize(("name", "rotate"), [("real", False), ("complex", False), ("complex", True)])
def test_truncated_models_keep_their_bound(name: str, rotate: bool) -> None:
    model, whole = reduced(name)
    mus, small = points(model, 6), whole.quantize(5, rotate=rotate)
    if not rotate:
        np.testing.assert_array_equal(small.coded.rotation, np.eye(4))  # type: ignore[union-attr]
    for size in (1, 3):
        shorter = small.truncate(size)
        solution = shorter.solve(mus)
        assert shorter.coded is not None
        truth = truth_of(model, mus, shorter.coded, whole.basis[:, :size])  # type: ignore[index]
        error, added, norm = exact_norms(truth, solution.coefficients).T
        assert np.all(solution.bound >= error)
        assert np.all(np.abs(solution.quantization_error - added) <= 1e-13 * norm)
        np.testing.assert_allclose(
            shorter.reconstruct(solution), solution.coefficients @ shorter.coded.to_dense().T, rtol=1e-12, atol=1e-13
        )


@pytest.mark.parametrize("name", ["real", "complex"])
def test_matrices_in_few_bits_are_certified(name: str) -> None:
    model, whole = reduced(name)
    mus = points(model)
    small = whole.quantize({"basis": 12, "matrices": 10})
    assert small.operators.dtype == whole.operators.dtype
    assert np.any(small.operators != whole.operators)
    if name == "real":
        np.testing.assert_array_equal(small.operators, small.operators.transpose(0, 2, 1))
    solution = small.solve(mus)
    assert np.any(solution.coefficients != whole.solve(mus).coefficients)
    truth = truth_of(model, mus, small.coded, whole.basis)  # type: ignore[arg-type]
    error = exact_norms(truth, solution.coefficients)[:, 0]
    for method in ESTIMATORS:
        assert np.all(small.solve(mus, method=method).bound >= error * (1 - 1e-9))
    off = output_errors(model, mus, {"mean": solution.outputs["mean"]})["mean"]
    assert np.all(off <= solution.output_bounds["mean"])
    tall = rbm.project(model, whole.basis, projection="least-squares")
    rounded = tall.quantize({"matrices": 12})
    assert np.any(rounded.operators != tall.operators)
    answer = rounded.solve(mus)
    assert np.all(answer.bound >= model.error_norm(mus, answer.coefficients, whole.basis))


def test_rounding_does_not_become_a_whole_step() -> None:
    """1/2 and the next number round to 0 and 1: terms that were Hermitian but for rounding stay so."""
    short = reduced("real")[1].truncate(2)
    term = np.array([[127.0, 0.5], [np.nextafter(0.5, 1.0), 127.0]])
    made = replace(short, operators=np.stack([term] * 3)).quantize({"matrices": 8}).operators
    np.testing.assert_array_equal(made, made.transpose(0, 2, 1))
    term = np.array([[127.0, 0.5], [0.6, 127.0]])
    made = replace(short, operators=np.stack([term] * 3)).quantize({"matrices": 8}).operators
    np.testing.assert_array_equal(made[0], [[127.0, 0.0], [1.0, 127.0]])


def test_the_energy_of_rounded_matrices_is_bounded() -> None:
    """The sharp bound of a compliant output needs Galerkin's solution, or to know how far from it the answer is."""
    base = two_parameter_model(16)
    model = rbm.FullOrderModel(
        list(zip(base.operator_coefficients.sources, base.operator_terms, strict=True)),
        [(1.0, base.rhs_terms[:, 0])],
        base.product,
        base.parameters,
        1.0,
        outputs={"compliance": base.rhs_terms[:, 0]},
    )
    whole = rbm.project(model, model.solve(model.parameters.sample(4)).T)
    mus = points(model, 40)
    exact = model.solve(mus) @ base.rhs_terms[:, 0]
    for bits in (3, 6, 12):
        solution = whole.quantize({"matrices": bits}).solve(mus)
        assert np.all(np.abs(exact - solution.outputs["compliance"]) <= solution.output_bounds["compliance"])


def test_sizes_and_words() -> None:
    _, whole = reduced("real")
    small = whole.quantize(8)
    coded = small.coded
    assert coded is not None
    n, count = coded.shape
    assert (n, count) == (15, 4)
    assert small.unknowns == 15
    assert small.basis is None
    assert coded.bits.sum() <= 8 * count
    assert np.all((coded.bits == 0) | ((coded.bits >= 2) & (coded.bits <= 24)))
    codes = sum(-(-n * int(b) // 8) for b in coded.bits) + 8 * count + count  # codes, scales, bits
    others = 8 * count * (count + len(coded.factor) + 2) + 2 * len(coded.exponents)
    assert coded.nbytes == codes + others
    assert repr(coded) == f"CodedBasis(4 vectors of 15 numbers, {coded.summary})"
    assert coded.summary in repr(small)
    assert "basis in " in coded.summary
    assert f"add up to {coded.largest:.2g} to the error" in coded.summary
    sample = whole.parameters.sample(512, "sobol", rng=0)
    np.testing.assert_allclose(coded.largest, small.solve(sample).quantization_error.max(), rtol=1e-12)
    complex_coded = reduced("complex")[1].quantize(8).coded
    assert complex_coded is not None
    assert complex_coded.codes.nbytes == sum(-(-2 * 15 * int(b) // 8) for b in complex_coded.bits) + 9 * 4


def test_copies_and_devices_give_the_same() -> None:
    for name in ("real", "complex"):
        model, whole = reduced(name)
        mus, small = points(model, 5), whole.astype("float32").quantize(7)
        ours = small.solve(mus)
        for other in (pickle.loads(pickle.dumps(small)), copy.deepcopy(small)):
            np.testing.assert_array_equal(other.solve(mus).bound, ours.bound)
        there = small.to(array_api_strict, device=array_api_strict.Device("device1"))
        theirs = there.solve(mus)
        np.testing.assert_allclose(to_numpy(theirs.quantization_error), ours.quantization_error, rtol=1e-5)
        full = there.reconstruct(theirs)
        assert type(full) is type(theirs.coefficients)
        np.testing.assert_allclose(to_numpy(full), small.reconstruct(ours), rtol=1e-4, atol=1e-5)
        # its own coefficients, rounded otherwise, have its own exact error
        added = exact_norms(truth_of(model, mus, small.coded, whole.basis), to_numpy(theirs.coefficients))[:, 1]  # type: ignore[arg-type]
        assert np.all(to_numpy(theirs.quantization_error) >= added)
        back = there.to("numpy")
        np.testing.assert_array_equal(back.coded.codes.codes, small.coded.codes.codes)  # type: ignore[union-attr]
        np.testing.assert_array_equal(back.solve(mus).bound, ours.bound)


def test_rows_that_fail_are_marked() -> None:
    model = fragile_model()
    small = rbm.project(model, np.eye(3)[:, :2]).quantize(5, training=[[0.5, 0.5, 0.5], [0.9, 0.1, 2.0]])
    solution = small.solve([[0.5, 0.5, 1.0], [0.0, 0.5, 1.0], [0.5, 0.5, 3.5]], on_error="mark")
    np.testing.assert_array_equal(solution.failed, [1, 2])
    np.testing.assert_array_equal(np.isinf(solution.quantization_error), [False, True, True])
    assert np.isfinite(solution.bound[0])
    assert rbm.project(model, np.eye(3)[:, :2]).quantize(5).coded is not None  # points without an answer are left out
    with pytest.raises(rbm.ModelError, match="singular"):
        rbm.project(model, np.eye(3)[:, :2]).quantize(5, training=[[0.0, 0.5, 0.5]])


def test_a_basis_that_few_bits_hold_adds_nothing() -> None:
    model = rbm.FullOrderModel(
        [("a", np.eye(3))], [(1.0, np.ones(3))], np.eye(3), rbm.ParameterSpace({"a": (1.0, 2.0)}), "a"
    )
    small = rbm.project(model, np.eye(3)[:, :1]).quantize(2, rotate=False)
    assert small.coded is not None
    assert small.coded.factor.shape == (0, 1)
    assert np.all(small.solve([[1.0], [2.0]]).quantization_error < 1e-15)
    np.testing.assert_array_equal(small.reconstruct([1.0]), [[1.0, 0.0, 0.0]])


def test_no_added_error_is_nan() -> None:
    coded = reduced("real")[1].quantize(4).coded
    assert coded is not None
    with np.errstate(all="ignore"):
        made = coded.error(np.array([[0.0] * 4, [1e308] * 4, [-1.7e308, 1.7e308] * 2, [5e-324] * 4, [np.nan] * 4]))
    assert made[0] == 0
    tiny = replace(coded, factor=1e-3 * coded.factor, norms=1e-3 * coded.norms, defects=0 * coded.defects)
    assert tiny.error(np.full((1, 4), 5e-324))[0] > 0  # of products that are below all numbers
    assert np.all(made[1:3] > 1e290)
    assert np.all(made >= 0)
    assert np.isinf(made[4])


def rebuilt(name: str, rotation: np.ndarray, bits: int = 4) -> tuple[rbm.FullOrderModel, CodedBasis, np.ndarray]:
    model, whole = reduced(name)
    assert whole.basis is not None
    inner = InnerProduct(model.product)
    return model, CodedBasis.of(whole.basis, inner, [bits] * 4, rotation, "mark"), whole.basis


@pytest.mark.parametrize("kind", ["real", "complex", "complex coefficients"])
def test_a_rotation_that_is_not_unitary_is_charged(kind: str) -> None:
    rng = np.random.default_rng(0)
    name = "complex" if kind == "complex" else "real"
    x = rng.standard_normal((4, 4)) + (1j * rng.standard_normal((4, 4)) if name == "complex" else 0)
    skew = np.linalg.qr(x)[0] @ np.diag([1.0, 0.9, 1.08, 1.0])
    model, coded, basis = rebuilt(name, skew)
    gamma = rng.standard_normal((8, 4)) + (0 if kind == "real" else 1j * rng.standard_normal((8, 4)))
    added = exact_norms(truth_of(model, points(model, 8), coded, basis), gamma)[:, 1]
    assert np.all(coded.error(gamma) >= added)
    assert np.any(replace(coded, skew=0.0).error(gamma) < added)  # what W is off by is needed here
    with pytest.raises(rbm.ModelError, match="must be unitary"):
        rebuilt(name, 2 * skew)


@pytest.mark.parametrize("defect", ["defects", "orthogonality"])
def test_what_the_factor_is_off_by_is_charged(defect: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Functionals that are wrong in the third digit: the bound says so, and is needed."""
    original = FunctionalRange.append

    def wrong(self: FunctionalRange, hi: Any, lo: Any, rounding: Any) -> None:
        original(self, hi, lo, rounding)
        if defect == "defects":  # R is changed, the defects know
            self.factor = self.factor * (1 - 1e-3)
            self.defects = self.defects + 1e-3 * self.norms
        else:
            self.gram = self.gram.copy()

    if defect == "orthogonality":
        cholesky = np.linalg.cholesky
        monkeypatch.setattr(coded_basis.np.linalg, "cholesky", lambda a: cholesky(a) * (1 - 1e-3))
    monkeypatch.setattr(FunctionalRange, "append", wrong)
    model, coded, basis = rebuilt("real", np.eye(4))
    monkeypatch.undo()
    gamma = np.random.default_rng(1).standard_normal((6, 4))
    added = exact_norms(truth_of(model, points(model, 6), coded, basis), gamma)[:, 1]
    assert np.all(coded.error(gamma) >= added)
    without = {"defects": replace(coded, defects=0 * coded.defects), "orthogonality": replace(coded, orthogonality=0.0)}
    assert np.any(without[defect].error(gamma) < added)


def test_the_added_error_needs_the_rotation() -> None:
    """E without W, or codes of other vectors: both would be seen."""
    model, small = reduced("real")[0], reduced("real")[1].quantize(4)
    assert small.coded is not None
    mus = points(model, 6)
    solution = small.solve(mus)
    error, added, size = exact_norms(
        truth_of(model, mus, small.coded, reduced("real")[1].basis), solution.coefficients
    ).T
    without = replace(small.coded, factor=small.coded.factor @ small.coded.rotation.conj().T)
    assert np.any(np.abs(without.error(solution.coefficients) - added) > 1e-6 * size)
    # and the floor must grow by it: the bound of the model in full is too small
    assert np.all(reduced("real")[1].solve(mus).bound < error)


def test_principal_axes() -> None:
    rng = np.random.default_rng(0)
    for gamma in (rng.standard_normal((30, 3)), rng.standard_normal((2, 3)) + 1j * rng.standard_normal((2, 3))):
        axes, energies = principal_axes(gamma)
        np.testing.assert_allclose(axes.conj().T @ axes, np.eye(3), atol=1e-14)
        np.testing.assert_allclose((axes * energies) @ axes.conj().T, gamma.T @ gamma.conj() / len(gamma), atol=1e-14)
        np.testing.assert_allclose(np.mean(np.abs(gamma @ axes.conj()) ** 2, axis=0), energies, atol=1e-14)


def test_graded_solutions_do_not_lose_their_bits() -> None:
    """Solutions of size 1e-180, whose squares vanish: the same bits as those of size one."""
    model = real_model()
    tiny = rbm.FullOrderModel(
        list(zip(model.operator_coefficients.sources, model.operator_terms, strict=True)),
        [(c, 2.0**-600 * f) for c, f in zip(model.rhs_coefficients.sources, model.rhs_terms.T, strict=True)],
        model.product,
        model.parameters,
        1.0,
    )
    basis = reduced("real")[1].basis
    coded = [rbm.project(m, basis).quantize(6).coded for m in (model, tiny)]
    assert coded[0] is not None
    assert coded[1] is not None
    np.testing.assert_array_equal(coded[0].bits, coded[1].bits)


def test_a_product_that_is_given() -> None:
    model, whole = reduced("units")
    known = replace(whole, product=None)
    with pytest.raises(rbm.ModelError, match="give it, product=P"):
        known.quantize(6)
    for given in (model.product, model.product.toarray(), InnerProduct(model.product)):
        small = known.quantize(6, product=given)
        np.testing.assert_allclose(small.coded.factor, whole.quantize(6).coded.factor)  # type: ignore[union-attr]
    with pytest.raises(rbm.ModelError, match="the product is for 14 unknowns, the basis has 15"):
        whole.quantize(6, product=np.eye(14))
    with pytest.raises(rbm.ModelError, match=r"not orthonormal in this product, \|\|Z\^H P Z - I\|\|"):
        whole.quantize(6, product=2 * model.product)
    with pytest.raises(rbm.ModelError, match="not Hermitian"):
        whole.quantize(6, product=np.triu(np.ones((15, 15))))


@pytest.mark.parametrize("bits", [0, -1, 24.5, np.nan, np.inf, True, "8", None, 1 + 1j, [8, 8]])
def test_bits_that_are_none(bits: Any) -> None:
    _, whole = reduced("real")
    with pytest.raises(rbm.ModelError, match=r"mean number of bits in \(0, 24\]"):
        whole.quantize(bits)
    if not isinstance(bits, list):
        with pytest.raises(rbm.ModelError, match="integer from 2 to 24"):
            whole.quantize({"matrices": 1 if bits is True else bits})


def test_other_refusals() -> None:
    model, whole = reduced("real")
    with pytest.raises(rbm.ModelError, match="parts 'basis', 'matrices', got 'vectors'"):
        whole.quantize({"vectors": 8})
    with pytest.raises(rbm.ModelError, match="bits name no part"):
        whole.quantize({})
    with pytest.raises(rbm.ModelError, match="has a basis in few bits already"):
        whole.quantize(8).quantize(4)
    with pytest.raises(rbm.ModelError, match="does not hold its basis"):
        replace(whole, basis=None).quantize(4)
    with pytest.raises(rbm.ParameterError):
        whole.quantize(4, training=[[1e9, 1.0]])
    mus, small = points(model, 4), whole.quantize(8)
    other = rbm.project(model, model.solve(model.parameters.sample(4, "random", rng=9)).T)
    for strange in (other, other.quantize(8)):
        with pytest.raises(rbm.ModelError, match="another basis"):
            small.reconstruct(strange.solve(mus))
        with pytest.raises(rbm.ModelError, match="another basis"):
            strange.reconstruct(small.solve(mus))


def test_bounds_that_do_not_cover_the_bits_are_refused() -> None:
    model, whole = reduced("real")
    mus = points(model, 5)
    rough, fine = whole.quantize(3), whole.quantize(10)
    for better in (whole, fine):
        solution = better.solve(mus)
        with pytest.raises(rbm.ModelError, match="do not cover what the basis in few bits changes"):
            rough.reconstruct(solution)
        assert rough.reconstruct(solution.coefficients).shape == (5, 15)
        assert np.all(rough.estimate(mus, solution).bound >= rough.solve(mus).bound * (1 - 1e-12))
    assert fine.reconstruct(rough.solve(mus)).shape == (5, 15)
    assert whole.reconstruct(rough.solve(mus)).shape == (5, 15)
    assert rough.reconstruct(whole.solve(mus, estimate=False)).shape == (5, 15)


def test_change_of_precision_forgets_codes_of_other_numbers() -> None:
    whole = rbm.project(reduced("real")[0], reduced("real")[1].basis)
    small = whole.quantize({"basis": 8, "matrices": 12})
    assert set(small.coded_matrices) == {"operators", "rhs"}
    np.testing.assert_array_equal(small.coded_matrices["rhs"].to_dense(), small.rhs)
    assert not small.astype("float32").coded_matrices
    single = whole.astype("float32").quantize({"matrices": 12})
    np.testing.assert_array_equal(single.coded_matrices["rhs"].to_dense(), single.rhs)
    assert single.operators.dtype == np.float32
    np.testing.assert_array_equal(small.astype("float32").coded.rotation, small.coded.rotation)  # type: ignore[union-attr]


@pytest.mark.slow
def test_much_less_error_than_even_bits_on_the_thermal_block() -> None:
    """8 mean bits, 1741 unknowns, 40 vectors."""
    model = thermal_block(n_elements=30)
    basis = rbm.greedy(model, model.parameters.sample(300), max_basis=40, progress=False).basis
    whole = rbm.project(model, basis)
    small = whole.quantize(8)
    mus = model.parameters.sample(200, "random", rng=5)
    solution = small.solve(mus)
    even = quantize(np.ascontiguousarray(basis.T), 8, axis=0).to_dense().T
    inner = model.inner_product
    errors = inner.norm((basis - even) @ solution.coefficients.T)
    ours = inner.norm((whole.reconstruct(solution) - small.reconstruct(solution)).T)
    np.testing.assert_allclose(solution.quantization_error, ours, rtol=1e-6)
    assert np.sqrt(np.mean(errors**2)) >= 20 * np.sqrt(np.mean(ours**2))
    assert np.all(solution.quantization_error - ours <= 1e-12 * np.linalg.norm(solution.coefficients, axis=1))


def test_the_oracle_by_hand() -> None:
    """P = diag(1, 4), Z = e_1, stored as 3/4 e_1: what is added is 1/4 |gamma|."""
    case = Case(
        [(1.0, np.diag([1.0, 4.0]))], [(1.0, np.ones(2))], np.diag([1.0, 4.0]), {"mu": (0.0, 1.0)}, np.eye(2)[:, :1]
    )
    codes = quantize(np.array([[0.75, 0.0]]), 4, axis=0)
    coded = CodedBasis(
        codes, np.zeros(1, np.int16), np.eye(1), np.array([[0.25]]), np.zeros(1), np.array([0.25]), 0.0, 0.0, 0.0, ""
    )
    error, added, size = Truth(case, np.zeros((1, 1)), coded, np.eye(2)[:, :1]).squares(0, np.array([2.0]))
    stored = float(codes.to_dense()[0, 0])
    assert float(added) == pytest.approx((2 * (1 - stored)) ** 2)
    assert float(size) == 4
    assert error.overlaps((1 - 2 * flint.arb(stored)) ** 2 + flint.arb(1) / 4)
