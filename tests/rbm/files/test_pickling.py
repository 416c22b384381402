"""Full-order models go to other processes and come back, before and after their first use."""

from __future__ import annotations

import copy
import pickle
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.sparse as sp
from scipy.sparse.linalg import LinearOperator, aslinearoperator

import rbm
from problems import thermal_block
from rbm.stability.bound import Anchored, MinTheta

N = 10
ONE = np.ones(N)
K = (sp.diags_array([-ONE[1:], 2 * ONE, -ONE[1:]], offsets=[-1, 0, 1]) * (N + 1)).tocsr()
M = (sp.diags_array([ONE[1:], 4 * ONE, ONE[1:]], offsets=[-1, 0, 1]) / (6 * (N + 1))).tocsr()
SPACE = rbm.ParameterSpace({"mu": (1.0, 50.0)})


def squared(mus: np.ndarray) -> np.ndarray:
    return mus[:, 0] ** 2


def dense_solver(a: Any, b: np.ndarray) -> np.ndarray:
    matrix = a.toarray() if sp.issparse(a) else a if isinstance(a, np.ndarray) else a @ np.eye(N)
    return np.linalg.solve(matrix, b)


def model(kind: str = "sparse") -> rbm.FullOrderModel:
    k, m = (K.toarray(), M.toarray()) if kind == "dense" else (K, M)
    given: dict[str, Any] = {
        "callable": {"operators": [(1.0, k), (squared, m)]},
        "solver": {"solver": dense_solver},
        "black box": {"operators": [(1.0, k), ("mu", aslinearoperator(m))], "solver": dense_solver},
        "min-theta": {"stability": MinTheta([1.0])},
        "anchored": {"stability": Anchored(progress=False)},
        "complex": {"operators": [(1.0, k), ("mu + 1j", m)], "outputs": {"s": ONE * 1j, "q": k}},
        "interpolated": {"interpolation_error": (1e-6, "1e-6*mu")},
    }.get(kind, {})
    whole = {
        "operators": [(1.0, k), ("mu", m)],
        "rhs": [(1.0, ONE)],
        "product": k,
        "parameters": SPACE,
        "stability": 1.0,
    }
    return rbm.FullOrderModel(**(whole | given))


KINDS = ["sparse", "dense", "callable", "solver", "black box", "min-theta", "anchored", "complex", "interpolated"]


@pytest.mark.every(3)
@pytest.mark.parametrize("used", [False, True], ids=["before use", "after use"])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("way", ["pickle", "deepcopy"])
def test_a_model_is_the_same_after_the_journey(way: str, kind: str, used: bool) -> None:
    made = model(kind)
    if used:
        made.solve([[2.0]])
        made.verify(2)
        rbm.greedy(made, SPACE.sample(10), max_basis=3, progress=False)
    again = pickle.loads(pickle.dumps(made)) if way == "pickle" else copy.deepcopy(made)
    assert again.fingerprint() == made.fingerprint()
    assert repr(again) == repr(made)
    np.testing.assert_array_equal(again.solve([[2.0], [7.0]]), made.solve([[2.0], [7.0]]))
    a, b = (rbm.greedy(m, SPACE.sample(10), max_basis=3, progress=False) for m in (made, again))
    np.testing.assert_array_equal(a.basis, b.basis)
    np.testing.assert_array_equal(a.reduced_model.solve([[3.0]]).bound, b.reduced_model.solve([[3.0]]).bound)


def test_factorisations_stay_at_home() -> None:
    made = thermal_block((2, 2), 12)
    before = len(pickle.dumps(made))
    rbm.greedy(made, made.parameters.sample(20), max_basis=4, progress=False)
    assert len(pickle.dumps(made)) < 1.2 * before  # the order of the unknowns is kept: it is small


def test_worker_processes_solve() -> None:
    made = model("callable")
    mus = SPACE.sample(9)
    made.solve(mus[:1])
    with ProcessPoolExecutor(1) as executor:
        np.testing.assert_array_equal(made.solve(mus, executor=executor), made.solve(mus))


