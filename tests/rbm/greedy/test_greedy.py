"""The greedy algorithm: convergence, why it stops, going on, being interrupted."""

from __future__ import annotations

import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import rbm
from lowrank.progress import progress_bar
from problems import reaction_diffusion_1d, thermal_block
from rbm.reduction import Reduction

EPS = np.finfo(float).eps


@pytest.fixture(scope="module")
def model() -> rbm.FullOrderModel:
    return reaction_diffusion_1d()


@pytest.fixture(scope="module")
def training(model: rbm.FullOrderModel) -> np.ndarray:
    return model.parameters.sample(200, "grid")


def run(model: rbm.FullOrderModel, training: np.ndarray, **options: object) -> rbm.GreedyResult:
    return rbm.greedy(model, training, progress=False, **options)  # type: ignore[arg-type]


def test_the_basis_is_orthonormal_in_the_product(model: rbm.FullOrderModel, training: np.ndarray) -> None:
    z = run(model, training).basis
    gram = z.T @ (model.product @ z)
    # P Z is formed in double: a stiffness row cancels by a factor of order 1/h
    assert np.abs(gram - np.eye(z.shape[1])).max() <= 200 * 8 * EPS


def test_it_stops_at_the_tolerance(model: rbm.FullOrderModel, training: np.ndarray) -> None:
    result = run(model, training, tol=1e-5)
    assert result.stopped == "tolerance"
    bounds = [s.bound for s in result.history]
    assert bounds[-1] <= 1e-5 < bounds[-2]
    assert result.reduced_model.solve(training).bound.max() == bounds[-1]


def test_it_stops_at_the_largest_basis(model: rbm.FullOrderModel, training: np.ndarray) -> None:
    result = run(model, training, max_basis=3)
    assert result.stopped == "max_basis"
    assert result.basis.shape == (199, 3)
    assert [s.size for s in result.history] == [0, 1, 2, 3]


def test_it_stops_when_nothing_is_resolved(model: rbm.FullOrderModel, training: np.ndarray) -> None:
    result = run(model, training, estimators=("expanded",))
    assert result.stopped == "round-off"
    assert "resolved" in result.reason
    assert result.history[-1].resolved == 0
    assert len(result.parameters) == 5  # E2 is noise from here on, and says so


def test_a_driving_estimator_that_becomes_unusable_stops_it_with_the_last_usable_basis() -> None:
    from helpers.models import two_parameter_model

    model = two_parameter_model(100)
    result = run(model, model.parameters.sample(300), estimators=("sampled",))
    assert result.stopped == "round-off"
    assert "condition number" in result.reason
    assert np.all(np.isfinite(result.reduced_model.solve(model.parameters.sample(10)).bound))


def test_it_selects_the_worst_parameter(model: rbm.FullOrderModel, training: np.ndarray) -> None:
    result = run(model, training, max_basis=4)
    for n in range(1, 4):
        reduced = rbm.project(model, result.basis[:, :n])
        worst = training[np.argmax(reduced.solve(training).bound)]
        np.testing.assert_array_equal(worst, result.parameters[n])
        assert result.history[n].parameter == tuple(worst)


def test_errors_decay_exponentially(model: rbm.FullOrderModel, training: np.ndarray) -> None:
    bounds = np.array([s.bound for s in run(model, training).history[1:]])
    slope = np.polyfit(np.arange(len(bounds)), np.log10(bounds), 1)[0]
    assert slope < -1.5, f"observed {slope:.2f} decades a vector"


def test_snapshots_are_reproduced(model: rbm.FullOrderModel, training: np.ndarray) -> None:
    result = run(model, training, max_basis=5)
    solution = result.reduced_model.solve(result.parameters)
    error = model.error_norm(result.parameters, solution.coefficients, result.basis)
    assert error.max() <= 1e-13  # solver round-off of Z gamma in the H1 seminorm, 199 unknowns
    full = model.solve(result.parameters)
    assert np.abs(result.reduced_model.reconstruct(solution.coefficients) - full).max() <= 64 * EPS * np.abs(full).max()


def test_same_input_same_bits(model: rbm.FullOrderModel, training: np.ndarray) -> None:
    a, b = run(model, training), run(model, training)
    np.testing.assert_array_equal(a.basis, b.basis)
    np.testing.assert_array_equal(
        a.reduced_model.estimators["orthonormal"].factor, b.reduced_model.estimators["orthonormal"].factor
    )  # type: ignore[attr-defined]


def test_a_step_copies_no_basis(monkeypatch: pytest.MonkeyPatch) -> None:
    """More than 64 vectors lie in pieces.

    Joining them copies n N numbers, which the end of a run may do and a step may not.
    """
    made = thermal_block((4, 4), 12)
    training, joined = made.parameters.sample(100, rng=3), []
    honest = Reduction.basis
    monkeypatch.setattr(Reduction, "basis", property(lambda self: joined.append(self.size) or honest.fget(self)))
    assert run(made, training, max_basis=70).basis.shape[1] == 70
    assert set(joined) == {0, 70}  # where the residual's range begins, and the result


def test_a_stored_run_goes_on_bit_for_bit(model: rbm.FullOrderModel, training: np.ndarray, tmp_path: Path) -> None:
    whole = run(model, training)
    part = run(model, training, max_basis=4)
    part.save(tmp_path / "run.greedy")
    for resume in (part, tmp_path / "run.greedy"):
        result = run(model, training, resume=resume)
        np.testing.assert_array_equal(result.basis, whole.basis)
        np.testing.assert_array_equal(result.parameters, whole.parameters)
        assert [(s.size, s.bound, s.parameter) for s in result.history] == [
            (s.size, s.bound, s.parameter) for s in whole.history
        ]
        assert result.stopped == whole.stopped


