"""Stability bounds from files that are damaged or foreign: one clear error for whatever an array may hold."""

from __future__ import annotations

import contextlib
import re
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers.damaged_arrays import MISSING, damages, with_array
from helpers.small_models import matrices

import rbm
from rbm.stability import SCM, Anchored, MinTheta, NaturalNorm, Pencil
from rbm.storage.registry import find

BOUNDS: dict[str, Any] = {
    "coefficient": "1 + 0 * k",
    "min-theta": MinTheta([1.5, 1.0]),
    "pencil": Pencil(cut=60.0),
    "scm": SCM(tol=0.02),
    "natural-norm": NaturalNorm(ratio=0.9),
    "anchored": Anchored(ratio=0.9),
}
#: Damages that make what an array may be: older files have no slack, coefficients may be complex.
ALLOWED = {("min-theta", "slack", "missing")}
ALLOWED |= {(*of, "complex numbers") for of in (("pencil", "alphas"), ("pencil", "kappas"), ("natural-norm", "theta"))}
ALLOWED |= {("anchored", name, "complex numbers") for name in ("anchors", "transform", "remainder")}
DAMAGED = [(kind, kind not in ("min-theta", "coefficient")) for kind in BOUNDS] + [("scm", False)]


@cache
def model(kind: str, complex_valued: bool) -> rbm.FullOrderModel:
    """Heat with an amount of mass; or with a phase, so that coefficients are complex."""
    stiffness, mass, load = matrices("sparse")
    b = "h*exp(0.5j*k)" if complex_valued and kind != "min-theta" else "h"
    operators = [("k", stiffness), (b, mass)]
    space = {"k": (1.0, 2.0), "h": (0.5, 50.0)}
    return rbm.FullOrderModel(operators, [(1.0, load)], stiffness + mass, space, BOUNDS[kind])


def arrays_of(kind: str, complex_valued: bool) -> dict[str, Any]:
    return model(kind, complex_valued).stability.arrays()  # type: ignore[attr-defined]


@pytest.mark.parametrize(("kind", "complex_valued"), DAMAGED)
def test_damaged_arrays_are_refused_or_make_a_bound(kind: str, complex_valued: bool) -> None:
    made, cls = model(kind, complex_valued), find("stability bound", kind)
    arrays = arrays_of(kind, complex_valued)
    mus = made.parameters.sample(5)
    theta = made.operator_coefficients(mus)
    np.testing.assert_array_equal(cls.from_arrays(arrays)(mus, theta), made.stability(mus, theta))
    for name, array in arrays.items():
        if isinstance(array, rbm.ParameterSpace) or kind == "coefficient":
            cases: Any = [("missing", MISSING, True), ("a text", "k", True), ("none", None, True), ("1", 1.0, True)]
        else:
            cases = damages(array)
        for what, damaged, must in cases:
            changed = {n: a for n, a in arrays.items() if n != name} | ({} if damaged is MISSING else {name: damaged})
            allowed = (kind, name, what) in ALLOWED
            bound, error = attempted(cls.from_arrays, changed)
            assert (error is None) or not allowed, (name, what)
            assert (error is not None) or allowed or not must, (name, what)
            if error is None:
                usable(bound, made, mus, theta)
            else:
                assert type(error) is ValueError, (name, what, error)


def attempted(function: Any, given: Any) -> tuple[Any, Exception | None]:
    """Return what it makes, or the error."""
    try:
        return function(given), None
    except ValueError as error:  # no other error may come
        return None, error


def usable(bound: Any, made: rbm.FullOrderModel, mus: np.ndarray, theta: np.ndarray) -> None:
    """It answers, or says why not, in the words of this package."""
    try:
        rbm.stability.bind(bound, made)
        beta = bound(mus, theta)
    except rbm.StabilityError:
        return
    assert beta.shape == (len(mus),)
    assert beta.dtype == float
    assert np.all(np.isfinite(beta) & (beta > 0))


