"""Natural mistakes with a full-order model.

Each message says what is wrong, the value, and a remedy, which is carried out here.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.io
import scipy.sparse as sp

import rbm
from problems import reaction_diffusion_1d
from rbm.stability.bound import Anchored, MinTheta

N = 12
ONE = np.ones(N)
K = (sp.diags_array([-ONE[1:], 2 * ONE, -ONE[1:]], offsets=[-1, 0, 1]) * (N + 1)).tocsr()
M = (sp.diags_array([ONE[1:], 4 * ONE, ONE[1:]], offsets=[-1, 0, 1]) / (6 * (N + 1))).tocsr()
F = ONE / (N + 1)
SPACE = rbm.ParameterSpace({"mu": (1.0, 100.0)})


def model(**given: Any) -> rbm.FullOrderModel:
    """-u'' + mu u = 1, with what a test replaces; what is None is left out."""
    whole = {
        "operators": [(1.0, K), ("mu", M)],
        "rhs": [(1.0, F)],
        "product": K,
        "parameters": SPACE,
        "stability": 1.0,
    } | given
    return rbm.FullOrderModel(**{k: v for k, v in whole.items() if v is not None})


def certified(made: rbm.FullOrderModel) -> bool:
    """True if a reduced model of it answers, with bounds that hold."""
    result = rbm.greedy(made, made.parameters.sample(20), tol=1e-9, progress=False)
    mus = made.parameters.sample(5, "random", rng=1)
    solution = result.reduced_model.solve(mus)
    return bool(np.all(solution.bound >= made.error_norm(mus, solution.coefficients, result.basis) - 1e-14))


class PetscLike:
    """As petsc4py's Mat shows its entries."""

    def getValuesCSR(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        return K.indptr, K.indices, K.data


def from_petsc(matrix: PetscLike) -> sp.csr_array:
    i, j, v = matrix.getValuesCSR()
    return sp.csr_array((v, j, i))


class VectorLike:
    """As petsc4py's Vec shows its entries."""

    def getArray(self) -> np.ndarray:
        return F


class OtherMatrix:
    """Of a package with a way to SciPy."""

    def to_scipy(self) -> Any:
        return K


class Opaque:
    """Of a package without."""


class LowRank:
    """With products and without entries."""

    shape, dtype = (N, N), np.dtype(float)

    def matvec(self, x: np.ndarray) -> np.ndarray:
        return K @ x

    def to_dense(self) -> np.ndarray:
        return K.toarray()


FORGOTTEN = {
    "product": (K, r"also needs product:\n  product: the matrix P .*the stiffness matrix K, K \+ M where"),
    "stability": (
        1.0,
        r"also needs stability:\n  stability: .*MinTheta.*NaturalNorm.*such as 1\.0 if P is A\(mu_ref\)",
    ),
    "parameters": (SPACE, r"also needs parameters:\n  parameters: names and ranges, rbm\.ParameterSpace"),
}


@pytest.mark.parametrize("name", FORGOTTEN)
def test_what_was_forgotten_is_named_with_what_to_choose(name: str) -> None:
    remedy, message = FORGOTTEN[name]
    with pytest.raises(rbm.ModelError, match=message):
        model(**{name: None})
    assert certified(model(**{name: remedy}))


def test_all_that_was_forgotten_is_said_at_once() -> None:
    with pytest.raises(
        rbm.ModelError, match=r"also needs product and parameters and stability:\n  product: (.*\n)*  stability: "
    ):
        rbm.FullOrderModel([(1.0, K)], [(1.0, F)])


@pytest.mark.parametrize("stability", [1.0, MinTheta([2.0]), Anchored(progress=False), "2 * mu / (1 + mu)"])
def test_each_choice_of_stability_that_is_named_works(stability: Any) -> None:
    operators = [("mu", K)] if isinstance(stability, str) else [(1.0, K), ("mu", M)]
    assert certified(model(stability=stability, operators=operators))


def test_a_greedy_without_training_parameters() -> None:
    with pytest.raises(rbm.ParameterError, match=r"greedy also needs training.*model\.parameters\.sample\(500\)"):
        rbm.greedy(model())
    made = model()
    assert rbm.greedy(made, made.parameters.sample(500), tol=1e-3, progress=False).stopped == "tolerance"


# argument, what was given, message, the remedy that the message names
CONTAINERS: dict[str, tuple[str, Any, str, Any]] = {
    "a file name": (
        "product",
        "K.mtx",
        r"the product must be .*got the text 'K\.mtx'; .*rbm\.read_matrices\('K\.mtx'\)",
        K,
    ),
    "a path": ("product", Path("K.mtx"), r"the text 'K\.mtx'", K),
    "PETSc": (
        "product",
        PetscLike(),
        r"got a PetscLike of another code; write rbm\.csr\(matrix\)",
        from_petsc(PetscLike()),
    ),
    "another package": ("product", OtherMatrix(), r"got a OtherMatrix; write \.to_scipy\(\)", OtherMatrix().to_scipy()),
    "an object": ("product", Opaque(), r"got a Opaque; give a NumPy array or a scipy\.sparse matrix", K),
    "no entries": ("product", sp.linalg.aslinearoperator(K), r"the product .* which shows no entries; give", K),
    "a function": ("product", lambda mu: K, r"got the function <lambda>; give the matrix", K),
    "a dictionary": ("product", {"K": K}, r"got a dict", K),
    "a list of matrices": ("product", [K, M], r"the product .*list of dtype object, the first a csr_array", K),
    "ragged": ("product", [[1.0, 2.0], [3.0]], r"the product is a list that NumPy does not read", K),
    "operator by name": ("operators", [(1.0, "K.mtx")], r"operator term 0 must be .*'K\.mtx'", [(1.0, K)]),
    "operator of PETSc": (
        "operators",
        [(1.0, K), ("mu", PetscLike())],
        r"operator term 1 .* write rbm\.csr\(matrix\)",
        [(1.0, K), ("mu", from_petsc(PetscLike()))],
    ),
    "vector of PETSc": (
        "rhs",
        [(1.0, VectorLike())],
        r"right-hand side term 0 .*write vector\.getArray\(\)",
        [(1.0, VectorLike().getArray())],
    ),
    "rhs by name": ("rhs", [(1.0, "f.npy")], r"right-hand side term 0 .*'f\.npy'", [(1.0, F)]),
    "rhs of texts": (
        "rhs",
        [(1.0, np.array(["1"] * N))],
        r"of dtype <U1, the first a str_; .*\.astype\(float\)",
        [(1.0, np.array(["1"] * N).astype(float))],
    ),
    "rhs of objects": (
        "rhs",
        [(1.0, np.array([1] * N, dtype=object))],
        r"of dtype object, the first a int; .*\.astype\(float\)",
        [(1.0, np.array([1] * N, dtype=object).astype(float))],
    ),
    "swapped": (
        "operators",
        [(1.0, K), (M, "mu")],
        r"term 1 of operators is \(csr_array, 'mu'\), in the wrong order.*write \('mu', array\)",
        [(1.0, K), ("mu", M)],
    ),
    "swapped number": (
        "operators",
        [(K, 1.0)],
        r"term 0 of operators is \(csr_array, 1\.0\).*write \(1\.0, array\)",
        [(1.0, K)],
    ),
    "swapped dense": (
        "operators",
        [(K.toarray(), lambda mus: mus[:, 0])],
        r"term 0 of operators is \(ndarray, function\)",
        [(lambda mus: mus[:, 0], K.toarray())],
    ),
    "swapped rhs": ("rhs", [(F, 1.0)], r"term 0 of rhs is \(ndarray, 1\.0\)", [(1.0, F)]),
    "no coefficient": ("rhs", [([1.0], F)], r"the coefficient of term 0 of rhs is a list", [(1.0, F)]),
    "bare matrix": ("operators", K, r"operators must be a list of pairs .* write \[\(1\.0, array\)\]", [(1.0, K)]),
    "bare pair": (
        "operators",
        (1.0, K),
        r"got one pair alone; for a single term write \[\(1\.0, array\)\]",
        [(1.0, K)],
    ),
    "a diagonal": (
        "operators",
        [(1.0, K), (1.0, F)],
        r"operator term 1 has shape \(12,\).*write scipy\.sparse\.diags_array\(vector\)",
        [(1.0, K), (1.0, sp.diags_array(F))],
    ),
    "no solver": (
        "operators",
        [(1.0, LowRank())],
        r"operator term 0 is a LinearOperator \(LowRank\), which shows no entries: give solver=.*\.to_dense\(\)",
        [(1.0, LowRank().to_dense())],
    ),
    "load cases": (
        "rhs",
        [(1.0, np.stack([F, 2 * F, F**2], axis=1))],
        r"\(12, 3\), expected \(12,\).*several right-hand sides: .*\('w0', array\[:, 0\]\)",
        [(1.0, F)],
    ),
    "load cases in rows": (
        "rhs",
        [(1.0, np.stack([F, 2 * F]))],
        r"\(2, 12\).*transpose it; it holds several right-hand sides",
        [(1.0, F)],
    ),
    "sparse load cases": ("rhs", [(1.0, sp.csr_array(np.stack([F, F], axis=1)))], r"has shape \(12, 2\)", [(1.0, F)]),
    "a sparse matrix of as many entries": (
        "rhs",
        [(1.0, sp.csr_array(np.ones((3, 4))))],
        r"has shape \(3, 4\), expected \(12,\)",
        [(1.0, F)],
    ),
    "rhs is an operator": ("rhs", [(1.0, K)], r"has shape \(12, 12\), expected \(12,\)", [(1.0, F)]),
    "Neumann": (
        "product",
        sp.csr_array(K - sp.diags_array(K.sum(axis=1))),
        r"the product is not positive definite.*maps constant vectors to zero.*take K \+ M",
        sp.csr_array(K - sp.diags_array(K.sum(axis=1)) + M),
    ),
    "a row without entries": (
        "product",
        sp.diags_array(np.arange(N, dtype=float)).tocsr(),
        r"not positive definite.*its diagonal entry 0 is 0, and 1 are not positive: eliminate",
        sp.diags_array(1 + np.arange(N, dtype=float)).tocsr(),
    ),
    "indefinite": ("product", K - 50 * sp.eye_array(N), r"not positive definite.*diagonal entry 0 is -24", K),
    "stability 0": ("stability", 0, r"the stability bound is 0; .*MinTheta.*NaturalNorm", MinTheta([1.0])),
    "stability is a list": ("stability", [1.0], r"stability is a list; give a number, .*MinTheta", MinTheta([1.0])),
    "a masked reference": (
        "stability",
        MinTheta(np.ma.array([2.0], mask=[True])),
        r"reference of min-theta has masked entries",
        MinTheta([2.0]),
    ),
    "stability -1": (
        "stability",
        -1.0,
        r"the stability bound is -1; an error bound needs a real number",
        Anchored(progress=False),
    ),
}


@pytest.mark.parametrize("mistake", CONTAINERS)
@pytest.mark.filterwarnings("ignore::scipy.sparse.SparseEfficiencyWarning")
def test_a_mistake_is_named_with_a_remedy_that_works(mistake: str) -> None:
    argument, given, message, remedy = CONTAINERS[mistake]
    with pytest.raises((rbm.ModelError, rbm.StabilityError), match=message):
        model(**{argument: given})
    made = model(**{argument: remedy})
    assert made.solve([[2.0]]).shape == (1, N)


@pytest.mark.parametrize("dense", [False, True], ids=["sparse", "dense"])
@pytest.mark.parametrize("components", [1, 2])
def test_a_neumann_product_is_found_at_once_whatever_its_pivots_are(dense: bool, components: int) -> None:
    """Uneven meshes, whose pivots rounding makes positive or not; two components an unknown, as in elasticity."""
    for seed in range(6):
        h = np.random.default_rng(seed).uniform(0.1, 1.0, 30)
        stiffness = sp.diags_array([-1 / h, np.append(1 / h, 0) + np.append(0, 1 / h), -1 / h], offsets=[-1, 0, 1])
        mass = sp.diags_array((np.append(h, 0) + np.append(0, h)) / 2)
        k, m = (sp.kron(a, np.eye(components), format="csr") for a in (stiffness, mass))
        k, m = (k.toarray(), m.toarray()) if dense else (k, m)
        n = 31 * components
        with pytest.raises(rbm.ModelError, match=r"not positive definite.*maps constant vectors to zero.*take K \+ M"):
            rbm.FullOrderModel([(1.0, k), ("mu", m)], [(1.0, np.ones(n))], k, SPACE, 1.0)
        made = rbm.FullOrderModel([(1.0, k), ("mu", m)], [(1.0, np.ones(n))], k + m, SPACE, 1.0)
        assert made.solve([[2.0]]).shape == (1, n)


def test_a_product_that_nearly_maps_constants_to_zero_but_is_definite_is_taken() -> None:
    """K + 1e-12 M is far from round-off."""
    k = sp.csr_array(K - sp.diags_array(K.sum(axis=1)))
    rbm.FullOrderModel([(1.0, k + M), ("mu", M)], [(1.0, F)], k + 1e-9 * M, SPACE, 1.0)


@pytest.mark.parametrize("shape", [(N, 1), (1, N)])
@pytest.mark.parametrize("kind", [np.asarray, sp.csr_array, sp.coo_array, np.asmatrix])
def test_columns_and_rows_are_vectors(shape: tuple[int, int], kind: Any, tmp_path: Path) -> None:
    vector = F * np.arange(N)
    made = model(rhs=[(1.0, kind(vector.reshape(shape)))], outputs={"s": kind(vector.reshape(shape))})
    plain = model(rhs=[(1.0, vector)], outputs={"s": vector})
    np.testing.assert_array_equal(made.rhs_terms, plain.rhs_terms)
    assert not made.outputs["s"].quadratic
    np.testing.assert_array_equal(made.outputs["s"].terms[0], vector)
    scipy.io.mmwrite(tmp_path / "f.mtx", vector.reshape(N, 1))
    np.testing.assert_array_equal(model(rhs=[(1.0, scipy.io.mmread(tmp_path / "f.mtx"))]).rhs_terms, plain.rhs_terms)


def test_load_cases_as_weights_that_are_parameters() -> None:
    """As the message says."""
    loads = np.stack([F, F * np.arange(N), F**2], axis=1)
    space = rbm.ParameterSpace({"mu": (1.0, 100.0), "w0": (0.0, 1.0), "w1": (0.0, 1.0), "w2": (0.0, 1.0)})
    made = model(rhs=[(f"w{k}", loads[:, k]) for k in range(3)], parameters=space)
    single = model(rhs=[(1.0, loads[:, 1])])
    np.testing.assert_allclose(made.solve([[3.0, 0.0, 1.0, 0.0]]), single.solve([[3.0]]), rtol=1e-14)


def test_several_functionals_get_names() -> None:
    array = np.stack([F, F * np.arange(N), np.eye(N)[3]])
    with pytest.raises(
        rbm.ModelError, match=r"output 'u' has shape \(3, 12\).*several functionals.*enumerate\(array\)"
    ):
        model(outputs={"u": array})
    with pytest.raises(
        rbm.ModelError, match=r"output 'u' has shape \(12, 3\).*transpose it; it holds several functionals"
    ):
        model(outputs={"u": array.T})
    made = model(outputs={f"s{k}": row for k, row in enumerate(array)})
    u = made.solve([[2.0]])
    for k in range(3):
        assert made.outputs[f"s{k}"](np.array([[2.0]]), u)[0] == pytest.approx(array[k] @ u[0])


@pytest.mark.parametrize(
    "given", [((1.0, F), ("mu", F)), [(1.0, F), ("mu", F)], [[1.0, F], ["mu", F]], ([1.0, F], ["mu", F])]
)
def test_terms_of_an_output_are_pairs_in_lists_or_tuples(given: Any) -> None:
    u = model().solve([[3.0]])
    assert model(outputs={"s": given}).outputs["s"](np.array([[3.0]]), u)[0] == pytest.approx(4 * F @ u[0])


def test_an_output_written_as_a_list_of_numbers_is_no_list_of_terms() -> None:
    made = rbm.FullOrderModel(
        [(1.0, np.eye(2))], [(1.0, [1, 2])], np.eye(2), SPACE, 1.0, outputs={"a": [1.0, 2.0], "q": [[2, 1], [1, 2]]}
    )
    assert not made.outputs["a"].quadratic
    assert made.outputs["q"].quadratic
    assert made.outputs["q"](np.array([[1.0]]), np.array([[1.0, 2.0]]))[0] == 14.0


def test_min_theta_says_what_holds_for_terms_that_are_not_semi_definite() -> None:
    convection = sp.diags_array([-ONE[1:], ONE[1:]], offsets=[-1, 1]).tocsr() + 0.6 * sp.diags_array(
        [ONE[1:], ONE[1:]], offsets=[-1, 1]
    )
    operators = [("mu", K), (1.0, convection)]
    with pytest.raises(
        rbm.StabilityError, match=r"operator term 1 is not positive semi-definite.*NaturalNorm\(\) with projection"
    ):
        model(operators=operators, stability=MinTheta([1.0]))
    natural = rbm.stability.NaturalNorm()
    assert certified(model(operators=operators, stability=natural, projection="least-squares"))
    with pytest.raises(rbm.StabilityError, match=r"not positive semi-definite.*Anchored\(\) with projection"):
        model(operators=[(c, a.toarray()) for c, a in operators], stability=MinTheta([1.0]))
    # skew-symmetric convection does no harm to coercivity
    assert certified(model(operators=[("mu", K), (1.0, (convection - convection.T) / 2)], stability="mu"))


def test_a_reference_outside_the_ranges_makes_a_true_bound() -> None:
    """Any point will do for min-theta, though those inside make sharper bounds; Anchored needs its training inside."""
    assert certified(model(stability=MinTheta([1e4])))
    with pytest.raises(rbm.ParameterError, match=r"mu = 200 \(row 1\) is outside \[1, 100\]"):
        model(stability=Anchored(training=[[2.0], [200.0]], progress=False))


def test_a_stability_bound_that_is_too_large_is_named_by_the_greedy() -> None:
    with pytest.raises(
        rbm.StabilityError,
        match=r"the stability bound 50 at mu = .* too large by a factor of .*Lower the stability bound",
    ):
        rbm.greedy(model(stability=50.0), SPACE.sample(20), progress=False)


@pytest.mark.parametrize("executor", [4, "threads", ThreadPoolExecutor, 2.5, object()])
def test_what_is_no_executor_is_refused(executor: Any) -> None:
    made = model()
    message = r"executor must be an object with a method map, such as concurrent\.futures\.ThreadPoolExecutor\(4\), got"
    with pytest.raises(rbm.ModelError, match=message):
        made.solve(SPACE.sample(3), executor=executor)


def test_an_executor_serves_the_full_order_solves() -> None:
    made = reaction_diffusion_1d(50)
    mus = made.parameters.sample(37)
    with ThreadPoolExecutor(4) as executor:
        np.testing.assert_array_equal(made.solve(mus, executor=executor), made.solve(mus))
        hi, lo = made.solve_extended(mus[:5], executor=executor)
    np.testing.assert_array_equal(hi, made.solve_extended(mus[:5])[0])
    np.testing.assert_array_equal(lo, made.solve_extended(mus[:5])[1])


def test_a_failing_solve_in_an_executor_names_its_parameter() -> None:
    made = model(operators=[("mu - 3", K)])
    with (
        ThreadPoolExecutor(2) as executor,
        pytest.raises(rbm.ModelError, match=r"full-order solve at mu = 3 \(row 1\) failed"),
    ):
        made.solve([[2.0], [3.0], [4.0]], executor=executor)


@pytest.mark.parametrize(
    ("operators", "rhs", "kind"),
    [
        ([(1.0, K), ("mu", M)], [(1.0, F)], "real"),
        ([(1.0, K), ("1j*mu", M)], [(1.0, F)], "complex"),
        ([(1.0, K), (2j, M)], [(1.0, F)], "complex"),
        ([(1.0, K)], [("exp(1j*mu)", F)], "complex"),
        ([(1.0, K)], [(lambda mus: 1j * mus[:, 0], F)], "complex"),
        ([(1.0, K * (1 + 0j))], [(1.0, F)], "complex"),
        ([(1.0, K)], [(lambda mus: 1 / 0, F)], "real"),
    ],
)
def test_a_model_says_whether_it_is_complex(operators: Any, rhs: Any, kind: str) -> None:
    assert f"FullOrderModel(12 unknowns, {kind}, " in repr(model(operators=operators, rhs=rhs))


@pytest.mark.parametrize(
    ("operators", "remedy"),
    [
        (("mu", K), r"for a single term write \[\('mu', array\)\]"),
        ({1.0: K, "mu": M}, r"operators=list\(d\.items\(\)\)"),
        ({1.0: K}.items(), r"operators=list\(\.\.\.\)"),
        (zip([1.0, "mu"], [K, M], strict=True), r"operators=list\(\.\.\.\)"),
        ((pair for pair in [(1.0, K)]), r"operators=list\(\.\.\.\)"),
        (None, r"FullOrderModel needs operators:\n  operators: the terms of A"),
    ],
)
def test_terms_that_are_no_list_of_pairs(operators: Any, remedy: str) -> None:
    with pytest.raises(rbm.ModelError, match=remedy):
        model(operators=operators)


def test_a_model_of_nothing_says_what_it_needs() -> None:
    with pytest.raises(rbm.ModelError, match=r"needs operators and rhs:\n  operators: .*\n  rhs: "):
        rbm.FullOrderModel()


@pytest.mark.parametrize(
    ("stability", "remedy"),
    [
        (rbm.stability.Anchored, r"give an instance, rbm\.stability\.Anchored\(\)$"),
        (rbm.stability.MinTheta, r"give an instance, rbm\.stability\.MinTheta\(reference"),
        ("min-theta", r"the text 'min-theta', .* give rbm\.stability\.MinTheta\(reference"),
        ("Anchored()", r"give rbm\.stability\.Anchored\(\)$"),
        (lambda mus: mus[0] ** 2, r"write mus\[:, 0\], not mus\[0\]"),
    ],
)
def test_a_stability_bound_by_the_wrong_name(stability: Any, remedy: str) -> None:
    with pytest.raises((rbm.StabilityError, rbm.ModelError), match=remedy):
        model(stability=stability, parameters={"mu": (1.0, 2.0), "k": (1.0, 2.0)}).stability(
            np.ones((5, 2)), np.ones((5, 2))
        )
