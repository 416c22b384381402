"""Reduced outputs from files that are damaged or foreign: one clear error for whatever an array may hold."""

from __future__ import annotations

import contextlib
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers.damaged_arrays import MISSING, damages, with_array
from helpers.small_models import matrices

import rbm
from rbm.parameters.coefficients import Coefficients
from rbm.reduced.outputs import AtPoints

KINDS = ["linear", "quadratic", "compliant", "primal-dual"]
#: What older files lack.
OPTIONAL = {("linear", "defects"), ("linear", "rounding"), ("quadratic", "rounding"), ("quadratic", "orthonormality")}
OPTIONAL |= {(kind, name) for kind in ("compliant", "primal-dual") for name in ("defects", "rounding")}
OPTIONAL |= {("compliant", "real")}
#: Real arrays of a real model that may be complex.
COMPLEX = {"vectors", "dual", "matrices", "operators", "rhs", "factor", "correction", "dual_operators", "dual_rhs"}
COMPLEX |= {"dual_factor"}


@cache
def reduced(complex_valued: bool) -> rbm.ReducedModel:
    """A model with an output of each kind."""
    stiffness, mass, load = matrices("complex sparse" if complex_valued else "sparse")
    outputs = {
        "linear": [("k", np.arange(1.0, len(load) + 1)), (1.0, np.ones(len(load)))],
        "quadratic": stiffness,
        "compliant": load.conj(),
        "primal-dual": np.linspace(0, 1, len(load)),
    }
    model = rbm.FullOrderModel(
        [("k", stiffness), ("h", mass)],
        [(1.0, load)],
        stiffness + mass,
        {"k": (1.0, 2.0), "h": (0.5, 50.0)},
        0.5,
        outputs,
    )
    made = rbm.greedy(model, model.parameters.sample(20), tol=1e-3, dual=("primal-dual",)).reduced_model
    assert [output.kind for output in made.outputs.values()] == KINDS
    return made


def answers(output: Any, model: rbm.ReducedModel) -> tuple[Any, Any]:
    mus = model.parameters.sample(4)
    solution = model.solve(mus)
    theta, phi = model.operator_coefficients(mus), model.rhs_coefficients(mus)
    at = AtPoints(mus, theta, phi, solution.coefficients, np.full(4, 0.5), solution.bound)
    if hasattr(output, "certified"):
        return output.certified(at)
    return output.value(mus, at.gamma), output.bound(mus, at.gamma, at.error)


@pytest.mark.parametrize(("kind", "complex_valued"), [("linear", False), *((kind, True) for kind in KINDS)])
def test_damaged_arrays_are_refused_or_make_an_output(kind: str, complex_valued: bool) -> None:
    model = reduced(complex_valued)
    output = model.outputs[kind]
    arrays = output.arrays()
    for one, other in zip(answers(type(output).from_arrays(arrays), model), answers(output, model), strict=True):
        np.testing.assert_array_equal(one, other)
    for name, array in arrays.items():
        coefficients = isinstance(array, Coefficients)
        for what, damaged, must in damages(np.ones(2) if coefficients else array):
            must = (must or coefficients) and (name, what) != ("dual", "none of it")  # that of a functional of zeros
            allowed = (what == "missing" and (kind, name) in OPTIONAL) or (
                what == "complex numbers" and name in COMPLEX
            )
            changed = {n: a for n, a in arrays.items() if n != name} | ({} if damaged is MISSING else {name: damaged})
            made, error = attempted(type(output).from_arrays, changed)
            assert (error is not None) or allowed or not must, (name, what)
            if error is not None:
                assert type(error) is ValueError, (name, what, error)
                assert not (allowed and what == "missing"), (name, what)
            # a file of another size is refused when it is read; complex numbers in a real model need other kernels
            elif made.size == output.size and what != "complex numbers":
                with contextlib.suppress(rbm.ModelError):  # that the dual system is singular, for instance
                    assert [numbers.shape for numbers in answers(made, model)] == [(4,), (4,)]


def attempted(function: Any, given: Any) -> tuple[Any, Exception | None]:
    """Return what it makes, or the error."""
    try:
        return function(given), None
    except ValueError as error:  # no other error may come
        return None, error


@pytest.mark.parametrize("kind", KINDS)
def test_damaged_files_are_refused_or_answer(kind: str, tmp_path: Path) -> None:
    """The same through the reader of files; a seventh of the damages of each array, others for others."""
    model, path = reduced(True), tmp_path / "m.rbm"
    model.save(path)
    content, mus, place = path.read_bytes(), model.parameters.sample(3), KINDS.index(kind)
    arrays = {n: a for n, a in model.outputs[kind].arrays().items() if not isinstance(a, Coefficients)}
    for k, (name, array) in enumerate(arrays.items()):
        for what, damaged, must in list(damages(array, objects=False))[k % 7 :: 7]:
            with_array(path, f"outputs/{place}/{name}", damaged)
            loaded, error = attempted(rbm.load, path)
            allowed = what == "missing" and (kind, name) in OPTIONAL
            must = must and (name, what) != ("dual", "none of it")
            assert (error is not None) or not must or allowed or name in COMPLEX, (name, what)
            if error is None:
                with contextlib.suppress(rbm.ModelError):
                    assert loaded.solve(mus).outputs[kind].shape == (3,)
            else:
                assert isinstance(error, rbm.FileFormatError)
                assert str(path) in str(error)
            path.write_bytes(content)


def test_outputs_of_another_basis_are_refused(tmp_path: Path) -> None:
    """Arrays that fit each other and not the model, be they of one vector, which would be broadcast."""
    model, path = reduced(False), tmp_path / "m.rbm"
    model.save(path)
    for name in ("vectors", "rounding"):
        with_array(path, f"outputs/0/{name}", getattr(model.outputs["linear"], name)[:, :1])
    with pytest.raises(rbm.FileFormatError, match=rf"output 'linear' is for 1 basis vectors, not {model.size}"):
        rbm.load(path)


def test_arrays_that_fit_each_other_and_no_model_are_refused() -> None:
    """Matrices of which kernels would read one half, and residuals of fewer terms than the model has."""
    compliant, dual = (reduced(True).outputs[kind] for kind in ("compliant", "primal-dual"))
    arrays = compliant.arrays()
    operators = arrays["operators"].copy()
    operators[0, 0, 1] += 1e-9
    with pytest.raises(ValueError, match="are not Hermitian"):
        type(compliant).from_arrays({**arrays, "operators": operators})
    arrays = dual.arrays()
    for names in (("factor", "factor_norms", "factor_defects"), ("dual_factor", "dual_norms", "dual_defects")):
        with pytest.raises(ValueError, match="do not fit each other"):
            type(dual).from_arrays({**arrays, **{name: arrays[name][..., :-1] for name in names}})
    cut = {"dual_operators": arrays["dual_operators"][:, :-1], "dual_rhs": arrays["dual_rhs"][:, :-1]}
    with pytest.raises(ValueError, match="do not fit each other"):
        type(dual).from_arrays({**arrays, **cut})
    with pytest.raises(ValueError, match="an offset has numbers and coefficients"):
        type(dual).from_arrays({**arrays, "offset": np.ones(2)})
    with pytest.raises(ValueError, match="'offset' has the shape"):
        type(dual).from_arrays({**arrays, "offset": np.ones(3), "offset_coefficients": arrays["coefficients"]})
    with pytest.raises(ValueError, match="other are not known"):
        type(dual).from_arrays({**arrays, "other": np.ones(2)})
