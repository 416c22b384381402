"""Corrected outputs: product bounds that hold down to round-off, real and complex, and where they are kept."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np
import pytest
import scipy.sparse as sp
from helpers.exact_outputs import convection_model, exact_corrections, line, output_errors
from helpers.other_arrays import xp
from scipy.sparse.linalg import aslinearoperator

import rbm
from rbm.command_line.entry import main
from rbm.reduced.outputs import AtPoints, ReducedLinear
from rbm.reduced.primal_dual import ReducedPrimalDual
from rbm.reduction.adjoint import adjoint_model

NAMES = ("window", "mixed")


@cache
def parts(kind: str, projection: str) -> tuple[rbm.FullOrderModel, np.ndarray, dict[str, np.ndarray]]:
    """The model, a basis, and the bases of its dual problems."""
    model = convection_model(5, kind)
    training = model.parameters.sample(60)
    result = rbm.greedy(model, training, projection=projection, dual="all")  # type: ignore[arg-type]
    return model, result.basis, {name: run.basis for name, run in result.dual.items()}


def small(kind: str, projection: str, size: int, dual: int) -> tuple[rbm.FullOrderModel, rbm.ReducedModel]:
    model, basis, duals = parts(kind, projection)
    cut = {name: z[:, :dual] for name, z in duals.items()}
    return model, rbm.project(model, basis[:, :size], projection=projection, dual=cut)  # type: ignore[arg-type]


@pytest.mark.parametrize("projection", ["galerkin", "least-squares"])
@pytest.mark.parametrize("kind", ["real", "complex"])
def test_bounds_hold_for_every_size_and_are_products(kind: str, projection: str) -> None:
    model, basis, _ = parts(kind, projection)
    mus = model.parameters.sample(5, "random", rng=1)
    full = basis.shape[1]
    for size, dual in ((1, 1), (3, 2), (8, 14), (16, 16), (full, 4), (full, full)):
        _, made = small(kind, projection, size, dual)
        answer = made.solve(mus)
        errors = output_errors(model, mus, answer.outputs)
        plain = rbm.project(model, basis[:, :size], projection=projection).solve(mus)  # type: ignore[arg-type]
        uncorrected = output_errors(model, mus, plain.outputs)
        for name in NAMES:
            assert np.all(errors[name] <= answer.output_bounds[name]), (size, dual, name)
            assert answer.output_bounds[name].max() <= 3 * plain.output_bounds[name].max() + 1e-14
            if min(size, dual) >= 14 and size < full:
                assert np.median(errors[name]) < 0.3 * np.median(uncorrected[name]), (size, dual, name)
                assert answer.output_bounds[name].max() < 0.3 * plain.output_bounds[name].max()
            if size == dual == full:
                assert answer.output_bounds[name].max() < 1e-13


@pytest.mark.parametrize("kind", ["real", "complex"])
def test_the_correction_is_as_exact_as_it_says(kind: str) -> None:
    model, basis, duals = parts(kind, "galerkin")
    mus = model.parameters.sample(8, "random", rng=6)
    for size in (4, basis.shape[1]):
        _, made = small(kind, "galerkin", size, size)
        answer, output = made.solve(mus), made.outputs["mixed"]
        assert isinstance(output, ReducedPrimalDual)
        theta, psi = model.operator_coefficients(mus), model.outputs["mixed"].coefficients(mus)
        z, norm = output._query.residual(theta.conj(), psi.conj(), output._dual_state, mus=mus)
        assert norm is not None
        at = AtPoints(mus, theta, model.rhs_coefficients(mus), answer.coefficients)
        correction, off = output._correction(at, z, norm.bound)
        exact = exact_corrections(model, mus, (basis[:, :size], duals["mixed"][:, :size]), answer.coefficients, z)
        errors = [float(abs(e - complex(c)).mid()) for e, c in zip(exact, correction, strict=True)]
        assert np.all(errors <= off)
        assert np.all(off < 1e-13)
        assert np.all(answer.output_bounds["mixed"] >= off)
        assert np.all(answer.output_bounds["mixed"] >= norm.bound * answer.bound + off)


def test_the_adjoint_model_solves_the_dual_problem() -> None:
    model = convection_model(4, "complex")
    mus = model.parameters.sample(3, "random", rng=0)
    made = adjoint_model(model, "mixed")
    dual, u = made.solve(mus), model.solve(mus)
    theta, psi = model.operator_coefficients(mus), model.outputs["mixed"].coefficients(mus)
    for k in range(3):
        matrix = sum(t * a.toarray() for t, a in zip(theta[k], model.operator_terms, strict=True))
        functional = psi[k] @ np.stack(model.outputs["mixed"].terms)
        np.testing.assert_allclose(matrix.conj().T @ dual[k], functional.conj(), atol=1e-13)
        # s = l^T u = z^H f
        np.testing.assert_allclose(functional @ u[k], dual[k].conj() @ model.rhs_terms[:, 0], rtol=1e-12)
    assert made.inner_product is model.inner_product  # factorised once
    with pytest.raises(rbm.ModelError, match=r"cannot be written|callable"):
        rbm.project(made, dual[:1].T).save("never.rbm")


def test_greedy_names_outputs_and_reports_its_dual_runs() -> None:
    model = convection_model(5)
    training = model.parameters.sample(40)
    result = rbm.greedy(model, training, tol=1e-3, dual=("window",))
    assert list(result.dual) == ["window"]
    assert type(result.reduced_model.outputs["mixed"]) is ReducedLinear
    assert isinstance(result.reduced_model.outputs["window"], ReducedPrimalDual)
    dual = result.dual["window"]
    assert result.stopped == dual.stopped == "tolerance"
    share = result.history[-1].bound / result.history[0].bound, dual.history[-1].bound / dual.history[0].bound
    assert max(share) < 1e-3 / result.history[0].bound + 1e-12
    assert rbm.greedy(model, training, tol=1e-3, dual="window").dual.keys() == {"window"}
    limited = rbm.greedy(model, training, max_basis=4, dual="all", relative=True)
    assert {name: run.basis.shape[1] for name, run in limited.dual.items()} == {"window": 4, "mixed": 4}
    again = rbm.greedy(model, training, max_basis=6, dual="all", relative=True, resume=limited)
    for name in NAMES:
        np.testing.assert_array_equal(again.dual[name].basis[:, :4], limited.dual[name].basis)
        assert again.dual[name].basis.shape[1] == 6


def test_compliant_and_zero_outputs_need_no_dual_problem() -> None:
    stiffness, mass, load = line(14)
    outputs = {"same": load, "nothing": np.zeros(14), "first": np.eye(14)[0], "energy": stiffness}
    model = rbm.FullOrderModel(
        [(1.0, stiffness), ("a", mass)], [(1.0, load)], stiffness, {"a": (0.5, 200.0)}, 1.0, outputs=outputs
    )
    result = rbm.greedy(model, model.parameters.sample(30), max_basis=3, dual="all")
    assert list(result.dual) == ["first"]
    answer = result.reduced_model.solve([[3.0], [100.0]])
    assert np.all(answer.output_bounds["nothing"] == 0)
    assert np.all(answer.output_bounds["same"] < 2 * answer.bound**2)


def test_an_interrupted_dual_run_keeps_what_is_finished(monkeypatch: pytest.MonkeyPatch) -> None:
    model = convection_model(5)
    original, calls = rbm.greedy, []

    def interrupted(*arguments: object, **options: object) -> rbm.GreedyResult:
        calls.append(options)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return original(*arguments, **options)  # type: ignore[arg-type]

    monkeypatch.setitem(original.__globals__, "greedy", interrupted)
    with pytest.raises(rbm.Interrupted) as caught:
        original(model, model.parameters.sample(40), max_basis=3, dual="all")
    result = caught.value.result
    assert list(result.dual) == ["window"]
    assert type(result.reduced_model.outputs["mixed"]) is ReducedLinear


@pytest.mark.parametrize("kind", ["real", "complex"])
def test_batches_files_and_the_command_line(kind: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _, made = small(kind, "galerkin", 8, 8)
    mus = made.parameters.sample(3000, "random", rng=3)
    whole, few = made.solve(mus), made.solve(mus[:2])
    for name in NAMES:
        np.testing.assert_allclose(whole.outputs[name][:2], few.outputs[name], rtol=1e-12)
        np.testing.assert_allclose(whole.output_bounds[name][:2], few.output_bounds[name], rtol=1e-9)
        np.testing.assert_array_equal(made.solve(mus[:2], estimate=False).outputs[name], few.outputs[name])
    marked = made.solve(np.concatenate([mus[:2], [[9.0, 9.0]]]), on_error="mark")
    assert marked.failed.tolist() == [2]
    assert np.isnan(marked.outputs["mixed"][2])
    made.save(tmp_path / "model.rbm", basis=False)
    loaded = rbm.load(tmp_path / "model.rbm").solve(mus)
    for name in NAMES:
        np.testing.assert_array_equal(loaded.outputs[name], whole.outputs[name])
        np.testing.assert_array_equal(loaded.output_bounds[name], whole.output_bounds[name])
    main(["query", str(tmp_path / "model.rbm"), "--mu", "x=0.25", "y=-0.5"])
    printed = dict(row.split("=") for row in capsys.readouterr().out.replace(" ", "").splitlines())
    value = made.solve([0.25, -0.5]).to_dict()
    name = "window" if kind == "real" else "window_re"
    assert float(printed[name]) == pytest.approx(float(value[name][0]), rel=1e-9)


@pytest.mark.parametrize("kind", ["real", "complex"])
def test_other_precisions_places_and_sizes(kind: str) -> None:
    model, made = small(kind, "galerkin", 8, 6)
    mus = model.parameters.sample(12, "random", rng=4)
    answer = made.solve(mus)
    single = made.astype("float32").solve(mus)
    errors = output_errors(model, mus, {name: np.asarray(v) for name, v in single.outputs.items()})
    moved = made.to(xp).solve(mus).to("numpy")
    compressed, sketched = made.compress(0.1).solve(mus), made.sketch(20).solve(mus, method="sketched")
    cut = made.truncate(5).solve(mus)
    of_cut = output_errors(model, mus, cut.outputs)
    _, five = small(kind, "galerkin", 5, 6)
    for name in NAMES:
        assert np.all(errors[name] <= single.output_bounds[name])
        assert single.output_bounds[name].max() < 2 * answer.output_bounds[name].max() + 1e-12
        np.testing.assert_allclose(moved.outputs[name], answer.outputs[name], rtol=1e-11, atol=1e-15)
        np.testing.assert_allclose(moved.output_bounds[name], answer.output_bounds[name], rtol=1e-5)
        for other in (compressed, sketched):
            np.testing.assert_array_equal(other.outputs[name], answer.outputs[name])
            assert np.all(other.output_bounds[name] < 10 * answer.output_bounds[name])
        assert np.all(of_cut[name] <= cut.output_bounds[name])
        np.testing.assert_allclose(cut.outputs[name], five.solve(mus).outputs[name], rtol=1e-10, atol=1e-15)


def test_a_model_that_is_zero_has_outputs_that_are_zero() -> None:
    stiffness, mass, load = line(14)
    model = rbm.FullOrderModel(
        [(1.0, stiffness), ("a", mass)], [("b", load)], stiffness, {"a": (0.5, 200.0), "b": (0.0, 1.0)}, 1.0,
        outputs={"first": np.eye(14)[0]},
    )  # fmt: skip
    made = rbm.greedy(model, model.parameters.sample(50), max_basis=3, dual="all").reduced_model
    answer = made.solve([[1.0, 0.0], [1.0, 1e-300]])
    assert answer.outputs["first"][0] == answer.output_bounds["first"][0] == 0
    assert 0 < answer.output_bounds["first"][1] < 1e-150


def test_what_can_have_no_dual_problem_is_refused() -> None:
    stiffness, mass, load = line(14)

    def model(operators: object = None, **options: object) -> rbm.FullOrderModel:
        terms = operators or [(1.0, stiffness), ("a", mass)]
        outputs = {"first": np.eye(14)[0], "square": mass}
        return rbm.FullOrderModel(
            terms, [(1.0, load)], stiffness, {"a": (0.5, 2.0)}, 1.0, outputs=outputs, **options  # type: ignore[arg-type]
        )  # fmt: skip

    training = [[1.0], [2.0]]
    with pytest.raises(
        rbm.ModelError, match="'drag', which the model does not have; its outputs are 'first', 'square'"
    ):
        rbm.greedy(model(), training, dual=("drag",))
    with pytest.raises(rbm.ModelError, match="'square', which is quadratic"):
        rbm.greedy(model(), training, dual=("first", "square"))
    with pytest.raises(rbm.ModelError, match="interpolation_error"):
        rbm.greedy(model(interpolation_error=(0.0, 1e-9)), training, dual="all")
    with pytest.raises(rbm.ModelError, match="'square', which is quadratic"):
        rbm.project(model(), np.eye(14)[:, :2], dual={"square": np.eye(14)[:, :2]})

    with pytest.raises(rbm.ModelError, match="tuple of names of outputs"):
        rbm.greedy(model(), training, dual=True)  # type: ignore[arg-type]
    with pytest.raises(rbm.ModelError, match="dictionary"):
        rbm.project(model(), np.eye(14)[:, :2], dual=("first",))  # type: ignore[arg-type]

    def solver(matrix: object, rhs: np.ndarray) -> np.ndarray:
        dense = matrix.toarray() if sp.issparse(matrix) else matrix @ np.eye(14)  # type: ignore[union-attr,operator]
        return np.linalg.solve(dense, rhs)

    black_box = model([(1.0, aslinearoperator(stiffness)), ("a", mass)], solver=solver)
    with pytest.raises(rbm.ModelError, match="LinearOperator"):
        rbm.greedy(black_box, training, dual="first")


def test_mixed_units_leave_the_bounds_true() -> None:
    """Unknowns in units a million apart: the same outputs and bounds, up to rounding."""
    base, made = small("complex", "galerkin", 6, 6)
    units = sp.diags_array(np.ldexp(1.0, np.resize([0, 20, -20], 25)))
    terms = [sp.csr_array(units @ a @ units) for a in base.operator_terms]
    outputs = {
        name: list(zip(o.coefficients.sources, [units @ t for t in o.terms], strict=True))
        for name, o in base.outputs.items()
    }
    other = rbm.FullOrderModel(
        list(zip(base.operator_coefficients.sources, terms, strict=True)), [(1.0, units @ base.rhs_terms[:, 0])],
        sp.csr_array(units @ base.product @ units), base.parameters, 0.03, outputs=outputs,
    )  # fmt: skip
    _, basis, duals = parts("complex", "galerkin")
    inverse = sp.diags_array(1 / units.diagonal())
    again = rbm.project(other, inverse @ basis[:, :6], dual={n: inverse @ z[:, :6] for n, z in duals.items()})
    mus = base.parameters.sample(10, "random", rng=5)
    before, after = made.solve(mus), again.solve(mus)
    for name in NAMES:
        np.testing.assert_allclose(after.outputs[name], before.outputs[name], rtol=1e-11, atol=1e-16)
        np.testing.assert_allclose(after.output_bounds[name], before.output_bounds[name], rtol=1e-6)
