"""Matrices of other codes: objects that have the same methods, and, where they are installed, the codes themselves."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import scipy.sparse as sp

import rbm

MATRIX = np.array([[4.0, -1.0, 0.0], [-3.0, 4.0, 2.5], [0.0, 0.5, 9.0]])
CSR = sp.csr_array(MATRIX)


class NgsolveLike:
    height, width = 3, 3

    def __init__(self, matrix: Any) -> None:
        self.coo = sp.coo_array(matrix)

    def COO(self) -> tuple[list[int], list[int], list[Any]]:  # as NGSolve calls it
        return list(self.coo.row), list(self.coo.col), list(self.coo.data)


class SymmetricNgsolveLike(NgsolveLike):
    pass


class NgsolveForm:
    def __init__(self, matrix: Any) -> None:
        self._matrix = matrix

    def Assemble(self) -> None: ...

    @property
    def mat(self) -> Any:
        if self._matrix is None:
            raise TypeError("matrix not ready")
        return self._matrix


class MfemLike:
    """A matrix whose arrays are views, which change when it is freed."""

    def __init__(self, finalized: bool = True) -> None:
        self.csr, self.finalized = CSR.copy(), finalized

    def Finalized(self) -> bool:
        return self.finalized

    def GetIArray(self) -> np.ndarray:
        return self.csr.indptr

    def GetJArray(self) -> np.ndarray:
        return self.csr.indices

    def GetDataArray(self) -> np.ndarray:
        return self.csr.data

    def Height(self) -> int:
        return 3

    def Width(self) -> int:
        return 3


class PetscLike:
    def __init__(self, rows: int = 3) -> None:
        self.rows = rows

    def getSize(self) -> tuple[int, int]:
        return 3, 3

    def getValuesCSR(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        part = CSR[: self.rows]
        return part.indptr, part.indices, part.data


OBJECTS: dict[str, Any] = {
    "NGSolve matrix": NgsolveLike(MATRIX),
    "NGSolve form": NgsolveForm(NgsolveLike(MATRIX)),
    "PETSc": PetscLike(),
    "dolfinx": SimpleNamespace(to_scipy=lambda: sp.csr_matrix(MATRIX)),
    "MFEM matrix": MfemLike(),
    "MFEM form": SimpleNamespace(SpMat=MfemLike),
    "pyMOR sparse": SimpleNamespace(matrix=sp.csc_array(MATRIX)),
    "pyMOR dense": SimpleNamespace(matrix=MATRIX),
    "scipy": sp.coo_matrix(MATRIX),
    "numpy": MATRIX,
}


@pytest.mark.parametrize("name", OBJECTS)
def test_matrices_are_copied_bit_for_bit(name: str) -> None:
    made = rbm.csr(OBJECTS[name])
    assert type(made) is sp.csr_array
    np.testing.assert_array_equal(made.toarray(), MATRIX)
    made.data[:] = 0
    np.testing.assert_array_equal(rbm.csr(OBJECTS[name]).toarray(), MATRIX)


def test_symmetric_storage_holds_one_triangle() -> None:
    symmetric = MATRIX + MATRIX.T
    np.testing.assert_array_equal(rbm.csr(SymmetricNgsolveLike(np.tril(symmetric))).toarray(), symmetric)


def test_constrain_takes_them_as_they_are() -> None:
    wanted = rbm.constrain([("k", CSR)], [(1.0, np.ones(3))], CSR, [1], 2.0, outputs={"energy": np.diag([1.0, 0, 1])})
    for matrix in OBJECTS.values():
        given = matrix if not isinstance(matrix, np.ndarray) else sp.csr_array(matrix)
        made = rbm.constrain([("k", given)], [(1.0, np.ones(3))], given, [1], 2.0)
        np.testing.assert_array_equal(made.rhs[1][1], wanted.rhs[1][1])
        np.testing.assert_array_equal(made.operators[0][1].toarray(), wanted.operators[0][1].toarray())


def test_imaginary_parts_that_are_zero_may_be_dropped() -> None:
    assert rbm.csr(CSR * (1 + 0j)).dtype == complex
    real = rbm.csr(CSR * (1 + 0j), real_if_exact=True)
    assert real.dtype == float
    np.testing.assert_array_equal(real.toarray(), MATRIX)
    assert rbm.csr(CSR + 1e-300j * CSR, real_if_exact=True).dtype == complex


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("K.mtx", r"rbm\.csr reads matrices of NGSolve, .* got a str"),
        (None, r"got a NoneType"),
        (3.0, r"got a float"),
        (np.ones(3), r"the ndarray has shape \(3,\); a matrix has two axes"),
        (np.array([[1.0, np.nan]]), r"NaN or infinite"),
        (NgsolveForm(None), r"the NgsolveForm has no entries to read \(TypeError: matrix not ready\); assemble it"),
        (MfemLike(finalized=False), r"the MfemLike is not finalised; call \.Finalize\(\)"),
        (PetscLike(rows=2), r"the PetscLike of 3 rows has 2 of them in this process"),
    ],
)
def test_what_cannot_be_read(given: Any, message: str) -> None:
    with pytest.raises(rbm.ModelError, match=message):
        rbm.csr(given)


def certified(operators: Any, rhs: Any, product: Any, free: Any, truth: Any, tol: float = 1e-8) -> None:
    """Greedy over k in [0.1, 10] with A(k) = sum of terms 1 and k, against the other code's own solutions."""
    space = rbm.ParameterSpace({"k": (0.1, 10.0)}, scale="log")
    fixed = np.setdiff1d(np.arange(len(rhs)), free)
    made = rbm.constrain(operators, [(1.0, rhs)], product, fixed)
    model = rbm.FullOrderModel(**made.arguments, parameters=space, stability=rbm.stability.MinTheta([1.0]))
    reduced = rbm.greedy(model, space.sample(100), tol=tol).reduced_model
    for mu in space.sample(3, "random"):
        solution = reduced.solve(mu)
        error = (reduced.constraints.expand(reduced.reconstruct(solution))[0] - truth(mu[0]))[made.free]
        assert np.sqrt(error @ (made.product @ error)) <= solution.bound[0] + 1e-10


