"""POD-greedy: the published run, resuming, interrupting, stopping, and what is refused."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from helpers.parabolic import convection, heat

import rbm
from rbm.time.compression import SnapshotStream
from rbm.time.pod_greedy import _Run

#: libMesh, reduced_basis_ex3, as printed: the largest bounds for N = 0 .. 7, and the first eigenvalues.
BOUNDS = [0.837383, 1.26309, 0.883155, 0.691571, 0.413265, 0.265682, 0.253912, 0.255631]
EIGENVALUES = [2.19193, 2.14617, 1.6024]


def test_the_published_run_to_all_its_digits() -> None:
    grid = np.linspace(-2, 2, 10)
    training = np.array([(x, y) for x in grid for y in grid])
    model = convection(25)
    result = rbm.pod_greedy(model, training, max_basis=7)
    assert [f"{step.bound:.6g}" for step in result.history] == [f"{b:.6g}" for b in BOUNDS]
    assert [f"{step.eigenvalues[0]:.6g}" for step in result.history[:3]] == [f"{e:.6g}" for e in EIGENVALUES]
    effectivities = [step.effectivity for step in result.history[:-1]]
    assert min(effectivities) >= 1
    assert max(effectivities) <= 3
    # ||l||^2 in the dual of the mass, 33.6538 for all four windows
    for output in result.reduced_model.outputs.values():
        assert f"{np.linalg.norm(output.dual) ** 2:.6g}" == "33.6538"


def test_a_run_goes_on_bit_for_bit(tmp_path: Path) -> None:
    model = heat(20)
    training = model.parameters.sample(20)
    whole = rbm.pod_greedy(model, training, max_basis=6)
    path = tmp_path / "run.rbm"
    first = rbm.pod_greedy(model, training, max_basis=3, checkpoint=path)
    first.save(tmp_path / "saved.rbm")
    for resume in (first, path, tmp_path / "saved.rbm"):
        again = rbm.pod_greedy(model, training, max_basis=6, resume=resume)
        np.testing.assert_array_equal(again.basis, whole.basis)
        np.testing.assert_array_equal(again.parameters, whole.parameters)
        same = [(s.size, s.parameter, s.bound, s.eigenvalues) for s in again.history]
        assert same == [(s.size, s.parameter, s.bound, s.eigenvalues) for s in whole.history]
    with pytest.raises(rbm.ModelError, match="trained with another control"):
        rbm.pod_greedy(model, training, resume=path, control="impulse")
    with pytest.raises(rbm.ModelError, match="made with another model"):
        rbm.pod_greedy(heat(20, dt=0.02), training, resume=path)
    with pytest.raises(rbm.FileFormatError, match="holds a POD-greedy run, not a reduced model"):
        rbm.load(path)


def test_several_modes_a_trajectory_and_the_tolerance() -> None:
    model = heat(20)
    result = rbm.pod_greedy(model, model.parameters.sample(20), tol=1e-3, modes=3)
    assert result.stopped == "tolerance"
    assert result.history[-1].bound <= 1e-3
    assert list(result.sizes[:2]) == [3, 6]
    assert len(result.history[0].eigenvalues) == 4
    reduced = result.reduced_model
    assert reduced.solve(model.parameters.sample(20)).bound[:, -1].max() == pytest.approx(result.history[-1].bound)
    assert "POD" in repr(result)


def test_it_goes_down_to_round_off_and_says_so() -> None:
    model = heat(8)
    result = rbm.pod_greedy(model, model.parameters.sample(10))
    assert result.stopped == "round-off" or result.basis.shape[1] == 7
    assert result.history[-1].bound < 1e-13


def test_ctrl_c_keeps_what_was_done(monkeypatch: pytest.MonkeyPatch) -> None:
    model = heat(20)
    training = model.parameters.sample(10)
    extend = _Run.extend

    def interrupted(run: _Run, point: int) -> bool:
        if run.size == 2:
            run.reduction.extend(np.ones(19))  # half of an extension
            raise KeyboardInterrupt
        return extend(run, point)

    monkeypatch.setattr(_Run, "extend", interrupted)
    with pytest.raises(rbm.Interrupted, match="interrupted with 2 basis vectors") as caught:
        rbm.pod_greedy(model, training, max_basis=5)
    monkeypatch.setattr(_Run, "extend", extend)
    again = rbm.pod_greedy(model, training, max_basis=5, resume=caught.value.result)
    np.testing.assert_array_equal(again.basis, rbm.pod_greedy(model, training, max_basis=5).basis)


def test_a_coercivity_bound_that_is_too_large_is_found() -> None:
    model = heat(20, stability="1000 * k")
    with pytest.raises(rbm.StabilityError, match="is below the true error"):
        rbm.pod_greedy(model, model.parameters.sample(10), max_basis=4)


def test_bad_arguments_are_refused() -> None:
    model = heat(8)
    training = model.parameters.sample(5)
    with pytest.raises(TypeError, match="the first argument of pod_greedy is the TimeModel, got FullOrderModel"):
        rbm.pod_greedy(model.spatial, training)
    for options, text in (
        ({"tol": -1.0}, "tol"),
        ({"modes": 0}, "modes"),
        ({"max_basis": 0}, "max_basis"),
        ({"max_basis": 2.5}, "max_basis"),
        ({"max_basis": "3"}, "max_basis"),
        ({"max_basis": True}, "max_basis"),
        ({"control": np.ones(3)}, "control"),
        ({"control": np.ones((5, 50))}, "control"),
    ):
        with pytest.raises((rbm.ParameterError, rbm.ModelError), match=text):
            rbm.pod_greedy(model, training, **options)
    with pytest.raises(rbm.ModelError, match="lower tol, or check the model"):
        rbm.pod_greedy(heat(8, control=np.zeros(50)), training)
    with pytest.raises(rbm.ParameterError, match="training"):
        rbm.pod_greedy(model)


def test_a_stream_of_snapshots_has_the_modes_of_all_of_them() -> None:
    model = heat(40)
    path = model.solve([[0.3, 2.0]])[0]
    whole, stream = SnapshotStream(model.inner_product.matrix), SnapshotStream(model.inner_product.matrix, window=12)
    for vector in path:
        whole.add(vector)
        stream.add(vector)
    modes, values = whole.modes(3)
    few, others = stream.modes(3)
    np.testing.assert_allclose(others[:3], values[:3], rtol=1e-7)  # six modes are kept of twelve vectors
    overlap = np.abs(np.diag(few.T @ (model.inner_product.matrix @ modes)))
    np.testing.assert_allclose(overlap, 1, atol=1e-7)
    assert len(stream.vectors) <= 12
    assert whole.modes(3)[1].sum() * len(path) == pytest.approx(float(np.sum(model.inner_product.norm(path.T) ** 2)))


def test_a_result_can_be_replaced_but_not_changed() -> None:
    model = heat(8)
    result = rbm.pod_greedy(model, model.parameters.sample(5), max_basis=1)
    with pytest.raises(AttributeError):
        result.reason = "other"  # type: ignore[misc]
    assert replace(result, reason="other").reason == "other"
