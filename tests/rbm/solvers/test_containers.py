"""Matrices, vectors and bases in any container and number format.

They are taken in double precision, or refused by name.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import scipy.sparse as sp
from scipy.sparse.linalg import LinearOperator, aslinearoperator

import lowrank
import rbm
from rbm.affine.entries import dense_entries, entries
from rbm.solvers.user_code import UserOperator

N = 6
SPACE = rbm.ParameterSpace({"mu": (1.0, 10.0)})
A = np.diag(np.arange(2.0, 2 + N)) + np.diag(-np.ones(N - 1), 1) + np.diag(-np.ones(N - 1), -1)
F = np.arange(1.0, N + 1)
REAL = [np.longdouble, ">f8", "<f4", ">f4", np.float16, np.int8, ">i4", np.int64, np.uint16]
COMPLEX = [np.clongdouble, ">c16", np.complex64]
FORMATS = ["csr", "csc", "coo", "dia", "bsr", "lil", "dok"]


def model(operators: Any = None, rhs: Any = None, product: Any = None, **others: Any) -> rbm.FullOrderModel:
    return rbm.FullOrderModel(
        [(1.0, A), ("mu", np.eye(N))] if operators is None else operators,
        [(1.0, F)] if rhs is None else rhs,
        A if product is None else product,
        SPACE,
        1.0,
        **others,
    )


def in_format(matrix: np.ndarray, fmt: str, dtype: Any) -> Any:
    """A sparse matrix with data of that type.

    Lists and dictionaries of keys know fewer types than arrays of data do.
    """
    made = getattr(sp, f"{fmt}_array")(matrix if fmt not in ("lil", "dok") else matrix.astype(dtype))
    if fmt not in ("lil", "dok"):
        made.data = made.data.astype(dtype)
    return made


@pytest.mark.parametrize("dtype", REAL + COMPLEX, ids=str)
@pytest.mark.parametrize("fmt", ["dense", *FORMATS])
def test_every_number_format_becomes_double_precision(fmt: str, dtype: Any) -> None:
    target = np.dtype(complex if np.dtype(dtype).kind == "c" else float)
    matrix = A * (1 + 2j) if target.kind == "c" else A
    if fmt in ("lil", "dok") and (np.dtype(dtype) == np.float16 or not np.dtype(dtype).isnative):
        pytest.skip("scipy makes no such matrix")
    if np.dtype(dtype).kind == "u":
        matrix = np.abs(matrix)
    given = matrix.astype(dtype) if fmt == "dense" else in_format(matrix, fmt, dtype)
    made = entries("the matrix", given)
    values = made if fmt == "dense" else made.data
    assert (values.dtype, values.dtype.isnative) == (target, True)
    np.testing.assert_array_equal(dense_entries("the matrix", given), matrix)


@pytest.mark.parametrize("fmt", ["dense", *FORMATS])
def test_truth_values_are_zeros_and_ones(fmt: str) -> None:
    given = A != 0 if fmt == "dense" else in_format(A, fmt, bool)
    np.testing.assert_array_equal(dense_entries("the matrix", given), (A != 0).astype(float))


@pytest.mark.every(3)
@pytest.mark.parametrize("dtype", REAL, ids=str)
@pytest.mark.parametrize("sparse", [False, True], ids=["dense", "sparse"])
def test_models_of_any_number_format_are_certified(sparse: bool, dtype: Any) -> None:
    a, one = np.abs(A) if np.dtype(dtype).kind == "u" else A, np.eye(N)
    kind = (lambda x: in_format(x, "csr", dtype)) if sparse else (lambda x: x.astype(dtype))
    made = model(
        [(1.0, kind(a)), ("mu", kind(one))], [(1.0, F.astype(dtype))], kind(a + one), outputs={"s": F.astype(dtype)}
    )
    plain = model([(1.0, a), ("mu", one)], [(1.0, F)], a + one)
    assert made.rhs_terms.dtype == np.float64
    np.testing.assert_allclose(made.solve([[2.0]]), plain.solve([[2.0]]), rtol=1e-14)
    result = rbm.greedy(made, SPACE.sample(10), max_basis=2, progress=False)
    solution = result.reduced_model.solve([[3.3]])
    assert solution.bound[0] >= plain.error_norm([[3.3]], solution.coefficients, result.basis)[0]


def test_extended_precision_is_rounded_and_what_is_beyond_double_precision_refused() -> None:
    third = np.longdouble(1) / 3
    assert model(rhs=[(1.0, np.full(N, third))]).rhs_terms[0, 0] == 1 / 3
    if np.finfo(np.longdouble).max <= np.finfo(float).max:
        pytest.skip("long double is double here")
    huge = np.full(N, np.longdouble("1e400"))
    for given in (huge, np.diag(huge), sp.csr_array(np.diag(huge)), np.diag(huge) * 1j):
        with pytest.raises(
            rbm.ModelError, match=r"x has entries up to 1e\+400, beyond the range of double precision \(1.8e\+308\)"
        ):
            entries("x", given)


@pytest.mark.parametrize("where", ["product", "operators", "rhs", "output", "basis", "coefficients", "solutions"])
@pytest.mark.parametrize("listed", [False, True], ids=["array", "list"])
def test_masked_entries_are_never_unmasked(where: str, listed: bool) -> None:
    plain = model()
    matrix, vector = np.ma.array(A, mask=A == 3.0), np.ma.array(F, mask=F == 2)
    if listed:
        matrix, vector = list(matrix), [vector[k] for k in range(N)]  # holds np.ma.masked
    uses = {
        "product": lambda: model(product=matrix),
        "operators": lambda: model([(1.0, A), ("mu", matrix)]),
        "rhs": lambda: model(rhs=[(1.0, vector)]),
        "output": lambda: model(outputs={"s": vector}),
        "basis": lambda: rbm.project(plain, matrix),
        "coefficients": lambda: plain.residual_norm([[2.0]], [vector], np.eye(N)),
        "solutions": lambda: model(outputs={"s": F}).outputs["s"](np.array([[2.0]]), [vector]),
    }
    with pytest.raises(rbm.ModelError, match=r"masked array with 1 masked entries.*\.filled\(value\)"):
        uses[where]()


def test_masked_arrays_without_masked_entries_are_arrays() -> None:
    made = model([(1.0, np.ma.array(A)), ("mu", np.ma.array(np.eye(N)))], [(1.0, np.ma.array(F, mask=np.zeros(N)))])
    assert type(made.operator_terms[0]) is np.ndarray
    np.testing.assert_array_equal(made.solve([[2.0]]), model().solve([[2.0]]))


def test_np_matrix_is_an_array() -> None:
    made = model([(1.0, np.asmatrix(A)), ("mu", np.asmatrix(np.eye(N)))], [(1.0, np.asmatrix(F))], np.asmatrix(A))
    assert type(made.product) is np.ndarray
    np.testing.assert_array_equal(made.solve([[2.0]]), model().solve([[2.0]]))


def test_data_frames_and_series_are_arrays_unless_entries_are_missing() -> None:
    pandas = pytest.importorskip("pandas")
    made = model([(1.0, pandas.DataFrame(A)), ("mu", pandas.DataFrame(np.eye(N)))], [(1.0, pandas.Series(F))])
    np.testing.assert_array_equal(made.solve([[2.0]]), model().solve([[2.0]]))
    for missing in (pandas.Series([*F[:-1], None], dtype="Float64"), pandas.Series([*F[:-1], None])):
        with pytest.raises(rbm.ModelError, match=r"right-hand side term 0 (must be|has 1 entries that are NaN)"):
            model(rhs=[(1.0, missing)])


class Frame:
    """What all data frames have in common."""

    def __init__(self, values: Any) -> None:
        self.values = values

    def to_numpy(self) -> np.ndarray:
        return np.array(self.values)


def test_what_has_to_numpy_is_asked() -> None:
    np.testing.assert_array_equal(model(product=Frame(A)).product, A)
    with pytest.raises(rbm.ModelError, match=r"got a Frame of dtype object, the first a float"):
        model(rhs=[(1.0, Frame([1.0, None, 2.0, 3.0, 4.0, 5.0]))])


def test_entries_given_twice_are_added_and_the_matrix_of_the_user_stays_as_it_is() -> None:
    rows, columns = [0, 0, 1, 2, 3, 4, 5, 5], [0, 0, 1, 2, 3, 4, 5, 5]
    values = np.array([1.0, 2.0, 3.0, 3.0, 3.0, 3.0, 5.0, -2.0])
    twice = sp.csr_array((values, (rows, columns)), shape=(N, N))
    raw = sp.csr_array((values, np.array(columns), np.array([0, 2, 3, 4, 5, 6, 8])), shape=(N, N))
    assert raw.nnz == 8
    made = model([(1.0, raw)], product=sp.coo_array((values, (rows, columns)), shape=(N, N)))
    assert made.operator_terms[0].nnz == made.product.nnz == N
    np.testing.assert_array_equal(made.operator_terms[0].toarray(), twice.toarray())
    assert raw.nnz == 8


@pytest.mark.parametrize("where", ["index beyond the matrix", "negative index", "row pointers"])
@pytest.mark.parametrize("fmt", ["csr", "csc"])
def test_sparse_matrices_that_are_damaged_are_refused_before_anything_reads_them(fmt: str, where: str) -> None:
    damaged = getattr(sp, f"{fmt}_array")(A)
    if where == "row pointers":
        damaged.indptr[-1] += 5
    else:
        damaged.indices[2] = 10**6 if where == "index beyond the matrix" else -3
    with pytest.raises(rbm.ModelError, match=rf"operator term 0 is not a valid {fmt}_array: .*make it anew"):
        model([(1.0, damaged)])


@pytest.mark.parametrize("kind", ["POD", "sparse", "integers", "long double", "big-endian", "single", "matrix", "list"])
def test_bases_of_any_kind(kind: str) -> None:
    snapshots = np.round(np.random.default_rng(0).standard_normal((N, 2)) * 8)
    made = {
        "POD": lambda s: lowrank.pod(s, product=A),
        "sparse": sp.csr_array,
        "integers": lambda s: s.astype(int),
        "long double": lambda s: s.astype(np.longdouble),
        "big-endian": lambda s: s.astype(">f8"),
        "single": lambda s: s.astype(np.float32),
        "matrix": np.asmatrix,
        "list": np.ndarray.tolist,
    }[kind](snapshots)
    reduced = rbm.project(model(), made)
    assert reduced.basis.dtype == np.float64
    plain = rbm.project(model(), snapshots)
    np.testing.assert_allclose(reduced.solve([[2.0]]).bound, plain.solve([[2.0]]).bound, rtol=1e-6)


def test_bases_that_are_something_else_are_named() -> None:
    made, snapshots = model(), np.random.default_rng(0).standard_normal((N, 2))
    low_rank = lowrank.truncated_svd(snapshots, 2)
    with pytest.raises(rbm.ModelError, match=r"got a LowRankMatrix; write \.U"):
        rbm.project(made, low_rank)
    rbm.project(made, low_rank.U)
    result = rbm.greedy(made, SPACE.sample(5), max_basis=2, progress=False)
    with pytest.raises(rbm.ModelError, match=r"got a GreedyResult; write \.basis"):
        rbm.project(made, result)
    rbm.project(made, result.basis)
    with pytest.raises(rbm.ModelError, match=r"basis is None; give Z \(n, N\)"):
        rbm.project(made, None)


def test_a_low_rank_matrix_is_an_operator_with_and_without_a_solver() -> None:
    low_rank = lowrank.truncated_svd(np.outer(F, F), 1)
    dense = model([(1.0, A), ("mu", low_rank.to_dense())])
    for solver in (None, np.linalg.solve):
        made = model([(1.0, A), ("mu", low_rank)], solver=solver)
        np.testing.assert_allclose(made.solve([[2.0]]), dense.solve([[2.0]]), rtol=1e-12)
    with pytest.raises(rbm.ModelError, match=r"the product .* got a LowRankMatrix; write \.to_dense\(\)"):
        model(product=low_rank)


WEIGHTS = np.arange(1.0, N + 1)


def of_vectors(dtype: Any = float) -> LinearOperator:
    """x -> w * x, which for a column (n, 1) is a matrix (n, n)."""
    return LinearOperator((N, N), matvec=lambda x: WEIGHTS * x, rmatvec=lambda x: WEIGHTS * x, dtype=dtype)


def only_for_columns(x: np.ndarray) -> np.ndarray:
    return WEIGHTS[:, None] * x[:, [0]]


class OwnMatvec(LinearOperator):
    """A subclass with a matvec for vectors."""

    def __init__(self) -> None:
        super().__init__(np.dtype(float), (N, N))

    def _matvec(self, x: np.ndarray) -> np.ndarray:
        return WEIGHTS * x

    def _adjoint(self) -> OwnMatvec:
        return self


OPERATORS: dict[str, Any] = {
    "matvec of vectors": of_vectors(),
    "in a sum": 0.5 * of_vectors() + 0.5 * aslinearoperator(np.diag(WEIGHTS)),
    "in a product": of_vectors() * aslinearoperator(np.eye(N)),
    "adjoint": of_vectors().H,
    "transposed": of_vectors().T,
    "subclass": OwnMatvec(),
    "with its own matmat": LinearOperator(
        (N, N),
        matvec=lambda x: 1 / 0,
        matmat=lambda x: WEIGHTS[:, None] * x,
        rmatmat=lambda x: WEIGHTS[:, None] * x,
        dtype=float,
    ),
    "for columns only": LinearOperator((N, N), matvec=only_for_columns, rmatvec=only_for_columns, dtype=float),
    "a matrix": aslinearoperator(np.diag(WEIGHTS)),
    "long double": of_vectors(np.longdouble),
}


@pytest.mark.parametrize("name", OPERATORS)
@pytest.mark.parametrize("columns", [0, 1, 3])
def test_operators_are_given_what_their_functions_take(name: str, columns: int) -> None:
    x = np.random.default_rng(0).standard_normal((N, columns))
    operator = UserOperator(OPERATORS[name])
    np.testing.assert_allclose(operator.matmat(x), WEIGHTS[:, None] * x, rtol=1e-15)
    if name not in ("with its own matmat",):
        np.testing.assert_allclose(operator.rmatmat(x), WEIGHTS[:, None] * x, rtol=1e-15)


def solver(a: Any, b: np.ndarray) -> np.ndarray:
    return np.linalg.solve(a if isinstance(a, np.ndarray) else a.matmat(np.eye(N)), b)


@pytest.mark.parametrize("name", OPERATORS)
def test_models_of_such_operators_are_those_of_their_matrices(name: str) -> None:
    made = model([(1.0, A), ("mu", OPERATORS[name])], solver=solver)
    plain = model([(1.0, A), ("mu", np.diag(WEIGHTS))])
    np.testing.assert_allclose(made.solve([[2.0]]), plain.solve([[2.0]]), rtol=1e-13)
    bounds = [rbm.project(m, np.eye(N)[:, :2]).solve([[2.0]]).bound for m in (made, plain)]
    np.testing.assert_allclose(*bounds, rtol=1e-10)


def test_no_matrix_is_made_of_two_vectors() -> None:
    """A matvec of vectors that got a column would make n^2 numbers.

    These may not fit the memory, before anything fails.
    """
    shapes = []
    operator = LinearOperator((N, N), matvec=lambda x: (shapes.append(x.shape), WEIGHTS * x)[1], dtype=float)
    shapes.clear()
    UserOperator(operator).matmat(np.ones((N, 3)))
    assert shapes == [(N,)] * 3


def test_errors_of_an_operator_are_about_the_vector_and_have_its_own_as_cause() -> None:
    def fails(x: np.ndarray) -> np.ndarray:
        raise KeyError(f"{x.ndim} dimensions")

    with pytest.raises(rbm.ModelError, match="the LinearOperator raised KeyError: '1 dimensions'") as error:
        UserOperator(LinearOperator((N, N), matvec=fails, dtype=float)).matmat(np.ones((N, 2)))
    assert isinstance(error.value.__cause__, KeyError)


@pytest.mark.parametrize("kind", [sp.csr_array, sp.csc_matrix, sp.coo_array, sp.dia_array])
def test_a_mask_on_the_data_of_a_sparse_matrix(kind: Any) -> None:
    matrix = kind(sp.diags_array([1.0, 2.0, 3.0]))
    matrix.data = np.ma.array(matrix.data, mask=np.zeros(matrix.data.shape, dtype=bool))
    assert entries("the product", matrix).toarray().trace() == 6
    matrix.data.mask.flat[1] = True
    matrix.data = np.ma.array(matrix.data.data, mask=matrix.data.mask)
    with pytest.raises(rbm.ModelError, match=r"the product is a .* masked array with 1 masked entries"):
        entries("the product", matrix)
