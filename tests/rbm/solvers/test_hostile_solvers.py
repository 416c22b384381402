"""Named solvers given what nobody should give them, and PETSc by its documented interface."""

from __future__ import annotations

import sys
import types
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import scipy.sparse as sp

from rbm.affine import inner_product
from rbm.affine.inner_product import InnerProduct
from rbm.errors import ModelError
from rbm.solvers import AMG, Pardiso, PETSc
from rbm.solvers.mkl import _count


def line(n: int = 30) -> Any:
    one = np.ones(n)
    return sp.csr_array(sp.diags_array([-one[1:], 2.1 * one, -one[1:]], offsets=[-1, 0, 1]))


def twice(matrix: Any) -> Any:
    """The same matrix with each entry stored in two halves."""
    parts = (np.repeat(matrix.data / 2, 2), np.repeat(matrix.indices, 2), 2 * matrix.indptr)
    return sp.csr_array(parts, shape=matrix.shape)


def test_pardiso_takes_entries_that_are_stored_twice() -> None:
    pytest.importorskip("pypardiso")
    for matrix in (line(), sp.csr_array(line() + 0.2 * sp.eye_array(30, k=3))):
        given = twice(matrix)  # which scipy itself may put together
        x = Pardiso().factorize(given)(np.ones((30, 1)))
        np.testing.assert_allclose(matrix @ x, 1.0, atol=1e-12)


def test_complex_columns_of_a_real_matrix_keep_their_imaginary_parts() -> None:
    pytest.importorskip("pypardiso")
    rhs = np.full((30, 1), 1 + 2j)
    np.testing.assert_allclose(line() @ Pardiso().factorize(line())(rhs), rhs, atol=1e-12)


def test_a_count_that_may_have_come_round_is_not_taken() -> None:
    assert _count(1000, 100) == 1000.0
    assert _count(-5, 100) is None
    assert _count(1000, 2**25) is None  # 34 GB of factors


def test_multigrid_takes_no_columns_and_refuses_nan() -> None:
    pytest.importorskip("pyamg")
    solve = AMG().factorize(line())
    assert solve(np.ones((30, 0))).shape == (30, 0)
    with pytest.raises(ModelError, match="did not converge"):
        solve(np.full((30, 1), np.nan))


@pytest.mark.parametrize("answer", [3.0, (None, 1.0), "nan", "-1", "text"])
def test_what_is_no_proof_is_refused(answer: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inner_product, "PROOF_LIMIT", 5)

    class Own:
        def factorize(self, matrix: Any) -> Any:
            dense = matrix.toarray()
            return lambda rhs: np.linalg.solve(dense, rhs)

        def cholesky(self, matrix: Any, prove: bool = True) -> Any:
            errors: dict[Any, Any] = {"nan": np.nan, "-1": -1.0, "text": "x"}
            return (self.factorize(matrix), errors[answer]) if answer in errors else answer

    with pytest.raises(ModelError, match="cholesky of the solver"):
        _ = InnerProduct(line(), Own()).smallest_eigenvalue


class FakeVec:
    def __init__(self, n: int) -> None:
        self.values = np.zeros(n)

    def setArray(self, array: Any) -> None:
        self.values[:] = array

    def getArray(self) -> Any:
        return self.values


class FakeMat:
    def create(self, comm: Any = None) -> FakeMat:
        return self

    def setSizes(self, size: Any) -> None:
        self.n = size[0]

    def setType(self, kind: str) -> None:
        assert kind == "aij"

    def setUp(self) -> None:
        pass

    def getOwnershipRange(self) -> tuple[int, int]:
        return 0, self.n

    def setPreallocationCSR(self, csr: Any) -> None:
        indptr, indices, data = csr
        assert indptr.dtype == indices.dtype == np.int32
        self.csr = sp.csr_array((data, indices, indptr), shape=(self.n, self.n))

    def assemble(self) -> None:
        pass

    def createVecs(self) -> tuple[FakeVec, FakeVec]:
        return FakeVec(self.n), FakeVec(self.n)


