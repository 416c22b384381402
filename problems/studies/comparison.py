"""What a study compares: estimators against the truth, over basis sizes and test parameters."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

import rbm
from lowrank.phases import Phases
from lowrank.progress import progress_bar
from rbm import Estimate, FullOrderModel, GreedyResult

__all__ = ["SELECTING", "Comparison", "Study", "compare"]

#: Estimators that select parameters; their points change with the basis, so they are prepared anew for every N.
SELECTING = ("sampled", "interpolated")


@dataclass(frozen=True)
class Study:
    """A model, its training and test parameters, and the estimators that are compared on it."""

    title: str
    #: from the size, None for that of the study, and whether progress is shown
    model: Callable[[int | None, bool], FullOrderModel]
    measure: str  #: what the size is a number of, and that of the study, in words
    training: int  #: training parameters
    tests: int  #: test parameters
    max_basis: int
    tol: float
    estimators: tuple[str, ...]
    sizes: Callable[[int], Sequence[int]]  #: basis sizes N to compare the estimators at, given the final one
    #: of solutions, by name, from the full model, the reduced one and the size
    figures: Callable[[Any, rbm.ReducedModel, int | None], dict[str, Any]]
    remark: str = ""  #: said before the model is made, if that takes long
    relative: bool = False  #: tol is relative to the norm of the solution
    sampled_up_to: int = 1000  #: largest N for which E3 and E4, whose offline cost grows like N^2, are prepared


@dataclass(frozen=True)
class Comparison:
    """Estimators against the truth on the test parameters, for each basis size."""

    mus: np.ndarray  #: (M, p)
    errors: dict[int, np.ndarray]  #: {N: true error (M,)}
    estimates: dict[str, dict[int, Estimate]]  #: {method: {N: Estimate (M,)}}
    rows: list[dict[str, Any]]  #: for summary.json
    decay: dict[str, np.ndarray]  #: EIM residual histories of E4


def compare(
    model: FullOrderModel,
    result: GreedyResult,
    training: np.ndarray,
    study: Study,
    progress: bool,
    phases: Phases | None = None,
    rng: int = 0,
) -> Comparison:
    """Project onto the first N basis vectors, for each N, and evaluate every estimator and the true error.

    phases : which count the full-order solutions for themselves; rng : of the test parameters, with those of the study
    for 0
    """
    mus = model.parameters.sample(study.tests, "random", rng=rng + 1)
    with (phases or Phases())("full-order solutions"):
        truth = model.solve_extended(mus, progress=progress)
    sizes = list(study.sizes(len(result.parameters)))
    errors: dict[int, np.ndarray] = {}
    estimates: dict[str, dict[int, Estimate]] = {m: {} for m in study.estimators}
    rows: list[dict[str, Any]] = []
    decay: dict[str, np.ndarray] = {}
    selecting = [m for m in study.estimators if m in SELECTING]
    for n in progress_bar(sizes, "comparing estimators", enabled=progress):
        reduced = result.reduced_model.truncate(n)
        if selecting and n <= study.sampled_up_to:
            chosen = rbm.project(model, result.basis[:, :n], ("orthonormal", *selecting), training)
            reduced = replace(reduced, estimators={**reduced.estimators, **chosen.estimators}, refused=chosen.refused)
        gamma = reduced.solve(mus, estimate=False).coefficients
        errors[n] = model.error_norm(mus, gamma, result.basis[:, :n], truth)
        direct = reduced.estimate(mus, gamma, "direct")
        oracle = direct.value
        row: dict[str, Any] = {"N": n, "largest_true_error": float(errors[n].max())}
        row["largest_oracle"] = float(oracle.max())
        for method in study.estimators:
            if method in reduced.refused:
                row[method] = {"refused": reduced.refused[method]}
            if method not in reduced.estimators:
                continue
            estimates[method][n] = e = direct if method == "direct" else reduced.estimate(mus, gamma, method)
            row[method] = _ratios(e, oracle, errors[n], reduced.estimators[method])
        if "interpolated" in reduced.estimators:
            history = reduced.estimators["interpolated"].history  # type: ignore[attr-defined]
            decay[f"$N = {n}$"] = history / history[0]
        rows.append(row)
    return Comparison(mus, errors, estimates, rows, decay)


def _ratios(e: Estimate, oracle: np.ndarray, error: np.ndarray, state: Any) -> dict[str, Any]:
    ratio = e.value / oracle
    figures = {
        "largest_value": float(e.value.max()),
        "largest_bound": float(e.bound.max()),
        "largest_ratio": float(ratio.max()),
        "median_ratio": float(np.median(ratio)),
        "smallest_ratio": float(ratio.min()),
        "unresolved": int((~e.resolved).sum()),
        "largest_floor": float(e.floor.max()),
        "bounds_below_true_error": int((e.bound < error).sum()),
        "bounds_below_oracle": int((e.bound < oracle).sum()),
        "smallest_effectivity": float((e.bound / error).min()),
        "largest_effectivity": float((e.bound / error).max()),
    }
    if hasattr(state, "squares"):
        figures["terms"] = len(state.squares)
        figures["products"] = state.products_total
    return figures
