"""Model files: the same bits after a round trip, and nothing but whole, unaltered files of this package is read."""

from __future__ import annotations

import io
import json
import os
import pickle
import subprocess
import sys
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from conftest import make_case
from helpers import DATA

import rbm
from problems import reaction_diffusion_1d, thermal_block
from rbm.storage.archive import header_digest


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    path = tmp_path / "model.rbm"
    make_case("real").projected(5).save(path)
    return path


def rewrite(path: Path, change: dict[str, bytes], drop: tuple[str, ...] = ()) -> None:
    """Replace entries of the archive, as an attacker or a faulty tool would."""
    with zipfile.ZipFile(path) as archive:
        entries = {n: archive.read(n) for n in archive.namelist() if n not in drop} | change
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in entries.items():
            archive.writestr(name, content)


def header(path: Path) -> dict:  # type: ignore[type-arg]
    with zipfile.ZipFile(path) as archive:
        return json.loads(archive.read("header.json"))


def with_header(path: Path, **change: object) -> None:
    new = header(path) | change
    new["header_sha256"] = header_digest(new)
    rewrite(path, {"header.json": json.dumps(new).encode()})


@pytest.mark.parametrize("name", ["real", "complex", "two parameters"])
def test_a_round_trip_gives_the_same_bits(name: str, tmp_path: Path) -> None:
    case = make_case(name)
    model = case.projected(4)
    model.save(tmp_path / "m.rbm")
    loaded = rbm.load(tmp_path / "m.rbm")
    a, b = (m.solve(case.tests) for m in (model, loaded))
    np.testing.assert_array_equal(a.coefficients, b.coefficients)
    for method in loaded.estimators:
        x, y = (m.estimate(case.tests, method=method) for m in (model, loaded))
        np.testing.assert_array_equal(x.value, y.value)
        np.testing.assert_array_equal(x.floor, y.floor)
    for output in a.outputs:
        np.testing.assert_array_equal(a.outputs[output], b.outputs[output])
        np.testing.assert_array_equal(a.output_bounds[output], b.output_bounds[output])
    assert list(loaded.estimators) == [m for m in model.estimators if m != "direct"]
    np.testing.assert_array_equal(loaded.basis, model.basis)


def test_a_fresh_process_without_the_problems_gives_the_same_bits(tmp_path: Path) -> None:
    model = thermal_block((2, 2), 8)
    reduced = rbm.greedy(
        model, model.parameters.sample(400), max_basis=5, estimators=("E_onb", "E2", "E4"), progress=False
    ).reduced_model
    reduced.save(tmp_path / "m.rbm")
    mus = model.parameters.sample(30, "random", rng=7)
    np.save(tmp_path / "mus.npy", mus)
    script = """
import sys
class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.split('.')[0] in ('problems', 'skfem', 'matplotlib'):
            raise ImportError(name)
sys.meta_path.insert(0, Refuse())
import numpy as np, rbm
folder = sys.argv[1]
model = rbm.load(folder + '/m.rbm')
mus = np.load(folder + '/mus.npy')
s = model.solve(mus)
np.savez(folder + '/answer.npz', gamma=s.coefficients, bound=s.bound, mean=s.outputs['mean'], \
e4=model.estimate(mus, method='E4').value)
"""
    subprocess.run([sys.executable, "-c", script, str(tmp_path)], check=True)
    answer = np.load(tmp_path / "answer.npz")
    solution = reduced.solve(mus)
    np.testing.assert_array_equal(answer["gamma"], solution.coefficients)
    np.testing.assert_array_equal(answer["bound"], solution.bound)
    np.testing.assert_array_equal(answer["mean"], solution.outputs["mean"])
    np.testing.assert_array_equal(answer["e4"], reduced.estimate(mus, method="E4").value)


