"""Options of stability bounds: one clear error for each that cannot be, and advice that fits the model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers.small_models import matrices

import rbm
from rbm.stability import SCM, Anchored, MinTheta, NaturalNorm, Pencil


def model(stability: Any, kind: str = "sparse", operators: Any = None) -> rbm.FullOrderModel:
    stiffness, mass, load = matrices(kind)
    operators = operators or [(1.0, stiffness), ("k", mass)]
    return rbm.FullOrderModel(operators, [(1.0, load)], stiffness + mass, {"k": (1.0, 2.0)}, stability)


WHOLE = ("3", 2.5, -1, True, None, np.nan, [3])
SHARES = ("x", 0.0, 1.0, -0.1, True, None, np.nan, 10**400, [0.5])
COMMON = {"rng": ("a", -1, 1.5, True, None), "progress": ("x", 1, None), "cache": (3, True, ["folder"])}
WRONG: dict[type, dict[str, tuple[Any, ...]]] = {
    SCM: {"tol": SHARES, "max_constraints": (*WHOLE, 0), **COMMON},
    NaturalNorm: {"ratio": SHARES, "max_anchors": (*WHOLE, 0), "max_constraints": WHOLE, **COMMON},
    Anchored: {"ratio": SHARES, "max_anchors": (*WHOLE, 0), **COMMON},
    Pencil: {
        "stiffness": WHOLE,
        "mass": WHOLE,
        "cut": ("x", np.inf, np.nan, 1j, True, [2.0]),
        "max_eigenvalues": (*WHOLE, 0),
        "progress": COMMON["progress"],
    },
    MinTheta: {"constant": ("x", 0.0, -1, np.nan, np.inf, 1j, True, [1.0])},
}


@pytest.mark.parametrize(
    ("bound", "name", "value"),
    [(cls, name, value) for cls, options in WRONG.items() for name, values in options.items() for value in values],
)
def test_options_that_cannot_be(bound: type, name: str, value: Any) -> None:
    given = {"reference": [1.5]} if bound is MinTheta else {}
    with pytest.raises(rbm.StabilityError) as error:
        model(bound(**given, **{name: value}))
    said = str(error.value)
    assert said.startswith(f"{name} must ")
    assert said.endswith(f"got {value!r} (an option of {bound.__name__})")


@pytest.mark.parametrize("bound", [SCM, Anchored, NaturalNorm, Pencil, MinTheta])
def test_numbers_of_other_libraries_are_numbers(bound: type, tmp_path: Path) -> None:
    options: dict[type, dict[str, Any]] = {
        SCM: {"tol": np.float32(0.5), "max_constraints": np.int64(7), "rng": np.uint8(1), "cache": tmp_path},
        Anchored: {"ratio": np.float32(0.5), "max_anchors": np.int32(30)},
        NaturalNorm: {"ratio": np.float64(0.5), "max_anchors": np.int32(9), "cache": str(tmp_path)},
        Pencil: {"stiffness": np.int64(0), "cut": 40, "progress": np.False_},
        MinTheta: {"reference": [1.5], "constant": np.float32(0.5)},
    }
    made = model(bound(**options[bound]))
    mus = made.parameters.sample(3)
    assert np.all(made.stability(mus, made.operator_coefficients(mus)) > 0)


def test_one_anchor_without_constraints_will_do() -> None:
    made = model(NaturalNorm(max_constraints=0, max_anchors=1))
    assert len(made.stability.anchors) == 1


@pytest.mark.parametrize(("kind", "advised"), [("sparse", "NaturalNorm"), ("dense", "Anchored")])
def test_the_advice_fits_the_model(kind: str, advised: str) -> None:
    """Where a bound for coercive models is refused: the sparse bound for sparse models, else the dense one."""
    stiffness, mass, _ = matrices(kind)
    operators = [(1.0, mass), ("k", -stiffness)]
    for stability in (MinTheta([1.5]), SCM()):
        with pytest.raises(rbm.StabilityError, match=rf"rbm\.stability\.{advised}\(\) with projection="):
            model(stability, kind, operators)
        found = model({"NaturalNorm": NaturalNorm, "Anchored": Anchored}[advised](), kind, operators)
        assert found.stability.kind == {"NaturalNorm": "natural-norm", "Anchored": "anchored"}[advised]
