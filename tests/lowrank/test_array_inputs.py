"""Every array argument of every public function of lowrank and eim.

Containers are converted or refused by name, never read past.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import scipy.sparse as sp
from scipy.sparse.linalg import LinearOperator, aslinearoperator

import eim
import lowrank
from lowrank.arrays import plain
from lowrank.operators import by_columns

RNG = np.random.default_rng(5)
A = RNG.standard_normal((12, 5))
P = A @ A.T + 12 * np.eye(12)  # Hermitian positive definite
M = np.diag([1.0, 2, 3, 4, 5])
WEIGHTS = np.arange(1.0, 13.0)
LOW = lowrank.truncated_svd(A, 2)
QUANTIZED = lowrank.quantize(A, 4)
SIZES = [10] * 12
CODES = lowrank.ResidualQuantizer(2, 3).fit(A)
FUNCTIONS_OF_X = eim.empirical_interpolation(A, rank=3)
X = np.linspace(0, 1, 9)


def family(k: Any) -> np.ndarray:
    return np.exp(-np.outer(X, np.asarray(k, dtype=float)))


def allocated(**model: Any) -> np.ndarray:
    return np.array(lowrank.allocate_bits(**model, sizes=SIZES, budget=400).real)


SEPARATION = eim.separate(family, np.linspace(1, 2, 6), rank=3)

#: public name, argument: the argument as an array, and a number of the answer for it
SLOTS: dict[tuple[str, str], tuple[np.ndarray, Callable[[Any], Any]]] = {
    ("cross_approximation", "full"): (A, lambda a: lowrank.cross_approximation(a).to_dense()),
    ("cross_approximation", "rook"): (A, lambda a: lowrank.cross_approximation(a, pivoting="rook").to_dense()),
    ("cross_approximation", "rows"): (
        A,
        lambda a: lowrank.cross_approximation((lambda i: a, lambda j: A[:1, j]), shape=(1, 5)).to_dense(),
    ),
    ("interpolative_decomposition", "matrix"): (A, lambda a: lowrank.interpolative_decomposition(a, 3)[1]),
    ("cur", "matrix"): (A, lambda a: lowrank.cur(a, 3).C),
    ("gram_schmidt", "vectors"): (A, lambda a: lowrank.gram_schmidt(a).basis),
    ("gram_schmidt", "product"): (P, lambda p: lowrank.gram_schmidt(A, product=p).basis),
    ("gram_schmidt", "basis"): (np.eye(12)[:, :2], lambda q: lowrank.gram_schmidt(A, basis=q).basis),
    ("gram_schmidt", "product_basis"): (
        np.eye(12)[:, :2],
        lambda q: lowrank.gram_schmidt(A, basis=np.eye(12)[:, :2], product_basis=q).basis,
    ),
    ("pod", "snapshots"): (A, lambda a: lowrank.pod(a).singular_values),
    ("pod", "product"): (P, lambda p: lowrank.pod(A, product=p).singular_values),
    ("pod", "weights"): (WEIGHTS[:5], lambda w: lowrank.pod(A, weights=w).singular_values),
    ("randomized_range", "matrix"): (A, lambda a: lowrank.randomized_range(a, 3)),
    ("randomized_range", "product"): (P, lambda p: lowrank.randomized_range(A, 3, product=p)),
    ("randomized_range", "test_matrix"): (A[:5, :4], lambda w: lowrank.randomized_range(A, 3, test_matrix=w)),
    ("randomized_svd", "matrix"): (A, lambda a: lowrank.randomized_svd(a, 3).s),
    ("randomized_svd", "test_matrix"): (A[:5, :4], lambda w: lowrank.randomized_svd(A, 3, test_matrix=w).s),
    ("truncated_svd", "matrix"): (A, lambda a: lowrank.truncated_svd(a, 3).s),
    ("truncated_svd", "left_product"): (P, lambda p: lowrank.truncated_svd(A, 3, left_product=p).s),
    ("truncated_svd", "right_product"): (M, lambda p: lowrank.truncated_svd(A, 3, right_product=p).s),
    ("truncated_svd", "row_weights"): (WEIGHTS, lambda w: lowrank.truncated_svd(A, 3, row_weights=w).s),
    ("LowRankMatrix", "U"): (LOW.U, lambda u: lowrank.LowRankMatrix(u, LOW.s, LOW.V).to_dense()),
    ("LowRankMatrix", "s"): (LOW.s, lambda s: lowrank.LowRankMatrix(LOW.U, s, LOW.V).to_dense()),
    ("LowRankMatrix", "V"): (LOW.V, lambda v: lowrank.LowRankMatrix(LOW.U, LOW.s, v).to_dense()),
    ("LowRankMatrix", "matvec"): (M, LOW.matvec),
    ("LowRankMatrix", "rmatvec"): (P, LOW.rmatvec),
    ("LowRankMatrix", "estimate_error"): (A, lambda a: np.array(LOW.estimate_error(a))),
    ("quantize", "a"): (A, lambda a: lowrank.quantize(a, 4).to_dense()),
    ("quantize", "weights"): (A**2, lambda h: lowrank.quantize(A, 3, gamma="search", weights=h).to_dense()),
    ("Quantized", "error"): (A, lambda a: np.array(QUANTIZED.error(a))),
    ("allocate_bits", "losses"): (A**2, lambda t: np.array(lowrank.allocate_bits(t, sizes=SIZES, budget=160).bits)),
    ("allocate_bits", "sensitivity"): (WEIGHTS, lambda s: allocated(sensitivity=s)),
    ("allocate_bits", "variance"): (WEIGHTS, lambda v: allocated(variance=v)),
    ("ResidualQuantizer", "X"): (A, lambda x: lowrank.ResidualQuantizer(2, 3).fit(x).codebooks),
    ("ResidualQuantizer", "weights"): (WEIGHTS, lambda w: lowrank.ResidualQuantizer(2, 3).fit(A, w).codebooks),
    ("ResidualQuantizer", "product"): (M, lambda p: lowrank.ResidualQuantizer(2, 3).fit(A, product=p).codebooks),
    ("ResidualCodes", "encode"): (A, lambda a: CODES.encode(a)),
    ("deim", "modes"): (A, eim.deim),
    ("qdeim", "modes"): (A, eim.qdeim),
    ("empirical_interpolation", "snapshots"): (A, lambda a: eim.empirical_interpolation(a).basis),
    ("EmpiricalInterpolation", "interpolate"): (A[:3], FUNCTIONS_OF_X.interpolate),
    ("EmpiricalInterpolation", "coefficients"): (A[:3], FUNCTIONS_OF_X.coefficients),
    ("separate", "candidates"): (np.linspace(1, 2, 6), lambda k: eim.separate(family, k).nodes),
    ("separate", "family"): (
        family(np.linspace(1, 2, 6)),
        lambda g: eim.separate(lambda k: g, np.linspace(1, 2, 6)).nodes,
    ),
    ("Separation", "coefficients"): (np.array([1.2, 1.7]), SEPARATION.coefficients),
    ("Separation", "error"): (np.array([1.2, 1.7]), SEPARATION.error),
    ("lagrange", "coefficients"): (np.array([1.2, 1.7]), eim.lagrange(1, 2, 3).coefficients),
}
#: What takes numbers, or is only returned.
OTHERS = {
    *("CUR", "CrossApproximation", "ErrorEstimate", "GramSchmidt", "InterpolativeDecomposition", "POD"),
    *("BitAllocation", "gaussian_losses", "integer_product"),
}
#: Where a matrix is only multiplied with, a sparse one or an operator will do.
MULTIPLIED = {
    *(("truncated_svd", "matrix"), ("randomized_svd", "matrix"), ("randomized_range", "matrix")),
    *((name, "product") for name in ("gram_schmidt", "pod", "randomized_range", "ResidualQuantizer")),
    *(("truncated_svd", "left_product"), ("truncated_svd", "right_product"), ("LowRankMatrix", "estimate_error")),
}
ALL = pytest.mark.parametrize("slot", SLOTS, ids=" ".join)


def slots_of(slot: tuple[str, str]) -> tuple[np.ndarray, Callable[[Any], Any]]:
    given, answer = SLOTS[slot]
    return (given[:1] if slot[1] == "rows" else given), answer


def test_every_public_name_is_here():
    assert {name for name, _ in SLOTS} | OTHERS == set(lowrank.__all__) | set(eim.__all__)


@ALL
def test_masked_entries_are_refused(slot):
    given, answer = slots_of(slot)
    masked = np.ma.masked_array(given, mask=np.zeros(given.shape, bool))
    assert np.array_equal(answer(masked), answer(given))  # nothing is masked: what is there is taken
    masked.mask.flat[0] = True
    masked = np.ma.masked_array(given, mask=masked.mask)
    with pytest.raises(TypeError, match=f"masked array: 1 of its {given.size} entries are hidden; fill them first"):
        answer(masked)
    if given.ndim == 2 and slot[1] not in ("basis", "product_basis"):  # of which lists are matrices side by side
        with pytest.raises(TypeError, match="masked array"):
            answer(list(masked))


class Frame:
    """What is used of a data frame: it has a shape, an @ of its own that looks at labels, and to_numpy()."""

    def __init__(self, values: np.ndarray) -> None:
        self._values, self.shape = values, values.shape

    def to_numpy(self) -> np.ndarray:
        return self._values

    def __matmul__(self, other: Any) -> Any:
        raise ValueError("matrices are not aligned")


@ALL
def test_what_holds_numbers_is_converted(slot):
    given, answer = slots_of(slot)
    expected = answer(given)
    assert np.array_equal(answer(given.astype(">f8")), expected)  # as files have it
    assert np.array_equal(answer(given.astype(np.longdouble)), expected)
    assert np.asarray(answer(given.astype(np.longdouble))).dtype == np.asarray(expected).dtype
    if given.ndim == 2:
        assert np.array_equal(answer(np.asmatrix(given)), expected)
    assert np.array_equal(answer(Frame(given)), expected)
    if slot[1] not in ("basis", "product_basis"):
        assert np.array_equal(answer(given.tolist()), expected)


@ALL
def test_what_holds_no_numbers_is_refused(slot):
    given, answer = slots_of(slot)
    for bad, kind in ((given.astype(object), "object"), (given.astype(str), "<U")):
        with pytest.raises(TypeError, match=f"must hold numbers, got dtype {kind}"):
            answer(bad)


@ALL
def test_sparse_matrices_and_operators_are_multiplied_with_or_refused(slot):
    given, answer = slots_of(slot)
    if given.ndim == 1:
        return
    expected = answer(given)
    for container in (sp.csr_array, sp.csc_matrix, sp.coo_array, sp.dia_array):
        if slot in MULTIPLIED or slot == ("pod", "snapshots"):
            assert np.allclose(answer(container(given)), expected, rtol=0, atol=1e-12)
        else:
            with pytest.raises(TypeError, match=rf"is a sparse matrix \({container.__name__}\) .* pass .toarray\(\)"):
                answer(container(given))
    for operator in (aslinearoperator(given), vectors_only(given)):
        if slot in MULTIPLIED:
            assert np.allclose(answer(operator), expected, rtol=0, atol=1e-12)
        else:
            with pytest.raises(TypeError, match="is a linear operator"):
                answer(operator)


@pytest.mark.parametrize("slot", sorted(MULTIPLIED), ids=" ".join)
def test_sparse_matrices_of_other_types_are_converted(slot):
    given, answer = slots_of(slot)
    expected = answer(given)
    for dtype in (np.longdouble, ">f8"):
        matrix = sp.csr_array(given)
        matrix.data = matrix.data.astype(dtype)
        assert np.allclose(answer(matrix), expected, rtol=0, atol=1e-12)


def test_what_is_no_array_at_all_is_named():
    for bad in (None, {"a": 1}, "matrix.npy", iter([1.0])):
        with pytest.raises(TypeError, match=f"must be an array of numbers, got {type(bad).__name__}"):
            plain("it", bad)
    with pytest.raises(ValueError, match="its rows differ in length"):
        plain("it", [[1.0, 2.0], [3.0]])
    with pytest.raises(TypeError, match=r"is a LowRankMatrix .* pass .to_dense\(\)"):
        lowrank.cross_approximation(LOW)
    with pytest.raises(ValueError, match="NaN or infinite"):
        lowrank.pod(np.array([[np.longdouble("1e400")]]))
    assert plain("it", np.ones(2, np.float16)).dtype == np.float32
    assert plain("it", [1, 2]).dtype == plain("it", [True]).dtype == np.float64
    assert plain("it", A) is A


# linear operators


def vectors_only(a: np.ndarray) -> LinearOperator:
    """An operator that fails on columns (n, 1)."""

    def times(matrix: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
        def apply(x: np.ndarray) -> np.ndarray:
            assert x.ndim == 1
            return matrix @ x

        return apply

    return LinearOperator(a.shape, matvec=times(a), rmatvec=times(a.conj().T), dtype=a.dtype)


def test_a_transform_along_the_last_axis_is_not_lost():
    """Of a column (n, 1) it is the identity: no error, another matrix."""
    n = 8
    fourier = LinearOperator((n, n), matvec=np.fft.fft, rmatvec=lambda y: n * np.fft.ifft(y), dtype=complex)
    dense = lowrank.truncated_svd(fourier, n).to_dense()
    assert np.allclose(dense, np.fft.fft(np.eye(n), axis=0))


def test_operators_made_of_operators_get_vectors_too():
    b = RNG.standard_normal((5, 5))
    made = {
        "sum": (vectors_only(b) + aslinearoperator(b), 2 * b),
        "product": (vectors_only(A) @ vectors_only(b), A @ b),
        "scaled": (3.0 * vectors_only(A), 3 * A),
        "adjoint": (vectors_only(A).H, A.T),
        "transposed": (vectors_only(A).T, A.T),
        "power": (vectors_only(b) ** 2, b @ b),
    }
    for name, (operator, dense) in made.items():
        assert np.allclose(lowrank.truncated_svd(operator, 5).to_dense(), dense), name
    weighted = lowrank.truncated_svd(vectors_only(A), 5, row_weights=WEIGHTS)
    assert np.allclose(weighted.to_dense(), A)


def test_operators_that_take_blocks_are_left_alone():
    def block(x: np.ndarray) -> np.ndarray:
        assert x.ndim == 2
        return A @ x

    own = LinearOperator(
        A.shape, matvec=vectors_only(A).matvec, rmatvec=A.T.dot, matmat=block, rmatmat=A.T.dot, dtype=float
    )
    assert by_columns(whole := aslinearoperator(sp.csr_array(A))) is whole
    for width in (1, 3):
        assert np.allclose(by_columns(own) @ A[:5, :width], A @ A[:5, :width])
    assert np.allclose(lowrank.randomized_svd(own, 5).to_dense(), A)


def test_a_missing_adjoint_is_named():
    with pytest.raises(TypeError, match="12 x 5 linear operator has no rmatvec"):
        lowrank.randomized_svd(LinearOperator(A.shape, matvec=A.dot, dtype=float), 2)


def test_low_rank_matrices_are_summed_and_divided():
    assert np.allclose(sum([LOW, LOW]).to_dense(), 2 * LOW.to_dense())
    assert np.allclose((LOW / 4).to_dense(), LOW.to_dense() / 4)
    with pytest.raises(TypeError):
        1 + LOW
    with pytest.raises(TypeError):
        LOW / A