@pytest.mark.parametrize("kind", [kind for kind in BOUNDS if kind != "coefficient"])
def test_damaged_files_are_refused_or_make_a_bound(kind: str, tmp_path: Path) -> None:
    """The same through the reader of files; a fifth of the damages of each array, others for others."""
    complex_valued = kind != "min-theta"
    made = model(kind, complex_valued)
    path = tmp_path / "m.rbm"
    rbm.project(made, made.solve(made.parameters.sample(3)).T).save(path)
    content, mus = path.read_bytes(), made.parameters.sample(5)
    arrays = {n: a for n, a in arrays_of(kind, complex_valued).items() if not isinstance(a, rbm.ParameterSpace)}
    for k, (name, array) in enumerate(arrays.items()):
        for what, damaged, must in list(damages(array, objects=False))[k % 5 :: 5]:
            with_array(path, f"stability/{name}", damaged)
            allowed = (kind, name, what) in ALLOWED
            loaded, error = attempted(rbm.load, path)
            assert (error is None) or not allowed, (name, what)
            assert (error is not None) or allowed or not must, (name, what)
            if error is not None:
                assert isinstance(error, rbm.FileFormatError)
                assert str(path) in str(error)
                said = r" (Value|Stability)Error |not plain numbers"
                assert re.search(said, str(error)), error
            elif not must:
                with contextlib.suppress(rbm.StabilityError):
                    assert np.all(loaded.solve(mus).bound > 0)
            path.write_bytes(content)
    rbm.load(path)


@pytest.mark.parametrize("kind", ["scm", "natural-norm"])
def test_dependent_vertices_are_refused(kind: str) -> None:
    """A vertex of one inequality twice, and of two that are the same."""
    arrays, cls = arrays_of(kind, True), find("stability bound", kind)
    twice = arrays["active"].copy()
    twice[0, 1] = twice[0, 0]
    with pytest.raises(ValueError, match="do not fit"):
        cls.from_arrays({**arrays, "active": twice})
    rows, first = arrays["rows"].copy(), arrays["active"].copy()
    first[0, :2] = [0, 1]
    rows[1] = rows[0]
    with pytest.raises(ValueError, match="do not fit"):
        cls.from_arrays({**arrays, "active": first, "rows": rows})


def test_vertices_that_are_nearly_dependent_cost_sharpness_and_not_truth() -> None:
    made = model("scm", True)
    arrays, mus = made.stability.arrays(), made.parameters.sample(200)  # type: ignore[attr-defined]
    rows, levels, first = arrays["rows"].copy(), arrays["levels"].copy(), arrays["active"].copy()
    rows[1], levels[1] = rows[0] * [1.0, 1 - 1e-14], levels[0] - 1e-9  # true, as |y| <= 1
    first[:, :2] = [0, 1]
    theta = made.operator_coefficients(mus)
    bound = find("stability bound", "scm").from_arrays({**arrays, "rows": rows, "levels": levels, "active": first[:1]})
    exact = rbm.stability.inf_sup(made, mus)
    found = bound.constant(theta)
    assert np.all(~(found > exact * (1 + 1e-12)))


@pytest.mark.parametrize("kind", ["min-theta", "pencil", "scm", "natural-norm"])
def test_a_bound_of_another_model_is_refused(kind: str, tmp_path: Path) -> None:
    """One with more operator terms: its formula would be about other numbers."""
    bound = model(kind, False).stability
    stiffness, mass, load = matrices("sparse")
    operators = [("k", stiffness), ("h", mass), (1.0, stiffness)]
    with pytest.raises(rbm.StabilityError, match="is for 2 operator terms, this model has 3: it was made for another"):
        rbm.FullOrderModel(operators, [(1.0, load)], stiffness + mass, model(kind, False).parameters, bound)


def test_files_of_another_model_are_refused(tmp_path: Path) -> None:
    """Also where the shapes would be broadcast: a min-theta bound of one term in a model of two."""
    made = model("min-theta", False)
    path = tmp_path / "m.rbm"
    rbm.project(made, made.solve(made.parameters.sample(3)).T).save(path)
    with_array(path, "stability/reference", np.ones(1))
    with_array(path, "stability/slack", np.zeros(1))
    with pytest.raises(rbm.FileFormatError, match=r"m\.rbm is not a complete .* is for 1 operator terms"):
        rbm.load(path)


def test_lengths_that_fit_and_make_no_program() -> None:
    """Each anchor has its normalisation, two rows, at least."""
    arrays = arrays_of("natural-norm", False)
    lengths, cls = arrays["lengths"].copy(), find("stability bound", "natural-norm")
    gone = lengths[0, 0] - 1
    lengths[0, 0] = 1
    changed = {"lengths": lengths, "rows": arrays["rows"][gone:], "levels": arrays["levels"][gone:]}
    with pytest.raises(ValueError, match="do not fit"):
        cls.from_arrays({**arrays, **changed})