def test_resuming_with_another_model_is_refused(
    model: rbm.FullOrderModel, training: np.ndarray, tmp_path: Path
) -> None:
    run(model, training, max_basis=2).save(tmp_path / "run.greedy")
    other = reaction_diffusion_1d(50)
    with pytest.raises(rbm.ModelError, match=r"199 unknowns and 1 parameters, this model has 49"):
        run(other, training, resume=tmp_path / "run.greedy")


def test_a_checkpoint_is_written_at_every_step_and_survives_an_interrupt(
    model: rbm.FullOrderModel, training: np.ndarray, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    honest, calls = model.solve, []

    def interrupted(*args: object, **options: object) -> np.ndarray:
        calls.append(1)
        if len(calls) == 4:
            raise KeyboardInterrupt
        return honest(*args, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(model, "solve", interrupted)
    with pytest.raises(rbm.Interrupted, match="3 basis vectors") as caught:
        run(model, training, checkpoint=tmp_path / "run.greedy")
    assert isinstance(caught.value, KeyboardInterrupt)
    monkeypatch.undo()
    whole = run(model, training)
    for resume in (caught.value.result, tmp_path / "run.greedy"):
        np.testing.assert_array_equal(run(model, training, resume=resume).basis, whole.basis)


def test_all_estimators_are_kept_and_the_first_is_the_default(model: rbm.FullOrderModel, training: np.ndarray) -> None:
    result = run(model, training, max_basis=4, estimators=("E_onb", "E1", "expanded", rbm.estimators.E3, "E4"))
    assert list(result.reduced_model.estimators) == ["orthonormal", "direct", "expanded", "sampled", "interpolated"]
    assert result.reduced_model.method == "orthonormal"


@pytest.mark.parametrize("estimator", ["direct", "sampled", "interpolated", "orthonormal"])
def test_every_stable_estimator_can_drive(model: rbm.FullOrderModel, training: np.ndarray, estimator: str) -> None:
    reference = run(model, training, max_basis=6)
    result = run(model, training, max_basis=6, estimators=(estimator,))
    np.testing.assert_array_equal(result.parameters, reference.parameters)


def test_thermal_block_bounds_hold() -> None:
    model = thermal_block((2, 2), 20)
    result = run(model, model.parameters.sample(200), tol=1e-4)
    mus = model.parameters.sample(20, "random", rng=5)
    solution = result.reduced_model.solve(mus)
    error = model.error_norm(mus, solution.coefficients, result.basis)
    assert np.all(error <= solution.bound)
    assert np.all(solution.bound <= 11 * error)  # effectivity at most max theta / min theta = 10
    full = model.solve(mus)
    output = full @ model.outputs["mean"].terms[0]
    assert np.all(np.abs(solution.outputs["mean"] - output) <= solution.output_bounds["mean"])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"tol": -1.0}, "tol must be a number >= 0, got -1"),
        ({"tol": float("nan")}, "tol must be"),
        ({"max_basis": 0}, "max_basis must be at least 1, got 0"),
        ({"estimators": ("E5",)}, "unknown estimator 'E5'.*orthonormal"),
        ({"estimators": ()}, "at least one estimator"),
        ({"tol": 1e6}, "already at most tol"),
    ],
)
def test_bad_options(model: rbm.FullOrderModel, training: np.ndarray, options: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        run(model, training, **options)


def test_bad_training_sets(model: rbm.FullOrderModel) -> None:
    with pytest.raises(rbm.ParameterError, match=r"mu = 101 \(row 1\) is outside \[1, 100\]"):
        run(model, np.array([[5.0], [101.0]]))
    with pytest.raises(rbm.ParameterError, match=r"mu = nan \(row 0\) is not a finite number"):
        run(model, np.array([[np.nan]]))
    with pytest.raises(rbm.ParameterError, match=r"shape \(M, 1\)"):
        run(model, np.ones((3, 2)))


def test_a_stability_bound_that_is_not_positive_is_an_error_that_names_the_parameter() -> None:
    base = reaction_diffusion_1d(20)
    model = rbm.FullOrderModel(
        [(1.0, base.operator_terms[0]), ("mu", base.operator_terms[1])],
        [(1.0, base.rhs_terms[:, 0])],
        base.product,
        base.parameters,
        stability="50 - mu",
    )
    with pytest.raises(rbm.StabilityError, match=r"'50 - mu' is -50\.0 at mu = 100 .*beta > 0"):
        run(model, np.array([[1.0], [100.0]]))


def test_a_silent_run_does_not_import_the_progress_bar() -> None:
    code = (
        "import sys, rbm; from problems import reaction_diffusion_1d; m = reaction_diffusion_1d(20);"
        "rbm.greedy(m, m.parameters.sample(5), max_basis=2, progress=False); print('tqdm' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False"]


def test_a_silent_bar_counts_as_a_bar_does() -> None:
    with progress_bar(None, "work", enabled=False, total=9) as bar:
        bar.update()
        bar.update(3)
        bar.set_postfix_str("far")
        assert bar.n == 4
    assert list(progress_bar(np.arange(3), "work", enabled=False)) == [0, 1, 2]


def test_results_say_what_they_are(model: rbm.FullOrderModel, training: np.ndarray) -> None:
    result = run(model, training, tol=1e-3)
    assert repr(result).startswith("GreedyResult(N = 3, largest bound 8.2")
    assert "stopped by tolerance" in repr(result)
    same = pickle.loads(pickle.dumps(result))  # to worker processes; models travel as files, never as pickles
    np.testing.assert_array_equal(same.reduced_model.solve(training).bound, result.reduced_model.solve(training).bound)
