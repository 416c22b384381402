"""Damaged checkpoints and sensor files, starts in tails, paths that cannot be written to: one clear error each."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.stats
from helpers.exact_likelihood import beam

import rbm
from rbm.storage.archive import read_archive, write_archive
from rbm.uses import chain_numbers
from rbm.uses.exact_chain import KIND


def question(**prior: Any) -> tuple[rbm.FullOrderModel, rbm.Posterior]:
    model = beam(parameters=rbm.ParameterSpace({"k": (1.0, 60.0), "v": (0.0, 2.0)}))
    reduced = rbm.greedy(model, model.parameters.sample(40), max_basis=2).reduced_model
    return model, rbm.posterior(reduced, {"mean": (0.083, 0.01)}, prior=prior)


def test_damaged_checkpoints_are_one_clear_error(tmp_path: Path) -> None:
    model, found = question()
    file = tmp_path / "chain.rbm"
    whole = found.chain(model, 20, chains=2)
    found.chain(model, 10, chains=2, checkpoint=file)
    header, arrays = read_archive(file, KIND)

    def go_on(tied: Any = header["tied"], **changed: Any) -> rbm.uses.Chain:
        write_archive(file, {"kind": KIND, "key": header["key"], "tied": tied}, arrays | changed)
        return found.chain(model, 20, chains=2, checkpoint=file)

    assert np.array_equal(go_on().mus, whole.mus)
    path = arrays["path"]
    for changed in (
        *({"tied": tied} for tied in ([1], None, "x", -1, 0.5)),
        {"path": path * np.nan},
        {"path": path + 5},
        {"path": path - 5},
        {"path": path + 0j},
        {"path": np.array(1.0)},
        {"accepted": np.array(True)},
        {"accepted": arrays["accepted"].astype(float)},
        {"solves": arrays["solves"] + 3},
        {"solves": arrays["solves"] - 1},
        {"likelihood": arrays["likelihood"] * np.nan},
        {"solved": arrays["solved"].astype(int)},
    ):
        with pytest.raises(rbm.FileFormatError, match="is not a complete chain"):
            go_on(**changed)


def test_checkpoints_that_cannot_be_written_are_refused_before_walking(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, found = question()
    monkeypatch.setattr(type(found), "_likelihood", lambda *_: pytest.fail("it walked"))
    for wrong, said in (
        (tmp_path, "is a folder"),
        ("", "is a folder"),
        (tmp_path / "none" / "chain.rbm", "in a folder that does not exist"),
        (5, "must be the name of a file"),
    ):
        with pytest.raises(rbm.ModelError, match=said):
            found.chain(model, 5, checkpoint=wrong)  # type: ignore[arg-type]


def test_a_start_may_be_where_the_density_is_infinite() -> None:
    model, found = question(k=scipy.stats.arcsine(1, 59))
    assert found.chain(model, 5, start=[[1.0, 1.0]]).mus[0] == pytest.approx(np.array([[1.0, 1.0]]), rel=1e-12)
    assert found.log_probability([1.0, 1.0]) == np.inf
    model, found = question(k=scipy.stats.uniform(20, 10))
    with pytest.raises(rbm.ModelError, match=r"the prior excludes: k = 5\b"):
        found.chain(model, 5, start=[[25.0, 1.0], [5.0, 1.0]])


def test_a_start_in_a_far_tail_is_not_moved_in_silence() -> None:
    model, found = question(k=scipy.stats.truncnorm(-9, 9, loc=30.5, scale=3.0))
    for k in (30.5, 12.0, 45.0):
        assert found.chain(model, 1, start=[[k, 1.0]], step=1e-9).mus[0, 0, 0] == pytest.approx(k, rel=1e-5)
    with pytest.raises(rbm.ModelError, match=r"start is at k = 56.* so far in a tail of the prior"):
        found.chain(model, 1, start=[[30.0, 1.0], [56.0, 1.0]])


def test_raw_errors_of_the_past() -> None:
    model, found = question()
    for numbers in ((0, 0, 1, 1), (-1, 3, 1, 1), (0, 3, 0, 1), (0, 3, 1, 0), (0, 2.0, 1, 1), (True, 3, 1, 1)):
        with pytest.raises(rbm.ModelError, match="must be a whole number of at least"):
            chain_numbers(*numbers)  # type: ignore[arg-type]
    ragged: Any = [[1.0], [1.0, 2.0]]
    with pytest.raises(rbm.ModelError, match="step must be numbers in rows of one length"):
        found.chain(model, 5, step=ragged)
    with pytest.raises(rbm.ModelError, match="in rows of one length"):
        rbm.posterior(found.reduced, {"mean": (ragged, 1.0)})
    with pytest.raises(rbm.ModelError, match="in rows of one length"):
        found.expectation(ragged, [[20.0, 1.0]])
    with pytest.raises(rbm.ModelError, match="output must be the name of one output"):
        rbm.sobol_indices(found.reduced, ["mean"])  # type: ignore[arg-type]
    with pytest.raises(rbm.ModelError, match=r"up to .*e\+199 standard deviations sigma"):
        rbm.posterior(found.reduced, {"mean": (0.5, 1e-200)})
    reduced: Any = found.reduced
    seen = rbm.pbdw(reduced, [1, 4, 8])
    estimate = seen.estimate(np.ones(3))
    for other in (None, model):
        with pytest.raises(rbm.ModelError, match="must be the reduced model of these sensors"):
            seen.error_interval(estimate, other, [[20.0, 1.0]])
    with pytest.raises(rbm.ModelError, match="distance must be numbers in rows"):
        seen.error_bound(estimate, ragged)
    with pytest.raises(rbm.ModelError, match="regularization must be numbers in rows"):
        rbm.pbdw(reduced, [1, 4, 8], regularization=ragged)


def test_sensor_files_are_checked_and_kept(tmp_path: Path) -> None:
    reduced: Any = question()[1].reduced
    seen, file = rbm.pbdw(reduced, [1, 4, 8]), tmp_path / "seen.rbm"
    seen.save(file)
    seen.save(file)
    with pytest.raises(FileExistsError, match="pass overwrite=True"):
        seen.save(file, overwrite=False)
    _, arrays = read_archive(file, "state from sensors")

    def tampered(xi: Any = 0.0, **changed: Any) -> rbm.PBDW:
        new = {f"space/{name}" if f"space/{name}" in arrays else name: a for name, a in changed.items()}
        write_archive(file, {"kind": "state from sensors", "regularization": xi}, arrays | new)
        return rbm.PBDW.load(file)

    assert tampered().stability == seen.stability
    for changed in (
        *({"xi": xi} for xi in (None, [1], -1.0, "x")),
        *({"stability": np.array(x)} for x in (-1.0, 0.0, np.nan, np.inf, 1j, [0.5], 1)),
        {"smallest": np.array(2 * seen.space.largest)},
        {"eta": np.zeros(3)},
        {"defects": np.array(-1.0)},
        {"distances": -1 - arrays["space/distances"]},
        {"basis": arrays["basis"] * np.nan},
        {"basis": np.ones(3)},
        {"factor": np.array(1.0)},
        {"to_update": arrays["to_update"] > 0},
    ):
        with pytest.raises(rbm.FileFormatError, match="is not a complete state from sensors"):
            tampered(**changed)
