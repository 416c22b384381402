"""Files of models in few bits: the same bits after a round trip, and arrays that do not fit each other are refused."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.sparse as sp
from helpers.models import complex_model, two_parameter_model

import rbm
from rbm.errors import FileFormatError
from rbm.storage.archive import read_archive, write_archive

KIND = "reduced model"


@pytest.fixture(scope="module", params=["real", "complex"])
def whole(request: pytest.FixtureRequest) -> rbm.ReducedModel:
    return reduced(request.param)


@lru_cache
def reduced(name: str) -> rbm.ReducedModel:
    model = two_parameter_model(16) if name == "real" else complex_product()
    return rbm.project(model, model.solve(model.parameters.sample(4, "random", rng=3)).T)


def complex_product() -> rbm.FullOrderModel:
    """15 unknowns, and a product that is Hermitian and complex."""
    base, turn = complex_model(16), sp.diags_array(np.exp(1j * np.arange(15)), format="csr")
    stiffness, mass = (sp.csr_array(turn @ a @ turn.conj()) for a in base.operator_terms)
    load = turn @ base.rhs_terms[:, 0]
    return rbm.FullOrderModel([(1.0, stiffness), ("a + 1j*b", mass)], [(1.0, load)], stiffness, base.parameters, 1.0)


def same(a: rbm.ReducedModel, b: rbm.ReducedModel) -> None:
    mus = a.parameters.sample(9)
    ours, theirs = a.solve(mus), b.solve(mus)
    for name in ("coefficients", "bound", "quantization_error", "origin"):
        assert np.asarray(getattr(ours, name)).tobytes() == np.asarray(getattr(theirs, name)).tobytes(), name
    assert a.reconstruct(ours).tobytes() == b.reconstruct(theirs).tobytes()


@pytest.mark.parametrize("bits", [3, 12, {"basis": 6, "matrices": 9}, {"matrices": 9}])
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_a_round_trip_gives_the_same_bits(whole: rbm.ReducedModel, bits: Any, dtype: str, tmp_path: Path) -> None:
    small = whole.astype(dtype).quantize(bits)
    small.save(tmp_path / "small")
    loaded = rbm.load(tmp_path / "small")
    same(small, loaded)
    assert repr(loaded) == repr(small)
    assert loaded.operators.dtype == small.operators.dtype
    assert set(loaded.coded_matrices) == set(small.coded_matrices)
    loaded.save(tmp_path / "again")
    assert (tmp_path / "again").read_bytes() == (tmp_path / "small").read_bytes()
    names = set(read_archive(tmp_path / "small", KIND)[1])
    assert ("coded/codes/codes" in names) == ("basis" not in names) == (small.coded is not None)
    assert ("matrices/rhs/codes" in names) == ("rhs" not in names) == (isinstance(bits, dict))
    assert ("product/data" in names) == (small.coded is None)
    if small.coded is not None:  # of the model in full: its solutions mean the same
        solution = loaded.solve(loaded.parameters.sample(3))
        assert whole.astype(dtype).reconstruct(solution).shape == (3, 15)
        with pytest.raises(rbm.ModelError, match="has a basis in few bits already"):
            loaded.quantize(4)


def test_a_loaded_model_can_be_quantised(whole: rbm.ReducedModel, tmp_path: Path) -> None:
    whole.save(tmp_path / "whole")
    loaded = rbm.load(tmp_path / "whole")
    assert sp.issparse(loaded.product)
    assert np.all((loaded.product - whole.product).toarray() == 0)
    same(loaded.quantize(7), whole.quantize(7))
    same(loaded.astype("float32").quantize({"basis": 5, "matrices": 8}).truncate(2), small_of(whole))
    whole.save(tmp_path / "without", basis=False)
    arrays = read_archive(tmp_path / "without", KIND)[1]
    assert not any(name.startswith(("coded/", "product/", "basis")) for name in arrays)
    whole.quantize(7).save(tmp_path / "without", basis=False)
    assert rbm.load(tmp_path / "without").coded is None


def small_of(whole: rbm.ReducedModel) -> rbm.ReducedModel:
    return whole.astype("float32").quantize({"basis": 5, "matrices": 8}).truncate(2)


def test_truncated_and_converted_models_come_back(whole: rbm.ReducedModel, tmp_path: Path) -> None:
    for k, made in enumerate((small_of(whole), whole.quantize({"basis": 9, "matrices": 9}).astype("float32"))):
        made.save(tmp_path / str(k))
        loaded = rbm.load(tmp_path / str(k))
        same(made, loaded)
        assert loaded.operators.dtype == made.operators.dtype


def test_the_file_is_smaller(tmp_path: Path) -> None:
    model = two_parameter_model(2000)
    whole = rbm.project(model, model.solve(model.parameters.sample(8)).T)
    whole.save(tmp_path / "whole")
    small = whole.quantize(6)
    small.save(tmp_path / "small")
    before, after = ((tmp_path / name).stat().st_size for name in ("whole", "small"))
    assert small.coded is not None
    assert after < before / 4
    packed = sum(a.nbytes for name, a in read_archive(tmp_path / "small", KIND)[1].items() if name.startswith("coded/"))
    # shape, type and version, and three numbers, are not counted in nbytes
    assert packed == small.coded.nbytes + 8 * 8 + 3 * 8


def damages(arrays: dict[str, np.ndarray], name: str) -> list[tuple[str, dict[str, np.ndarray]]]:
    a = arrays[name]
    made = [("dropped", {k: v for k, v in arrays.items() if k != name})]
    changed: dict[str, Any] = {
        "retyped": a.astype(np.float32) if a.dtype.kind in "iu" or a.dtype == float else a.astype(np.complex64),
        "reshaped": a[..., None],
        "of one dimension less": a.reshape(-1)[:1].reshape(()) if a.ndim else a[None][:0],
        "cut short": a[..., :-1] if a.ndim else a[None, None],
    }
    if a.dtype.kind == "f":
        changed |= {"NaN": a * np.nan, "negative": -np.abs(a) - 1, "infinite": a + np.inf}
    if a.dtype.kind == "i":
        changed |= {"too large": a + 20000, "negative": -a - 20000}
    made += [(what, {**arrays, name: other}) for what, other in changed.items()]
    return [(what, made_) for what, made_ in made if what == "dropped" or made_[name].size + a.size]


@pytest.mark.parametrize(("name", "bits"), [("real", {"basis": 6, "matrices": 9}), ("complex", {"matrices": 9})])
def test_arrays_that_do_not_fit_are_refused(name: str, bits: Any, tmp_path: Path) -> None:
    path = tmp_path / "small"
    reduced(name).quantize(bits).save(path)
    header, arrays = read_archive(path, KIND)
    ours = [n for n in arrays if n.startswith(("coded/", "matrices/rhs" if "basis" in bits else "product/"))]
    assert len(ours) == (16 if "basis" in bits else 3)
    for key in ours:
        for what, made in damages(arrays, key):
            if harmless(key, what):
                continue
            write_archive(path, header, made)
            assert str(path) in refusal(path), f"{key} {what}"


def refusal(path: Path) -> str:
    """The message of the error, "" if there is none."""
    try:
        rbm.load(path)
    except FileFormatError as error:
        return str(error)
    return ""


def harmless(name: str, what: str) -> bool:
    """These arrays may have any sign."""
    return name.rpartition("/")[2] in ("rotation", "factor", "data") and what == "negative"


def test_entries_of_the_header_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    path, whole = tmp_path / "small", reduced("real")
    whole.quantize({"basis": 6, "matrices": 9}).save(path)
    header, arrays = read_archive(path, KIND)
    qa, n, _ = header["matrices"]["operators"]
    for change in (
        {"coded": {}},
        {"coded": "yes"},
        {"matrices": {}},
        {"matrices": {**header["matrices"], "operators": [qa, n, n + 1]}},
        {"matrices": {**header["matrices"], "operators": [qa * n * n]}},
    ):
        write_archive(path, {**header, **change}, arrays)
        with pytest.raises(FileFormatError, match="not a complete reduced model"):
            rbm.load(path)
    write_archive(path, header, {**arrays, "basis": np.asarray(whole.basis)})
    with pytest.raises(FileFormatError, match="twice"):
        rbm.load(path)
    # codes of a model with another number of vectors, or of unknowns
    other = rbm.project(complex_model(10), np.linalg.qr(np.random.default_rng(0).standard_normal((9, 3)))[0]).quantize(
        6
    )
    other.save(tmp_path / "other")
    theirs = {k: a for k, a in read_archive(tmp_path / "other", KIND)[1].items() if k.startswith("coded/")}
    write_archive(path, header, {**arrays, **theirs})
    with pytest.raises(FileFormatError, match="stands for 3 vectors"):
        rbm.load(path)
    content = (tmp_path / "other").read_bytes()
    for cut in (0, 100, len(content) // 2, len(content) - 1):
        path.write_bytes(content[:cut])
        with pytest.raises(FileFormatError):
            rbm.load(path)