def test_the_same_model_gives_the_same_file_but_for_its_date(saved: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    case, before = make_case("real"), saved.read_bytes()
    case.projected(5).save(saved)
    assert saved.read_bytes() == before
    for date, same in (("86400", False), ("86400", True), ("86401", False)):
        before = saved.read_bytes()
        monkeypatch.setenv("SOURCE_DATE_EPOCH", date)
        rbm.project(case.model, case.result.basis[:, :5], ("E_onb", "E2", "E3", "E4"), case.training).save(saved)
        assert (saved.read_bytes() == before) is same


def test_direct_is_left_out_and_says_why(saved: Path) -> None:
    with pytest.raises(rbm.ModelError, match=r"'direct' is not available.*full-order model.* it has 'orthonormal', 'e"):
        rbm.load(saved).estimate([2.0], method="E1")


@pytest.mark.filterwarnings("ignore:the default estimator")
def test_a_file_of_a_model_with_direct_alone_says_how_to_get_an_estimator(tmp_path: Path) -> None:
    case = make_case("real")
    rbm.project(case.model, case.result.basis[:, :3], ("E1",)).save(tmp_path / "m.rbm")
    model = rbm.load(tmp_path / "m.rbm")
    known = r"'direct' is not available .* a file does not hold; of estimators it has none, so .*=\('orthonormal',\)"
    with pytest.raises(rbm.ModelError, match=known):
        model.solve([2.0])
    with pytest.raises(rbm.ModelError, match=r"no estimator 'orthonormal'; it has none.*=\('orthonormal',\)$"):
        model.solve([2.0], method="E_onb")  # one name in brackets is a text to Python, not a tuple


def test_what_direct_needs_is_said_where_it_was_not_asked_for() -> None:
    case = make_case("real")
    model = rbm.project(case.model, case.result.basis[:, :3], ("E_onb",))
    said = r"no estimator 'direct'; it has 'orthonormal'. It needs .* in no file.*=\('orthonormal', 'direct'\)"
    with pytest.raises(rbm.ModelError, match=said):
        model.solve([2.0], method="E1")


def test_the_basis_may_stay_out(tmp_path: Path) -> None:
    model = make_case("real").projected(5)
    model.save(tmp_path / "small.rbm", basis=False)
    model.save(tmp_path / "large.rbm")
    assert (tmp_path / "small.rbm").stat().st_size < (tmp_path / "large.rbm").stat().st_size
    with pytest.raises(rbm.ModelError, match="does not hold its basis"):
        rbm.load(tmp_path / "small.rbm").reconstruct(np.ones((1, 5)))


@pytest.mark.parametrize("fraction", [0.0, 0.01, 0.5, 0.9, 0.999])
def test_a_truncated_file_is_refused(saved: Path, fraction: float) -> None:
    content = saved.read_bytes()
    saved.write_bytes(content[: int(fraction * len(content))])
    with pytest.raises(rbm.FileFormatError, match=r"model\.rbm"):
        rbm.load(saved)


def test_every_flipped_byte_is_refused_or_harmless(saved: Path) -> None:
    """A changed byte is either found, or lies in padding and leaves every array and the header as they were."""
    content = bytearray(saved.read_bytes())
    reference = rbm.load(saved)
    rng = np.random.default_rng(0)
    found = 0
    for position in rng.integers(0, len(content), 300):
        damaged = content.copy()
        damaged[position] ^= 0x10
        saved.write_bytes(bytes(damaged))
        try:
            loaded = rbm.load(saved)
        except rbm.FileFormatError:
            found += 1
            continue
        np.testing.assert_array_equal(loaded.operators, reference.operators)
        np.testing.assert_array_equal(loaded.solve([3.0]).bound, reference.solve([3.0]).bound)
    assert found > 270


def test_an_altered_array_is_refused(saved: Path) -> None:
    buffer = io.BytesIO()
    np.save(buffer, rbm.load(saved).operators * 2)
    rewrite(saved, {"operators.npy": buffer.getvalue()})
    with pytest.raises(rbm.FileFormatError, match="array 'operators' does not match its checksum"):
        rbm.load(saved)


def test_an_altered_header_is_refused(saved: Path) -> None:
    new = header(saved) | {"operator_coefficients": [1.0, "2*mu"]}
    rewrite(saved, {"header.json": json.dumps(new).encode()})
    with pytest.raises(rbm.FileFormatError, match="header does not match"):
        rbm.load(saved)


def test_missing_and_additional_arrays_are_refused(saved: Path) -> None:
    content = saved.read_bytes()
    rewrite(saved, {}, drop=("rhs.npy",))
    with pytest.raises(rbm.FileFormatError, match="not the ones its header lists"):
        rbm.load(saved)
    saved.write_bytes(content)
    rewrite(saved, {"extra.npy": b"x"})
    with pytest.raises(rbm.FileFormatError, match="not the ones its header lists"):
        rbm.load(saved)


def test_a_newer_version_is_refused(saved: Path) -> None:
    with_header(saved, version=99)
    with pytest.raises(rbm.FileFormatError, match="file version 99, this package reads up to 1; upgrade"):
        rbm.load(saved)


class Bomb:
    """Runs code when unpickled."""

    def __reduce__(self) -> tuple[object, tuple[str]]:  # type: ignore[override]
        return os.system, (f"touch {Bomb.target}",)

    target = ""


def test_pickles_are_refused_and_never_run(saved: Path, tmp_path: Path) -> None:
    import hashlib

    Bomb.target = str(tmp_path / "executed")
    buffer = io.BytesIO()
    np.lib.format.write_array(buffer, np.array([Bomb()], dtype=object), allow_pickle=True)
    blob = buffer.getvalue()
    new = header(saved)
    new["sha256"]["operators"] = hashlib.sha256(blob).hexdigest()
    new["header_sha256"] = header_digest(new)
    rewrite(saved, {"operators.npy": blob, "header.json": json.dumps(new).encode()})
    with pytest.raises(rbm.FileFormatError, match="'operators' that is not plain numbers"):
        rbm.load(saved)
    saved.write_bytes(pickle.dumps(Bomb()))
    with pytest.raises(rbm.FileFormatError, match="not a model file"):
        rbm.load(saved)
    assert not Path(Bomb.target).exists()


def test_code_in_an_expression_is_refused_and_never_run(saved: Path, tmp_path: Path) -> None:
    target = tmp_path / "executed"
    with_header(saved, operator_coefficients=[1.0, f"__import__('os').system('touch {target}')"])
    with pytest.raises(rbm.FileFormatError, match="not allowed"):
        rbm.load(saved)
    assert not target.exists()


def test_foreign_files_are_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", x=np.ones(3))
    (tmp_path / "b.txt").write_text("mu\n1\n")
    with zipfile.ZipFile(tmp_path / "c.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("header.json", b"{}" + b" " * 100_000)
    for name in ("a.npz", "b.txt", "c.zip"):
        with pytest.raises(rbm.FileFormatError, match=name):
            rbm.load(tmp_path / name)
    with pytest.raises(FileNotFoundError):
        rbm.load(tmp_path / "none.rbm")


def test_a_greedy_run_is_not_a_reduced_model(tmp_path: Path) -> None:
    make_case("real").result.save(tmp_path / "run.greedy")
    with pytest.raises(rbm.FileFormatError, match="holds a greedy run, not a reduced model"):
        rbm.load(tmp_path / "run.greedy")


@pytest.mark.parametrize("moment", ["replace", "fsync"])
def test_an_interrupted_save_leaves_the_old_file(saved: Path, moment: str, monkeypatch: pytest.MonkeyPatch) -> None:
    before = saved.read_bytes()

    def interrupted(*args: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, moment, interrupted)
    with pytest.raises(KeyboardInterrupt):
        make_case("real").projected(3).save(saved)
    assert saved.read_bytes() == before
    assert [p.name for p in saved.parent.iterdir()] == ["model.rbm"]


def test_overwrite_false_keeps_the_old_file(saved: Path) -> None:
    before = saved.read_bytes()
    with pytest.raises(FileExistsError, match="overwrite=True"):
        make_case("real").projected(3).save(saved, overwrite=False)
    assert saved.read_bytes() == before


def test_a_model_with_callables_works_but_says_that_it_cannot_be_saved(tmp_path: Path) -> None:
    base = reaction_diffusion_1d(20)

    def reaction(mus: np.ndarray) -> np.ndarray:
        return mus[:, 0]

    model = rbm.FullOrderModel(
        [(1.0, base.operator_terms[0]), (reaction, base.operator_terms[1])],
        [(1.0, base.rhs_terms[:, 0])],
        base.product,
        base.parameters,
        1.0,
    )
    reduced = rbm.greedy(model, model.parameters.sample(20), max_basis=3, progress=False).reduced_model
    assert np.all(np.isfinite(reduced.solve([4.0]).bound))
    with pytest.raises(rbm.ModelError, match=r"'reaction' is a Python callable.*expression string"):
        reduced.save(tmp_path / "m.rbm")
    assert not (tmp_path / "m.rbm").exists()


def test_a_min_theta_bound_travels(tmp_path: Path) -> None:
    model = thermal_block((2, 1), 4)
    reduced = rbm.greedy(model, model.parameters.sample(20), max_basis=2, progress=False).reduced_model
    reduced.save(tmp_path / "m.rbm")
    loaded = rbm.load(tmp_path / "m.rbm")
    mus = model.parameters.sample(10)
    np.testing.assert_array_equal(loaded.stability(mus, mus), model.stability(mus, mus))
    np.testing.assert_allclose(loaded.stability(mus, mus), mus.min(axis=1), rtol=1e-12)
    with pytest.raises(rbm.StabilityError, match=r"theta_0 = -1.0 at k1 = -1, k2 = 1"):
        loaded.solve([-1.0, 1.0], extrapolate=True)


def test_files_are_readable_by_others_as_the_umask_says(saved: Path) -> None:
    mask = os.umask(0)
    os.umask(mask)
    assert saved.stat().st_mode & 0o777 == 0o666 & ~mask


def test_saving_into_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match="file"):
        make_case("real").projected(3).save(tmp_path / "file" / "m.rbm")


def test_replace_is_not_needed_to_reload(saved: Path) -> None:
    loaded = rbm.load(saved)
    again = replace(loaded, basis=None)
    again.save(saved)
    np.testing.assert_array_equal(rbm.load(saved).solve([5.0]).bound, loaded.solve([5.0]).bound)


def test_arrays_that_do_not_fit_each_other_are_refused(saved: Path) -> None:
    import hashlib

    new = header(saved)
    for name in ("rhs", "estimators/orthonormal/factor", "outputs/0/vectors", "basis"):
        buffer = io.BytesIO()
        np.save(buffer, np.zeros((3, 2)))
        changed = new | {"sha256": new["sha256"] | {name: hashlib.sha256(buffer.getvalue()).hexdigest()}}
        changed["header_sha256"] = header_digest(changed)
        content = saved.read_bytes()
        rewrite(saved, {f"{name}.npy": buffer.getvalue(), "header.json": json.dumps(changed).encode()})
        with pytest.raises(rbm.FileFormatError, match="not a complete reduced model"):
            rbm.load(saved)
        saved.write_bytes(content)


@pytest.mark.parametrize("version", [0, -3, True, "1", None])
def test_versions_are_numbers_from_one_on(saved: Path, version: object) -> None:
    with_header(saved, version=version)
    with pytest.raises(rbm.FileFormatError, match="file version"):
        rbm.load(saved)


def test_losing_the_default_estimator_is_announced(tmp_path: Path) -> None:
    case = make_case("real")
    model = rbm.project(case.model, case.result.basis[:, :3], ("E1", "E_onb"))
    with pytest.warns(
        UserWarning, match="'direct' needs the full model and is not saved; after loading the default is 'orthonormal'"
    ):
        model.save(tmp_path / "m.rbm")


@pytest.mark.parametrize("name", ["co", "mt", "family"])
def test_files_of_the_version_before_the_registry_load_and_answer_the_same(name: str) -> None:
    """The files were written when stability bounds, outputs and families had no common form.

    They hold a formula, min-theta with a quadratic output, and anchors.
    """
    folder = DATA / "models"
    reduced = rbm.load(folder / f"{name}.rbm")
    with np.load(folder / f"{name}.npz") as known:
        solution = reduced.solve(known["mus"])
        np.testing.assert_allclose(solution.coefficients, known["c"], rtol=1e-12, atol=1e-14)
        np.testing.assert_allclose(solution.bound, known["b"], rtol=1e-6)
        for output, values in solution.outputs.items():
            np.testing.assert_allclose(values, known[f"o_{output}"], rtol=1e-10)
            np.testing.assert_allclose(solution.output_bounds[output], known[f"ob_{output}"], rtol=1e-6)
