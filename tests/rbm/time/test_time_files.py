"""Reduced models in time: files, shorter bases, streams, and answers without coefficients."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

import numpy as np
import pytest
from helpers.parabolic import heat

import rbm


@pytest.fixture(scope="module")
def made() -> tuple[rbm.TimeModel, rbm.PODGreedyResult]:
    start = np.sin(np.linspace(0, 3, 19))
    model = heat(20, initial=[("k", start)], theta=0.6)
    return model, rbm.pod_greedy(model, model.parameters.sample(20), max_basis=6)


def test_a_file_gives_the_same_bits(tmp_path: Path, made: tuple[rbm.TimeModel, rbm.PODGreedyResult]) -> None:
    model, result = made
    mus = model.parameters.sample(7, "random", rng=0)
    for reduced in (result.reduced_model, result.reduced_model.astype("float32"), result.reduced_model.truncate(4)):
        path = tmp_path / "model.rbm"
        reduced.save(path)
        again = rbm.load(path)
        before, after = reduced.solve(mus, "impulse"), again.solve(mus, "impulse")
        for name in ("coefficients", "bound", "bound_l2"):
            np.testing.assert_array_equal(getattr(before, name), getattr(after, name))
        np.testing.assert_array_equal(before.output_bounds["mean"], after.output_bounds["mean"])
        assert repr(again) == repr(reduced)
    with pytest.raises(FileExistsError):
        reduced.save(path, overwrite=False)
    result.reduced_model.save(path, basis=False)
    with pytest.raises(rbm.ModelError, match="does not hold its basis"):
        rbm.load(path).reconstruct(before)


@pytest.mark.parametrize("name", ["time/control", "time/triangle", "time/defects", "operators"])
def test_files_that_are_damaged_are_refused(
    tmp_path: Path, made: tuple[rbm.TimeModel, rbm.PODGreedyResult], name: str
) -> None:
    path = tmp_path / "model.rbm"
    made[1].reduced_model.save(path)
    with zipfile.ZipFile(path) as archive:
        members = {n: archive.read(n) for n in archive.namelist()}
    header = json.loads(members["header.json"])
    del header["sha256"][name], header["sha256"]
    with zipfile.ZipFile(path, "w") as archive:
        for member, content in members.items():
            archive.writestr(member, content if member != f"{name}.npy" else content[:-8])
    with pytest.raises(rbm.FileFormatError, match=r"model\.rbm"):
        rbm.load(path)
    path.write_bytes(path.read_bytes()[:500])
    with pytest.raises(rbm.FileFormatError, match=r"model\.rbm"):
        rbm.load(path)


@pytest.mark.parametrize(
    ("key", "value"), [("dt", -1.0), ("theta", 0.1), ("slack", -1.0), ("mass_terms", 0), ("mass_terms", 3), ("dt", "x")]
)
def test_headers_with_other_numbers_are_refused(
    tmp_path: Path, made: tuple[rbm.TimeModel, rbm.PODGreedyResult], key: str, value: object
) -> None:
    from rbm.storage.archive import read_archive, write_archive

    path = tmp_path / "model.rbm"
    made[1].reduced_model.save(path)
    header, arrays = read_archive(path, "reduced time model")
    header["time"][key] = value
    write_archive(path, {k: v for k, v in header.items() if "sha256" not in k}, arrays)
    with pytest.raises(rbm.FileFormatError, match="not a complete reduced time model"):
        rbm.load(path)


def test_fewer_vectors_are_certified_with_what_they_miss_of_the_initial_value(
    made: tuple[rbm.TimeModel, rbm.PODGreedyResult],
) -> None:
    model, result = made
    mus = model.parameters.sample(4, "random", rng=1)
    for size in (1, 3, 6):
        short = result.reduced_model.truncate(size)
        answer = short.solve(mus)
        errors = model.error_norms(mus, answer.coefficients, result.basis[:, :size])
        assert np.all(answer.bound >= errors.energy * (1 - 1e-14))
        np.testing.assert_allclose(answer.bound[:, 0], errors.l2[:, 0], rtol=1e-6, atol=1e-13)
        projected = rbm.project_time(model, result.basis[:, :size]).solve(mus)
        np.testing.assert_allclose(projected.bound, answer.bound, rtol=1e-6)


def test_answers_without_coefficients_and_streams_are_the_same(
    made: tuple[rbm.TimeModel, rbm.PODGreedyResult],
) -> None:
    model, result = made
    reduced = result.reduced_model
    mus = model.parameters.sample(50, "random", rng=2)
    controls = np.random.default_rng(0).standard_normal((50, 50))
    whole = reduced.solve(mus, controls)
    bare = reduced.solve(mus, controls, coefficients=False)
    assert bare.coefficients is None
    np.testing.assert_allclose(bare.bound, whole.bound, rtol=1e-10)
    np.testing.assert_allclose(bare.outputs["mean"], whole.outputs["mean"], rtol=1e-10, atol=1e-14)
    parts = list(reduced.stream(mus, controls, size=16))
    assert [len(p) for p in parts] == [16, 16, 16, 2]
    np.testing.assert_allclose(np.concatenate([p.bound for p in parts]), whole.bound, rtol=1e-10)
    fast = reduced.solve(mus, controls, estimate=False)
    assert fast.estimate is None
    np.testing.assert_allclose(fast.coefficients, whole.coefficients, rtol=1e-9, atol=1e-14)
    with pytest.raises(rbm.ModelError, match="no error estimate"):
        _ = fast.bound
    with pytest.raises(rbm.ModelError, match="coefficients=False"):
        reduced.reconstruct(bare)
    assert reduced.reconstruct(whole).shape == (50, 51, 19)
    assert "50 points, 50 steps" in repr(whole)
    single = reduced.solve(mus[0], controls[0])
    np.testing.assert_allclose(single.bound, whole.bound[:1], rtol=1e-10)


def test_errors_name_the_row(made: tuple[rbm.TimeModel, rbm.PODGreedyResult]) -> None:
    model, result = made
    mus = model.parameters.sample(300, "random", rng=2)
    mus[217, 0] = 55.0
    with pytest.raises(rbm.ParameterError, match="217"):
        result.reduced_model.solve(mus)
    with pytest.raises(rbm.ModelError, match=r"the control has the shape \(2, 50\)"):
        next(result.reduced_model.stream(model.parameters.sample(4), np.ones((2, 50)), size=2))
    with pytest.raises(rbm.ParameterError, match="size of a block"):
        next(result.reduced_model.stream(mus, size=0))
    with pytest.raises(rbm.ModelError, match="coefficients must have the shape"):
        result.reduced_model.reconstruct(np.zeros((2, 3)))
