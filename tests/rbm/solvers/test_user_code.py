"""Solvers, operators and coefficients of the user: they may write to what they get, and cannot change what is ours."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import scipy.linalg
import scipy.sparse as sp
from helpers.small_models import N, matrices
from scipy.sparse.linalg import LinearOperator, cg, splu

import rbm
from rbm.affine.inner_product import InnerProduct
from rbm.solvers.user_code import UserOperator, UserSolver

EPS = np.finfo(float).eps
SPACE = rbm.ParameterSpace({"mu": (1.0, 50.0)})


def model(kind: str = "sparse", solver: Any = None) -> rbm.FullOrderModel:
    stiffness, mass, load = matrices(kind)
    return rbm.FullOrderModel(
        [(1.0, stiffness), ("mu", mass)],
        [(1.0, load)],
        stiffness,
        SPACE,
        1.0,
        outputs={"s": load.conj()},
        solver=solver,
    )


def dense(matrix: Any) -> np.ndarray:
    return matrix.toarray() if sp.issparse(matrix) else np.array(matrix)


def overwrites_rhs(a: Any, b: np.ndarray) -> np.ndarray:
    b[...] = scipy.linalg.solve(dense(a), b)
    return b


def overwrites_rhs_with_nonsense(a: Any, b: np.ndarray) -> np.ndarray:
    x = scipy.linalg.solve(dense(a), b)
    b[...] = 7.0
    return x


def overwrites_the_matrix(a: Any, b: np.ndarray) -> np.ndarray:
    x = scipy.linalg.solve(dense(a), b)
    if sp.issparse(a):
        a.data[:], a.indices[:] = 3.0, 0
    else:
        a[...] = 3.0
    return x


def shrinks_the_matrix(a: Any, b: np.ndarray) -> np.ndarray:
    x = scipy.linalg.solve(dense(a), b)
    a.resize((2, 2)) if sp.issparse(a) else a.fill(0.0)
    return x


class ReusesItsBuffer:
    """Returns views of one array, as codes with a work space do."""

    def __init__(self) -> None:
        self.work = np.zeros((N, 200), dtype=complex)

    def __call__(self, a: Any, b: np.ndarray) -> np.ndarray:
        self.work[...] = np.nan
        view = (
            self.work[:, : b.shape[1]] if np.iscomplexobj(a) or np.iscomplexobj(b) else self.work.real[:, : b.shape[1]]
        )
        view[...] = scipy.linalg.solve(dense(a), b)
        return view


def keeps_everything(a: Any, b: np.ndarray, kept: list[np.ndarray] = []) -> np.ndarray:  # noqa: B006
    """Ruins in each call what it got and returned before."""
    for old in kept:
        old[...] = np.nan
    x = scipy.linalg.solve(dense(a), b)
    kept[:] = [x, b]
    return x


def column_by_column(a: Any, b: np.ndarray) -> np.ndarray:
    return np.stack([scipy.linalg.solve(dense(a), b[:, j]) for j in range(b.shape[1])], axis=1)


SOLVERS: dict[str, Callable[[], Any]] = {
    "rhs": lambda: overwrites_rhs,
    "nonsense": lambda: overwrites_rhs_with_nonsense,
    "matrix": lambda: overwrites_the_matrix,
    "shape": lambda: shrinks_the_matrix,
    "buffer": ReusesItsBuffer,
    "keeps": lambda: keeps_everything,
    "columns": lambda: column_by_column,
    "list": lambda: lambda a, b: scipy.linalg.solve(dense(a), b).tolist(),
    "matrix class": lambda: lambda a, b: np.asmatrix(scipy.linalg.solve(dense(a), b)),
    "single": lambda: lambda a, b: scipy.linalg.solve(dense(a), b).astype(np.complex64 if np.iscomplexobj(a) else "f4"),
    "Fortran": lambda: (
        lambda a, b: np.asfortranarray(scipy.linalg.solve(dense(a), b, overwrite_a=True, overwrite_b=True))
    ),
}


@pytest.mark.filterwarnings("ignore:the matrix subclass")
@pytest.mark.parametrize("kind", ["sparse", "dense complex"])
@pytest.mark.parametrize("name", SOLVERS)
def test_whatever_a_solver_does_to_its_arguments_the_answers_are_the_same(name: str, kind: str) -> None:
    honest, other = model(kind), model(kind, SOLVERS[name]())
    training, tests = SPACE.sample(20), SPACE.sample(9, "random", rng=3)
    expected = rbm.greedy(honest, training, max_basis=3, estimators=("E_onb", "E1"), progress=False)
    result = rbm.greedy(other, training, max_basis=3, estimators=("E_onb", "E1"), progress=False)
    np.testing.assert_array_equal(result.parameters, expected.parameters)
    a, b = result.reduced_model.solve(tests), expected.reduced_model.solve(tests)
    np.testing.assert_allclose(a.bound, b.bound, rtol=1e-6)
    np.testing.assert_allclose(a.outputs["s"], b.outputs["s"], rtol=1e-12)
    np.testing.assert_allclose(a.output_bounds["s"], b.output_bounds["s"], rtol=1e-6)
    exact = honest.solve(tests) @ honest.outputs["s"].terms[0]
    assert np.all(np.abs(a.outputs["s"] - exact) <= a.output_bounds["s"])


def test_a_real_system_stays_real_with_a_solver_that_works_in_complex_numbers() -> None:
    other = model("sparse", lambda a, b: scipy.linalg.solve(dense(a).astype(complex), b) * (1 + 1e-9j))
    assert other.solve([3.0]).dtype == float
    np.testing.assert_allclose(other.solve([3.0]), model().solve([3.0]), rtol=4 * EPS)
    result = rbm.greedy(other, SPACE.sample(10), max_basis=2, progress=False)
    assert result.basis.dtype == float


def test_a_factorisation_may_be_kept_with_the_matrix() -> None:
    seen: list[Any] = []

    def solver(a: Any, b: np.ndarray) -> np.ndarray:
        if not hasattr(a, "factor"):
            a.factor = splu(sp.csc_array(a))
            seen.append(a)
        return a.factor.solve(b)

    other = model("sparse", solver)
    rbm.greedy(other, SPACE.sample(10), max_basis=2, progress=False)
    assert len(seen) == 3  # the product and two snapshots, whatever the number of solves
    assert not np.shares_memory(seen[0].data, other.product.data)


def test_a_solver_is_never_called_with_no_columns() -> None:
    columns: list[int] = []

    def solver(a: Any, b: np.ndarray) -> np.ndarray:
        columns.append(b.shape[1])
        return np.stack([cg(a, b[:, j], rtol=1e-14)[0] for j in range(b.shape[1])], axis=1)

    result = rbm.greedy(model("sparse", solver), SPACE.sample(10), max_basis=3, progress=False)
    assert len(result.parameters) == 3
    assert columns
    assert min(columns) == 1
    for matrix, dtype in ((np.eye(3), float), (1j * np.eye(3), complex), (np.eye(3, dtype="f4"), float)):
        nothing = UserSolver(lambda a, b: 1 / 0, matrix)(np.zeros((3, 0)))
        assert nothing.shape == (3, 0)
        assert nothing.dtype == dtype


@pytest.mark.parametrize("order", ["C", "F"])
def test_the_right_hand_side_is_a_writable_copy_in_the_order_it_has(order: Any) -> None:
    given: list[np.ndarray] = []
    rhs = np.asarray(np.random.default_rng(0).standard_normal((3, 2)), order=order)
    rhs.flags.writeable = False
    UserSolver(lambda a, b: given.append(b) or np.array(b), np.eye(3))(rhs)
    assert given[0].flags.writeable
    assert given[0].flags[f"{order}_CONTIGUOUS"]
    assert not np.shares_memory(given[0], rhs)


BAD = {
    "None": (
        lambda x: None,
        r"None for a right-hand side of shape \(14, 1\); it must return a dense array of num",
    ),
    "vector": (
        lambda x: x[:, 0],
        r"shape \(14,\) for a right-hand side of shape \(14, 1\); for one column return x\[:, None\]",
    ),
    "transposed": (lambda x: x.T, r"shape \(1, 14\) for a right-hand side of shape \(14, 1\); transpose it"),
    "too many": (lambda x: np.hstack([x, x]), r"shape \(14, 2\) for a right-hand side of shape \(14, 1\)"),
    "a pair": (lambda x: (x, 0), "a tuple that is no array"),
    "sparse": (lambda x: sp.csr_array(x), r"a sparse csr_array of shape \(14, 1\); .*call .toarray"),
    "objects": (lambda x: x.astype(object), "a ndarray of object; it must return a dense array of numbers"),
    "text": (lambda x: "converged", "a str of <U9"),
    "truth": (lambda x: x > 0, "a ndarray of bool"),
    "masked": (lambda x: np.ma.masked_greater(x, 0), "array with 14 masked entries"),
    "NaN": (
        lambda x: np.where(np.arange(N)[:, None] == 5, np.nan, x),
        r"1 entries that are NaN .* first in row 5 of column 0",
    ),
    "infinite": (lambda x: x / 0, "14 entries that are NaN or infinite"),
}


@pytest.mark.filterwarnings("ignore:divide by zero")
@pytest.mark.parametrize("name", BAD)
@pytest.mark.parametrize("where", ["A(mu)", "product"])
def test_an_answer_that_is_no_solution_is_refused_and_named(name: str, where: str) -> None:
    spoil, message = BAD[name]
    other = model("sparse", lambda a, b: spoil(scipy.linalg.solve(dense(a), b)))
    if where == "A(mu)":
        with pytest.raises(rbm.ModelError, match=f"full-order solve at mu = 2 failed: the solver returned .*{message}"):
            other.solve([2.0])
    else:
        with pytest.raises(rbm.ModelError, match=message):
            other.inner_product.riesz(np.ones((N, 1)))


class Stagnated(Exception):
    pass


class Stagnating:
    """An object that keeps factors, and fails where the first entry of A(mu) is above a limit."""

    def __init__(self, limit: float, in_factorize: bool) -> None:
        self.limit, self.in_factorize = limit, in_factorize

    def factorize(self, matrix: Any) -> Any:
        fails = abs(dense(matrix)[0, 0]) > self.limit

        def solve(rhs: np.ndarray) -> np.ndarray:
            if fails:
                raise Stagnated("after 7 iterations")
            return scipy.linalg.solve(dense(matrix), rhs)

        if fails and self.in_factorize:
            raise Stagnated("after 7 iterations")
        return solve


@pytest.mark.parametrize("kind", ["function", "factorize", "solve"])
def test_errors_of_the_solver_name_the_point_and_leave_the_others(kind: str) -> None:
    limit = abs(dense(model("sparse").assemble(np.array([1.0, 7.0])))[0, 0])
    keeping = Stagnating(limit, kind == "factorize")
    other = model("sparse", keeping if kind != "function" else lambda a, b: keeping.factorize(a)(b))
    with pytest.raises(
        rbm.ModelError, match=r"full-order solve at mu = 9 \(row 1\) failed: the solver raised Stag"
    ) as e:
        other.solve([[2.0], [9.0], [5.0]])
    np.testing.assert_array_equal(e.value.rows, [1])
    np.testing.assert_array_equal(e.value.solution[[0, 2]], other.solve([[2.0], [5.0]]))
    assert isinstance(e.value.__cause__, rbm.ModelError)
    assert isinstance(e.value.__cause__.__cause__, Stagnated)


def test_errors_of_an_operator_name_the_point() -> None:
    stiffness, _, load = matrices("sparse")

    def fails(x: np.ndarray) -> np.ndarray:
        raise Stagnated("no licence")

    operator = LinearOperator((N, N), matvec=fails, dtype=float)
    other = rbm.FullOrderModel(
        [(1.0, stiffness), ("mu", operator)], [(1.0, load)], stiffness, SPACE, 1.0, solver=lambda a, b: b
    )
    with pytest.raises(
        rbm.ModelError, match=r"solve at mu = 2 failed: the LinearOperator raised Stagnated: no licence"
    ):
        other.solve([2.0])


def test_memory_that_is_missing_names_the_point_and_keeps_its_type() -> None:
    def small(a: Any, b: np.ndarray) -> np.ndarray:
        raise MemoryError

    with pytest.raises(MemoryError, match="full-order solve at mu = 2 failed: there is not enough memory"):
        model("sparse", small).solve([2.0])


def test_what_is_no_solver_is_refused() -> None:
    with pytest.raises(rbm.ModelError, match=r"solver='umfpack' is not known; names are 'superlu', 'pardiso'"):
        InnerProduct(np.eye(2), solver="umfpack")
    with pytest.raises(rbm.ModelError, match=r"solver must be a function .*, an object with factorize.*, got 3"):
        InnerProduct(np.eye(2), solver=3)  # type: ignore[arg-type]


@pytest.mark.parametrize("columns", [1, 3])
def test_operators_may_write_to_their_vectors_and_reuse_their_answers(columns: int) -> None:
    _, mass, load = matrices("sparse")
    work = np.zeros((N, N))

    def apply(x: np.ndarray) -> np.ndarray:
        x = x.reshape(N, -1)
        work[:, : x.shape[1]] = mass @ x
        x[...] = -1.0
        return work[:, : x.shape[1]]

    operator = LinearOperator((N, N), matvec=apply, matmat=apply, rmatvec=apply, rmatmat=apply, dtype=float)
    mine = UserOperator(operator)
    x = np.random.default_rng(0).standard_normal((N, columns))
    before = x.copy()
    for product in (mine @ x, mine.H @ x):
        np.testing.assert_array_equal(x, before)
        np.testing.assert_allclose(product, mass @ x, rtol=1e-14)
        assert not np.shares_memory(product, work)
    np.testing.assert_allclose(mine @ x[:, 0], mass @ x[:, 0], rtol=1e-14)
    assert (mine @ np.zeros((N, 0))).shape == (N, 0)

    stiffness = matrices("sparse")[0]
    solver = lambda a, b: np.linalg.solve(a @ np.eye(N), b)  # noqa: E731
    terms = [("mu", operator), (1.0, stiffness)]
    other = rbm.FullOrderModel(terms, [(1.0, load)], stiffness, SPACE, 1.0, solver=solver)
    assert other.operator_terms[0] is operator
    expected, result = (rbm.greedy(m, SPACE.sample(15), max_basis=3, progress=False) for m in (model(), other))
    np.testing.assert_allclose(
        result.reduced_model.solve([[4.0]]).bound, expected.reduced_model.solve([[4.0]]).bound, rtol=1e-6
    )


def test_an_operator_that_returns_nonsense_is_refused() -> None:
    for apply, message in (
        (
            lambda x: x * np.nan,
            r"the LinearOperator returned 3 entries that are NaN .* matrix of columns of shape \(3, 1\)",
        ),
        (lambda x: x[:2], r"the LinearOperator returned shape \(2, 1\)"),
    ):
        with pytest.raises(rbm.ModelError, match=message):
            UserOperator(LinearOperator((3, 3), matvec=apply, matmat=apply, dtype=float)) @ np.ones((3, 1))


@pytest.mark.parametrize("kind", ["sparse", "dense", "sparse complex"])
def test_a_model_does_not_change_with_the_arrays_it_was_made_from(kind: str) -> None:
    stiffness, mass, load = matrices(kind)
    product, output, form = stiffness.copy(), load.conj().copy(), mass.copy()
    made = rbm.FullOrderModel(
        [(1.0, stiffness), ("mu", mass)], [(1.0, load)], product, SPACE, 1.0, outputs={"s": output, "q": form}
    )
    fingerprint, u = made.fingerprint(), made.solve([7.0])
    s = rbm.project(made, u.T).solve([7.0])
    for array in (stiffness, mass, product, form):
        if sp.issparse(array):
            array.data[:], array.indices[:] = 5.0, 0
        else:
            array[...] = 5.0
    load[:], output[:] = np.nan, np.nan
    assert made.fingerprint() == fingerprint
    np.testing.assert_array_equal(made.solve([7.0]), u)
    again = rbm.project(made, u.T).solve([7.0])
    assert again.outputs["s"][0] == s.outputs["s"][0]
    assert again.outputs["q"][0] == s.outputs["q"][0]
    assert again.bound[0] == s.bound[0]


def doubles(mus: np.ndarray) -> np.ndarray:
    mus *= 2
    return mus[:, 0]


def test_a_coefficient_cannot_write_to_the_parameters() -> None:
    stiffness, mass, load = matrices("sparse")
    mus = np.array([[2.0], [5.0]])
    message = "coefficient callable 'doubles' failed for mus .*read-only; mus cannot be written to: write mus = 2"
    for place in ("operators", "rhs", "stability", "outputs"):
        parts: dict[str, Any] = {
            "operators": [(1.0, stiffness), ("mu", mass)],
            "rhs": [(1.0, load)],
            "stability": 1.0,
            "outputs": {"s": [(1.0, load)]},
        }
        parts[place] = doubles if place == "stability" else parts[place]
        if place in ("operators", "rhs"):
            parts[place] = [*parts[place], (doubles, parts[place][0][1])]
        elif place == "outputs":
            parts[place] = {"s": [(doubles, load)]}
        made = rbm.FullOrderModel(product=stiffness, parameters=SPACE, **parts)
        with pytest.raises(rbm.ModelError, match=message) as caught:
            rbm.project(made, np.eye(N)[:, :1]).solve(mus)
        assert isinstance(caught.value.__cause__, ValueError)
        np.testing.assert_array_equal(mus, [[2.0], [5.0]])


def test_a_coefficient_that_writes_to_what_it_got_or_returned_before_changes_nothing() -> None:
    kept: list[np.ndarray] = []

    def first(mus: np.ndarray) -> np.ndarray:
        for old in kept:
            old.flags.writeable = True
            old[...] = 1e9
        values = 3.0 * mus[:, 0]
        kept[:] = [mus, values]
        return values

    def column(mus: np.ndarray) -> np.ndarray:
        return mus[:, 0]

    stiffness, mass, load = matrices("sparse")
    terms = [(first, mass), (column, mass), (first, mass), (1.0, stiffness)]
    made = rbm.FullOrderModel(terms, [(1.0, load)], stiffness, SPACE, 1.0)
    mus = np.array([[2.0], [5.0]])
    values = made.operator_coefficients(mus)
    np.testing.assert_array_equal(made.operator_coefficients(mus), values)
    np.testing.assert_array_equal(values, [[6, 2, 6, 1], [15, 5, 15, 1]])
    np.testing.assert_array_equal(mus, [[2.0], [5.0]])


def test_a_training_set_is_neither_changed_nor_kept() -> None:
    training = SPACE.sample(30)
    before = training.copy()

    def solver(a: Any, b: np.ndarray) -> np.ndarray:
        training[...] = 1.0  # the user's own array, in the middle of the run
        return scipy.linalg.solve(dense(a), b)

    result = rbm.greedy(model("sparse", solver), training, max_basis=3, progress=False)
    expected = rbm.greedy(model(), before, max_basis=3, progress=False)
    np.testing.assert_array_equal(result.parameters, expected.parameters)
    mus = before[:5].copy()
    answer = expected.reduced_model.solve(mus)
    values = answer.coefficients.copy()
    mus[...] = 1.0
    np.testing.assert_array_equal(answer.coefficients, values)


@pytest.mark.parametrize("estimator", ["direct", "orthonormal", "expanded", "sampled", "interpolated"])
@pytest.mark.parametrize("projection", ["galerkin", "least-squares"])
@pytest.mark.parametrize("kind", ["sparse", "dense complex"])
def test_a_right_hand_side_of_zero(kind: str, projection: Any, estimator: str) -> None:
    stiffness, mass, load = matrices(kind)
    rhs = [("mu - mu", load), (1.0, 0 * load)]
    made = rbm.FullOrderModel([(1.0, stiffness), ("mu", mass)], rhs[1:], stiffness, SPACE, 1.0)
    basis = np.eye(N)[:, :2]
    solution = rbm.project(made, basis, (estimator,), projection=projection).solve([[2.0], [9.0]])
    assert not np.any(solution.coefficients)
    assert not np.any(solution.bound)
    for terms in (rhs[1:], rhs[:1], rhs):
        made = rbm.FullOrderModel([(1.0, stiffness), ("mu", mass)], terms, stiffness, SPACE, 1.0)
        for relative in (False, True)[: 1 + (terms is rhs)]:
            with pytest.raises(
                rbm.ModelError, match=r"right-hand side is zero on the whole training set: so is every solution; give"
            ):
                rbm.greedy(
                    made,
                    SPACE.sample(12),
                    estimators=(estimator,),
                    projection=projection,
                    relative=relative,
                    progress=False,
                )


@pytest.mark.parametrize("estimator", ["direct", "orthonormal", "expanded", "sampled", "interpolated"])
@pytest.mark.parametrize("relative", [False, True], ids=["absolute", "relative"])
@pytest.mark.parametrize("projection", ["galerkin", "least-squares"])
def test_a_right_hand_side_that_is_zero_at_some_points_only(projection: Any, relative: bool, estimator: str) -> None:
    """Nothing is selected there, and the basis goes on to the tolerance at all others."""
    stiffness, mass, load = matrices("sparse")
    space = rbm.ParameterSpace({"mu": (1.0, 50.0)})
    made = rbm.FullOrderModel(
        [(1.0, stiffness), ("mu", mass)],
        [("mu - 1", load), ("(mu - 1)**2", load * np.arange(N)), (1.0, 0 * load)],
        stiffness,
        space,
        1.0,
        outputs={"s": load, "nothing": 0 * load},
    )
    training = np.concatenate([[[1.0]], space.sample(200), [[1.0]]])
    result = rbm.greedy(
        made, training, tol=1e-2, estimators=(estimator,), projection=projection, relative=relative, progress=False
    )
    assert result.stopped == "tolerance" or "matrix T" in result.reason  # which E3 cannot do without
    assert np.all(result.parameters > 1)
    answer = result.reduced_model.solve([[1.0], [30.0]])
    assert not np.any(answer.coefficients[0])
    assert answer.outputs["s"][0] == 0
    error = made.error_norm([[1.0], [30.0]], answer.coefficients, result.basis)
    assert np.all(answer.bound >= error)
    assert not np.any(answer.output_bounds["nothing"])
