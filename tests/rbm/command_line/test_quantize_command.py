"""``rbm quantize``: a smaller file whose bounds hold, what ``rbm info`` says of it, and one line for what is wrong."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import scipy.io
import scipy.sparse as sp
from helpers.models import two_parameter_model

import rbm
from rbm.command_line import main


@pytest.fixture(scope="module")
def model() -> rbm.FullOrderModel:
    return two_parameter_model(400)


@pytest.fixture
def saved(model: rbm.FullOrderModel, tmp_path: Path) -> Path:
    rbm.project(model, model.solve(model.parameters.sample(6)).T).save(tmp_path / "model.rbm")
    return tmp_path / "model.rbm"


def run(capsys: pytest.CaptureFixture[str], *arguments: str | Path) -> tuple[int, str, str]:
    status = main(list(map(str, arguments)))
    shown = capsys.readouterr()
    return status, shown.out, shown.err


def refused(capsys: pytest.CaptureFixture[str], *arguments: str | Path) -> str:
    status, out, err = run(capsys, *arguments)
    assert (status, out) == (2, "")
    assert err.startswith("rbm: ")
    assert err.count("\n") == 1
    return err


def test_a_smaller_file(model: rbm.FullOrderModel, saved: Path, capsys: pytest.CaptureFixture[str]) -> None:
    small = saved.with_name("small.rbm")
    status, out, err = run(capsys, "quantize", saved, "--bits", "6", "-o", small)
    assert (status, err) == (0, "")
    before, after = saved.stat().st_size, small.stat().st_size
    assert f"{small}: {after} bytes, {1 - after / before:.1%} less than {before}" in out
    loaded = rbm.load(small)
    assert loaded.coded is not None
    assert loaded.coded.bits.mean() <= 6
    expected = rbm.load(saved).quantize(6)
    mus = model.parameters.sample(10, "random", rng=0)
    np.testing.assert_array_equal(loaded.solve(mus).bound, expected.solve(mus).bound)
    full = loaded.reconstruct(loaded.solve(mus))
    assert np.all(loaded.solve(mus).bound >= model.inner_product.norm((model.solve(mus) - full).T))
    shown = " ".join(run(capsys, "info", small)[1].split())
    assert loaded.coded.summary in shown
    assert "basis in " in shown
    assert "which add up to" in shown
    assert "basis in " not in run(capsys, "info", saved)[1]
    assert loaded.coded.summary in out


def test_options(saved: Path, capsys: pytest.CaptureFixture[str]) -> None:
    small = saved.with_name("small.rbm")
    assert run(capsys, "quantize", saved, "--matrices", "12", "--no-rotation", "--out", small)[0] == 0
    loaded = rbm.load(small)
    assert loaded.coded is not None
    np.testing.assert_array_equal(loaded.coded.rotation, np.eye(6))
    assert 7 <= loaded.coded.bits.mean() <= 8  # the default
    assert loaded.coded_matrices["rhs"].bits == 12
    assert "exists" in refused(capsys, "quantize", saved, "--bits", "3", "-o", small)
    assert rbm.load(small).coded_matrices["rhs"].bits == 12
    assert run(capsys, "quantize", saved, "--bits", "3", "-o", small, "--force")[0] == 0
    assert rbm.load(small).coded.bits.mean() <= 3  # type: ignore[union-attr]


def test_what_is_wrong_is_one_line(
    model: rbm.FullOrderModel, saved: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    small, content = tmp_path / "small.rbm", saved.read_bytes()
    for bits in ("0", "-3", "25", "nan", "inf"):
        assert "mean number of bits in (0, 24]" in refused(capsys, "quantize", saved, "--bits", bits, "-o", small)
    for bits in ("1", "0", "25"):
        assert "integer from 2 to 24" in refused(capsys, "quantize", saved, "--matrices", bits, "-o", small)
    for same in (saved, tmp_path / "x" / ".." / "model.rbm"):
        assert "is the model itself" in refused(capsys, "quantize", saved, "--force", "-o", same)
    link = tmp_path / "link.rbm"
    link.symlink_to(saved)
    assert "is the model itself" in refused(capsys, "quantize", saved, "--force", "-o", link)
    assert saved.read_bytes() == content
    assert "none.rbm" in refused(capsys, "quantize", tmp_path / "none.rbm", "-o", small)
    (tmp_path / "cut.rbm").write_bytes(content[:500])
    assert "cut.rbm" in refused(capsys, "quantize", tmp_path / "cut.rbm", "-o", small)
    assert "folder" in refused(capsys, "quantize", saved, "-o", tmp_path / "folder" / "small.rbm")
    rbm.load(saved).save(tmp_path / "bare.rbm", basis=False)
    assert "does not hold its basis" in refused(capsys, "quantize", tmp_path / "bare.rbm", "-o", small)
    rbm.load(saved).quantize(4).save(tmp_path / "four.rbm")
    assert "in few bits already" in refused(capsys, "quantize", tmp_path / "four.rbm", "-o", small)
    assert not small.exists()
    for missing in (["quantize", saved], ["quantize", "-o", small], ["quantize", saved, "--bits", "few", "-o", small]):
        with pytest.raises(SystemExit) as stopped:
            main(list(map(str, missing)))
        assert stopped.value.code == 2
    capsys.readouterr()


def test_products(model: rbm.FullOrderModel, saved: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    small, n = tmp_path / "small.rbm", model.dimension
    dense = rbm.FullOrderModel(
        list(zip(model.operator_coefficients.sources, model.operator_terms, strict=True)),
        [(1.0, model.rhs_terms[:, 0])],
        model.product.toarray(),
        model.parameters,
        1.0,
    )
    old = tmp_path / "old.rbm"
    rbm.project(dense, model.solve(model.parameters.sample(6)).T).save(old)
    assert "give it, product=P" in refused(capsys, "quantize", old, "-o", small)
    files = {
        "P": model.product,
        "small": sp.csr_array(model.product[:9, :9]),
        "other": 2 * model.product,
        "skew": sp.csr_array(sp.triu(model.product)),
        "indefinite": sp.diags_array(np.r_[-1.0, np.ones(n - 1)]),
    }
    for name, matrix in files.items():
        scipy.io.mmwrite(tmp_path / f"{name}.mtx", matrix)
    np.savez(tmp_path / "two.npz", A=np.eye(3), B=np.eye(3))
    for name, words in (
        ("small.mtx", f"the product is for 9 unknowns, the basis has {n}"),
        ("other.mtx", "not orthonormal in this product"),
        ("indefinite.mtx", "not orthonormal in this product"),
        ("skew.mtx", "not Hermitian"),
        ("none.mtx", "none.mtx"),
        ("two.npz", "--product needs a file with one array"),
    ):
        assert words in refused(capsys, "quantize", old, "--product", tmp_path / name, "-o", small), name
        assert not small.exists()
    assert run(capsys, "quantize", old, "--product", tmp_path / "P.mtx", "--bits", "5", "-o", small)[0] == 0
    mus = model.parameters.sample(5)
    np.testing.assert_allclose(
        rbm.load(small).solve(mus).quantization_error,
        rbm.load(saved).quantize(5).solve(mus).quantization_error,
        rtol=1e-3,
    )