def test_ngsolve() -> None:
    ng = pytest.importorskip("ngsolve")
    from netgen.geom2d import unit_square

    mesh = ng.Mesh(unit_square.GenerateMesh(maxh=0.15))
    fes = ng.H1(mesh, order=2, dirichlet="left|bottom")
    u, v = fes.TnT()

    def form(integrand: Any, **options: Any) -> Any:
        made = ng.BilinearForm(fes, **options)
        made += integrand
        made.Assemble()
        return made

    grad, dx = ng.grad, ng.dx
    stiffness, mass = form(grad(u) * grad(v) * dx), form(u * v * dx, symmetric=True, symmetric_storage=True)
    load = ng.LinearForm(fes)
    load += v * ng.ds("top")
    load.Assemble()

    def truth(k: float) -> np.ndarray:
        field = ng.GridFunction(fes)
        whole = form(grad(u) * grad(v) * dx + k * u * v * dx)
        field.vec.data = whole.mat.Inverse(fes.FreeDofs()) * load.vec
        return np.array(field.vec)

    free = np.flatnonzero(np.array(fes.FreeDofs()))
    certified([(1.0, stiffness), ("k", mass.mat)], np.array(load.vec), stiffness, free, truth)
    assert abs(rbm.csr(mass) - rbm.csr(form(u * v * dx))).max() == 0
    unassembled = ng.BilinearForm(fes)
    with pytest.raises(rbm.ModelError, match="assemble it"):
        rbm.csr(unassembled)
    blocks = ng.H1(mesh, order=1, dim=2)
    u, v = blocks.TnT()
    block_form = ng.BilinearForm(blocks)
    block_form += ng.InnerProduct(grad(u), grad(v)) * dx
    block_form.Assemble()
    with pytest.raises(rbm.ModelError, match="has no entries to read"):
        rbm.csr(block_form)


def test_mfem() -> None:
    mfem = pytest.importorskip("mfem.ser")
    mesh = mfem.Mesh(8, 8, "QUADRILATERAL")
    elements = mfem.H1_FECollection(2, 2)
    space = mfem.FiniteElementSpace(mesh, elements)
    essential = mfem.intArray()
    space.GetEssentialTrueDofs(mfem.intArray([1] * mesh.bdr_attributes.Max()), essential)
    one = mfem.ConstantCoefficient(1.0)

    def form(*integrators: Any) -> Any:
        made = mfem.BilinearForm(space)
        for integrator in integrators:
            made.AddDomainIntegrator(integrator)
        made.Assemble()
        return made

    stiffness, mass = form(mfem.DiffusionIntegrator(one)), form(mfem.MassIntegrator(one))
    with pytest.raises(rbm.ModelError, match="is not finalised"):
        rbm.csr(stiffness)
    stiffness.Finalize(), mass.Finalize()
    load = mfem.LinearForm(space)
    load.AddDomainIntegrator(mfem.DomainLFIntegrator(one))
    load.Assemble()
    f = load.GetDataArray().copy()
    fixed = np.array(essential.ToList())

    def truth(k: float) -> np.ndarray:
        scaled = mfem.ConstantCoefficient(k)
        whole = form(mfem.DiffusionIntegrator(one), mfem.MassIntegrator(scaled))
        matrix, x, b, full = mfem.OperatorPtr(), mfem.Vector(), mfem.Vector(), mfem.GridFunction(space)
        full.Assign(0.0)
        whole.FormLinearSystem(essential, full, load, matrix, x, b)
        preconditioner = mfem.GSSmoother(mfem.OperatorHandle2SparseMatrix(matrix))
        mfem.PCG(matrix.Ptr(), preconditioner, b, x, 0, 2000, 1e-28, 0.0)
        whole.RecoverFEMSolution(x, load, full)
        return full.GetDataArray().copy()

    free = np.setdiff1d(np.arange(len(f)), fixed)
    certified([(1.0, stiffness), ("k", mass.SpMat())], f, stiffness, free, truth)


def test_scikit_fem() -> None:
    import skfem
    from skfem.helpers import dot, grad

    basis = skfem.Basis(skfem.MeshTri().refined(3), skfem.ElementTriP2())
    stiffness = skfem.BilinearForm(lambda u, v, w: dot(grad(u), grad(v))).assemble(basis)
    mass = skfem.BilinearForm(lambda u, v, w: u * v).assemble(basis)
    load = skfem.LinearForm(lambda v, w: v).assemble(basis)
    boundary = basis.get_dofs().all()

    def truth(k: float) -> np.ndarray:
        solved: np.ndarray = skfem.solve(*skfem.condense(stiffness + k * mass, load, D=boundary))
        return solved

    free = np.setdiff1d(np.arange(len(load)), boundary)
    certified([(1.0, rbm.csr(stiffness)), ("k", rbm.csr(mass))], load, rbm.csr(stiffness), free, truth)
