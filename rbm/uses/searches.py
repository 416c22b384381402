"""Calls an optimiser, of SciPy or a function, on a misfit of parameters in [0, 1]^p."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from rbm.errors import ModelError

__all__ = ["METHODS", "Search", "search_of"]

#: The methods of scipy.optimize.minimize that need no second derivatives; those that take bounds get them.
METHODS = {
    "nelder-mead": True, "powell": True, "cg": False, "bfgs": False, "l-bfgs-b": True, "tnc": True, "cobyla": True,
    "cobyqa": True, "slsqp": True, "trust-constr": True,
}  # fmt: skip
#: Those that take derivatives, which are differences where the misfit has none (:meth:`Candidates.slope`).
SLOPES = frozenset({"cg", "bfgs", "l-bfgs-b", "tnc", "slsqp", "trust-constr"})
EVOLUTION = "differential_evolution"
#: What a method is asked for where nothing is given: Nelder-Mead's own 1e-4 would be of a range, and not of an optimum.
DEFAULTS: dict[str, dict[str, Any]] = {
    "nelder-mead": {"xatol": 1e-7, "fatol": 1e-9, "adaptive": True},
}

#: Evaluations of Nelder-Mead for each parameter: along a direction that stays open it would not end.
LONG = 1000

#: (f, x0) -> what the optimiser says; f takes (p,) or (M, p)
Search = Callable[[Callable[[np.ndarray], Any], np.ndarray], str]


def search_of(optimizer: Any, options: Mapping[str, Any] | None, rng: int) -> tuple[Search, bool]:
    """Return the search, and whether it starts from points; evolution fills the box by itself.

    Raises ModelError for a name that is no method, and for options that are no dictionary or that the function does
    not take.
    """
    if not (options is None or isinstance(options, Mapping)):
        raise ModelError(f"options must be a dictionary, got {type(options).__name__}")
    given = dict(options or {})
    if isinstance(optimizer, str):
        name = optimizer.strip().lower().replace(" ", "-")
        if name.replace("-", "_") == EVOLUTION:
            return _evolution(given, rng), False
        if name in METHODS:
            return _minimize(name, given), True
    elif callable(optimizer):
        return _own(optimizer, given), True
    raise ModelError(
        f"optimizer must be a method of scipy.optimize.minimize, {', '.join(METHODS)}, {EVOLUTION!r}, or a function "
        f"(f, x0, bounds), got {optimizer!r}"
    )


def _minimize(name: str, options: dict[str, Any]) -> Search:
    def search(f: Callable[[np.ndarray], Any], x0: np.ndarray) -> str:
        from scipy.optimize import minimize  # here and not at the top: it takes longer to import than this package

        bounds = [(0.0, 1.0)] * len(x0) if METHODS[name] else None
        made = {**DEFAULTS.get(name, {}), **options}
        if name == "nelder-mead":
            made = {"initial_simplex": _simplex(x0), "maxiter": LONG * len(x0), "maxfev": LONG * len(x0), **made}
        slope = getattr(f, "slope", None) if name in SLOPES and getattr(f, "differentiable", False) else None
        found = minimize(f, x0, method=name, jac=slope, bounds=bounds, options=made)
        return str(found.message)

    return search


def _simplex(x0: np.ndarray) -> np.ndarray:
    """Return a simplex (p + 1, p) with edges of a tenth of the range, towards the middle."""
    step = np.where(x0 > 0.5, -0.1, 0.1)
    return np.concatenate([x0[None], x0 + np.diag(step)])


def _evolution(options: dict[str, Any], rng: int) -> Search:
    def search(f: Callable[[np.ndarray], Any], x0: np.ndarray) -> str:
        from scipy.optimize import differential_evolution

        seed = "rng" if "rng" in inspect.signature(differential_evolution).parameters else "seed"
        made = {seed: rng, "polish": False, "vectorized": True, "updating": "deferred", "tol": 1e-6, **options}
        _check(differential_evolution, EVOLUTION, (f, [(0.0, 1.0)] * len(x0)), {"x0": x0}, made)
        many = (lambda x: f(x.T)) if made["vectorized"] else f
        return str(differential_evolution(many, [(0.0, 1.0)] * len(x0), x0=x0, **made).message)

    return search


def _check(function: Any, name: str, given: tuple[Any, ...], ours: dict[str, Any], options: dict[str, Any]) -> None:
    """Raise ModelError for options that a function does not take, or that are given to it already."""
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):  # a compiled function may say nothing of its arguments
        return
    try:
        if twice := ours.keys() & options:
            raise TypeError(f"{min(twice)!r} is set by calibrate")
        signature.bind(*given, **ours, **options)
    except TypeError as error:
        raise ModelError(
            f"the optimiser {name} is called with f, x0, bounds and the options {sorted(options)}, which do not fit: "
            f"{error}"
        ) from error


def _own(optimizer: Callable[..., Any], options: dict[str, Any]) -> Search:
    _check(optimizer, getattr(optimizer, "__name__", type(optimizer).__name__), (None,) * 3, {}, options)

    def search(f: Callable[[np.ndarray], Any], x0: np.ndarray) -> str:
        found = optimizer(f, x0, [(0.0, 1.0)] * len(x0), **options)
        # what it found is looked at, whatever it calls it; the best point is kept in any case
        point = getattr(found, "x", found)
        if isinstance(point, np.ndarray | list | tuple) and np.shape(point) == x0.shape:
            f(np.asarray(point, dtype=float))
        return str(getattr(found, "message", "the optimiser returned"))

    return search