def fake_petsc(monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """The part of petsc4py's documented interface that is used, on one process; returns its data base of options."""
    table: dict[str, str] = {}

    class Options:
        def setValue(self, name: str, value: str) -> None:
            table[name] = value

        def delValue(self, name: str) -> None:
            table.pop(name, None)

    class KSP:
        def create(self, comm: Any = None) -> KSP:
            return self

        def setOptionsPrefix(self, prefix: str) -> None:
            self.prefix = prefix

        def setTolerances(self, rtol: float) -> None:
            assert rtol == 1e-10

        def setOperators(self, a: FakeMat) -> None:
            self.a = a

        def getOperators(self) -> tuple[FakeMat, FakeMat]:
            return self.a, self.a

        def setFromOptions(self) -> None:
            self.reason = int(table.get(self.prefix + "test_reason", "2"))

        def solve(self, b: FakeVec, x: FakeVec) -> None:
            x.setArray(np.linalg.solve(self.a.csr.toarray(), b.getArray()))

        def getConvergedReason(self) -> int:
            return self.reason

        def getIterationNumber(self) -> int:
            return 7

        def getResidualNorm(self) -> float:
            return 0.5

    class Scatter:
        @classmethod
        def toAll(cls, vec: FakeVec) -> tuple[Scatter, FakeVec]:
            return cls(), FakeVec(len(vec.values))

        def scatter(self, first: FakeVec, second: FakeVec, addv: Any = None, mode: Any = None) -> None:
            second.setArray(first.getArray())

    modes = {"InsertMode": types.SimpleNamespace(INSERT=1), "ScatterMode": types.SimpleNamespace(FORWARD=0)}
    types_of: dict[str, Any] = {"ScalarType": np.float64, "IntType": np.int32, "COMM_WORLD": None, "Mat": FakeMat}
    module: Any = types.ModuleType("petsc4py.PETSc")
    vars(module).update(modes, Options=Options, KSP=KSP, Scatter=Scatter, **types_of)
    package: Any = types.ModuleType("petsc4py")
    package.PETSc = module
    monkeypatch.setitem(sys.modules, "petsc4py", package)
    monkeypatch.setitem(sys.modules, "petsc4py.PETSc", module)
    return table


def test_petsc_by_its_documented_interface(monkeypatch: pytest.MonkeyPatch) -> None:
    table = fake_petsc(monkeypatch)
    rhs = np.random.default_rng(0).standard_normal((30, 3))
    solve: Callable[[Any], Any] = PETSc("-ksp_type cg -ksp_rtol 1e-9 -ksp_view").factorize(line())
    np.testing.assert_allclose(line() @ solve(rhs), rhs, atol=1e-12)
    assert solve(rhs[:, :0]).shape == (30, 0)
    assert [(name.split("_", 1)[1], value) for name, value in table.items()] == [
        ("ksp_type", "cg"), ("ksp_rtol", "1e-9"), ("ksp_view", ""),
    ]  # fmt: skip
    del solve
    assert not table  # nothing stays for other users of PETSc in this process
    with pytest.raises(ModelError, match=r"PETSc did not converge: reason -3 after 7 iterations, residual 5.0e-01"):
        PETSc("-test_reason -3").factorize(line())(rhs)
    with pytest.raises(ModelError, match="real scalars and the matrix is complex"):
        PETSc().factorize(line() * 1j)
    with pytest.raises(ModelError, match="are pairs '-name value', got 'cg'"):
        PETSc("cg").factorize(line())


def test_options_of_petsc_go_with_the_factors_and_touch_no_others(monkeypatch: pytest.MonkeyPatch) -> None:
    table = fake_petsc(monkeypatch)
    table["ksp_type"] = "cg"  # of the user, for solvers of his own
    first, second = (PETSc(f"-ksp_type {kind}").factorize(line()) for kind in ("gmres", "bcgs"))
    assert sorted(table.values()) == ["bcgs", "cg", "gmres"]  # each has a prefix of its own
    del first
    assert sorted(table.values()) == ["bcgs", "cg"]
    second(np.ones((30, 1)))
    del second
    monkeypatch.setattr(FakeMat, "setUp", lambda self: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        PETSc("-ksp_type gmres").factorize(line())
    assert table == {"ksp_type": "cg"}