def nested() -> dict[str, Any]:
    def inside(mus: np.ndarray) -> np.ndarray:
        return mus[:, 0]

    return {
        "coefficient": {"operators": [(1.0, K), (lambda mus: mus[:, 0], M)]},
        "coefficient inside a partial": {"operators": [(1.0, K), (partial(lambda mus, j: mus[:, j], j=0), M)]},
        "coefficient inside": {"operators": [(1.0, K), (inside, M)]},
        "coefficient of the right-hand side": {"rhs": [(lambda mus: mus[:, 0], ONE)]},
        "coefficient of an output": {"outputs": {"s": [(inside, ONE)]}},
        "coefficient that is the stability bound": {"stability": lambda mus: 0 * mus[:, 0] + 1},
        "coefficient of the interpolation": {"interpolation_error": (lambda mus: 0 * mus[:, 0], 0.0)},
        "solver": {"solver": lambda a, b: dense_solver(a, b)},
        "function of a LinearOperator": {
            "operators": [(1.0, K), ("mu", LinearOperator((N, N), matvec=lambda x: M @ x, dtype=float))],
            "solver": dense_solver,
        },
    }


@pytest.mark.parametrize("what", nested())
def test_functions_without_a_name_are_named(what: str) -> None:
    whole = {
        "operators": [(1.0, K), ("mu", M)],
        "rhs": [(1.0, ONE)],
        "product": K,
        "parameters": SPACE,
        "stability": 1.0,
    }
    made = rbm.FullOrderModel(**(whole | nested()[what]))
    kind = what.split(" inside")[0].split(" of the")[0].split(" of an")[0].split(" that")[0]
    with pytest.raises(
        rbm.ModelError, match=rf"the {kind} nested\.<locals>\..* cannot be pickled: .*top of a module.*cloudpickle"
    ):
        pickle.dumps(made)
    np.testing.assert_array_equal(copy.deepcopy(made).solve([[2.0]]), made.solve([[2.0]]))
    cloudpickle = pytest.importorskip("cloudpickle")
    again = pickle.loads(cloudpickle.dumps(made))
    np.testing.assert_array_equal(again.solve([[2.0]]), made.solve([[2.0]]))


def test_functions_without_a_name_in_reduced_models_are_named() -> None:
    made = rbm.FullOrderModel([(1.0, K), (lambda mus: mus[:, 0], M)], [(1.0, ONE)], K, SPACE, 1.0)
    result = rbm.greedy(made, SPACE.sample(10), max_basis=2, progress=False)
    for given in (result, result.reduced_model):
        with pytest.raises(rbm.ModelError, match=r"the coefficient test_functions.*<lambda> cannot be pickled"):
            pickle.dumps(given)
        copy.deepcopy(given)
    named = rbm.greedy(model("callable"), SPACE.sample(10), max_basis=2, progress=False)
    pickle.loads(pickle.dumps(named))


def test_a_module_of_the_user_called_copy_switches_no_check_off() -> None:
    made = rbm.FullOrderModel([(1.0, K), (lambda mus: mus[:, 0], M)], [(1.0, ONE)], K, SPACE, 1.0)
    for name in ("mypackage.copy", "mypackage.dill.more", "copyright"):
        theirs: dict[str, Any] = {"__name__": name, "pickle": pickle}
        exec("def send(x):\n    return pickle.dumps(x)", theirs)
        with pytest.raises(rbm.ModelError, match="cannot be pickled"):
            theirs["send"](made)


def test_joblib_stores_and_runs_models(tmp_path: Path) -> None:
    joblib = pytest.importorskip("joblib")
    made = model()
    made.solve([[2.0]])
    joblib.dump(made, tmp_path / "model")
    again = joblib.load(tmp_path / "model")
    answers = joblib.Parallel(2, prefer="threads")(joblib.delayed(again.solve)([[mu]]) for mu in (2.0, 3.0))
    np.testing.assert_array_equal(answers[1], made.solve([[3.0]]))


def test_no_file_holds_what_the_estimator_direct_needs(tmp_path: Path) -> None:
    rbm.greedy(model(), SPACE.sample(10), max_basis=2, progress=False).reduced_model.save(tmp_path / "model.rbm")
    with pytest.raises(rbm.ModelError, match=r"no estimator 'direct'.*needs the full-order model and is in no file"):
        rbm.load(tmp_path / "model.rbm").solve([[2.0]], method="E1")
