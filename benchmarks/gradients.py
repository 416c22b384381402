"""Bounds of derivatives against exact ones: ``python -m benchmarks.gradients [--count 10000] [--figures]``.

Outputs of all kinds, real and complex, Galerkin and least squares, coercive and not, with formulas of many kinds for
coefficients, in double and in single precision; from one basis vector to the whole space, so that bounds go down to
round-off. Exact derivatives are computed in 300-bit ball arithmetic. Counted are derivatives whose error is above the
bound: 0 is right; so it is for random models of all units and conditions (--random). Results are kept in
gradients.json, case by case; a run goes on where the last one stopped.

With --figures: difference quotients in extended precision, cost in solves, and the optimum of the fin.
"""

from __future__ import annotations

import argparse
import sys
import time
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

import rbm
from benchmarks.harness import text_table
from benchmarks.random_models import FAMILIES
from benchmarks.truth import case_of
from benchmarks.truth_checks import REFUSALS, _reduced
from ml.chunks.kept_cases import KeptCases

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
from helpers.exact_gradients import gradient_errors, rod
from helpers.exact_outputs import compliant_model, convection_model

RESULTS = Path(__file__).with_name("gradients.json")
#: Points of a block; one block has one reduced model.
BLOCK = 25
#: Blocks of a case that is kept, and random models.
PIECE, MODELS = 8, 25
CASES: dict[str, tuple[Callable[[], rbm.FullOrderModel], str, str]] = {
    "min-theta, all outputs": (lambda: rod(), "galerkin", "float64"),
    "min-theta, float32": (lambda: rod(), "galerkin", "float32"),
    "min-theta, convection": (lambda: rod("convection"), "galerkin", "float64"),
    "compliant, real": (lambda: compliant_model("real"), "galerkin", "float64"),
    "compliant, complex": (lambda: compliant_model("complex"), "galerkin", "float64"),
    "compliant, indefinite": (lambda: compliant_model("indefinite"), "galerkin", "float64"),
    "dual, real": (lambda: convection_model(4, "real"), "dual", "float64"),
    "dual, complex": (lambda: convection_model(4, "complex"), "dual", "float64"),
    "dual, complex, float32": (lambda: convection_model(4, "complex"), "dual", "float32"),
    "dual, least squares": (lambda: convection_model(4, "complex"), "dual least-squares", "float64"),
    "least squares": (lambda: convection_model(4, "complex"), "least-squares", "float64"),
}


class _Models:
    """The models of one case, with bases for every size."""

    def __init__(self, name: str) -> None:
        make, how, self.dtype = CASES[name]
        self.model = make()
        self.projection: Any = how.removeprefix("dual").strip() or "galerkin"
        options: dict[str, Any] = {"dual": "all"} if how.startswith("dual") else {}
        result = rbm.greedy(self.model, self.model.parameters.sample(80), projection=self.projection, **options)
        self.duals = {name: run.basis for name, run in result.dual.items()} if options else {}
        self.basis = result.basis

    def reduced(self, rng: np.random.Generator) -> rbm.ReducedModel:
        """Return a model of random sizes."""
        size = int(rng.integers(1, self.basis.shape[1] + 1))
        dual = {name: z[:, : int(rng.integers(1, z.shape[1] + 1))] for name, z in self.duals.items()}
        return rbm.project(self.model, self.basis[:, :size], projection=self.projection, dual=dual).astype(self.dtype)


def block(models: _Models, number: int) -> dict[str, Any]:
    """Return error over bound of all derivatives at the points of one block."""
    reduced = models.reduced(np.random.default_rng(number))
    mus = models.model.parameters.sample(BLOCK, "random", rng=number)
    values, bounds = reduced.gradient(mus)
    errors = gradient_errors(models.model, mus, values)
    ratios = np.concatenate([(errors[n] / np.where(bounds[n] > 0, bounds[n], 1e-300)).ravel() for n in values])
    relative = min(float((b / np.maximum(np.abs(values[n]), 1e-300)).min()) for n, b in bounds.items())
    return {"ratios": ratios, "smallest relative bound": relative}


def piece(name: str, first: int) -> dict[str, Any]:
    """Return what some blocks of a case found."""
    models = _Models(name)
    blocks = [block(models, number) for number in range(first, first + PIECE)]
    ratios = np.concatenate([b["ratios"] for b in blocks])
    return {
        "points": PIECE * BLOCK,
        "derivatives": len(ratios),
        "violations": int(np.sum(~(ratios <= 1))),
        "largest error / bound": float(ratios.max()),
        "median bound / error": float(np.median(1 / np.maximum(ratios, 1e-300))),
        "smallest relative bound": min(b["smallest relative bound"] for b in blocks),
    }


def random_piece(family: str, first: int) -> dict[str, Any]:
    """Return what random models of a family found, of all units and conditions; a refusal is not a violation."""
    ratios, refused, points = [np.zeros(0)], 0, 0
    for index in range(first, first + MODELS):
        case, rng = case_of(family, index)
        with warnings.catch_warnings(), np.errstate(all="ignore"):
            warnings.simplefilter("ignore")
            try:
                model = case.model()
                mus = case.points(rng, 9)
                values, bounds = _reduced(case, model).gradient(mus)
            except REFUSALS:
                refused += 1
                continue
            errors = gradient_errors(model, mus, values)
            points += len(mus)
            ratios += [
                np.where(errors[n] == 0, 0.0, errors[n] / np.where(bounds[n] > 0, bounds[n], 1e-320)).ravel()
                for n in values
            ]
    together = np.concatenate(ratios)
    return {
        "models": MODELS,
        "refused": refused,
        "points": points,
        "derivatives": len(together),
        "violations": int(np.sum(~(together <= 1))),
        "largest error / bound": float(together.max(initial=0.0)),
    }


def random_models(models: int) -> int:
    """Check random models of all families, print the table, and return the number of violations."""
    kept, rows, wrong = KeptCases(RESULTS), [], 0
    for family in FAMILIES:
        made = [
            kept.case(
                f"random {family} / {first}", {"models": MODELS, "version": 5}, partial(random_piece, family, first)
            )
            for first in range(0, models, MODELS)
        ]
        sums = [sum(p[key] for p in made) for key in ("models", "refused", "points", "derivatives", "violations")]
        wrong += sums[-1]
        rows.append((family, *map(str, sums), f"{max(p['largest error / bound'] for p in made):.6g}"))
    head = ("family", "models", "refused", "points", "derivatives", "violations", "largest error / bound")
    print(text_table("The same for random models", head, rows))
    return wrong


def checked(count: int) -> int:
    """Check at least `count` points, print the table, and return the number of violations."""
    kept = KeptCases(RESULTS)
    found: dict[str, list[dict[str, Any]]] = {name: [] for name in CASES}
    first = 0
    while sum(p["points"] for pieces in found.values() for p in pieces) < count:
        for name, pieces in found.items():
            settings = {"first": first, "blocks": PIECE, "points": BLOCK, "version": 5}
            pieces.append(kept.case(f"{name} / {first}", settings, partial(piece, name, first)))
        first += PIECE
    rows = [
        (
            name,
            str(sum(p["points"] for p in pieces)),
            str(sum(p["derivatives"] for p in pieces)),
            str(sum(p["violations"] for p in pieces)),
            f"{max(p['largest error / bound'] for p in pieces):.3g}",
            f"{np.median([p['median bound / error'] for p in pieces]):.3g}",
            f"{min(p['smallest relative bound'] for p in pieces):.1e}",
        )
        for name, pieces in found.items()
    ]
    head = ("case", "points", "derivatives", "violations", "largest error / bound", "median bound / error", "least")
    print(text_table("Bounds of derivatives against 300-bit arithmetic; least: bound / derivative", head, rows))
    return sum(p["violations"] for pieces in found.values() for p in pieces)


def quotients() -> float:
    """Return the largest relative distance of derivatives from difference quotients in extended precision.

    The reduced model of the whole space has the full model's derivatives; quotients of fourth order of solutions that
    are known to about thirty digits.
    """
    from helpers.exact_gradients import quotients as of_outputs

    worst = 0.0
    for name in ("min-theta, all outputs", "compliant, complex", "dual, complex"):
        models = _Models(name)
        reduced = rbm.project(models.model, models.basis, dual=models.duals)
        mus = models.model.parameters.sample(20, "random", rng=5)
        values, _ = reduced.gradient(mus)
        for output, value in values.items():
            exact = of_outputs(models.model, mus, output)
            size = np.abs(exact).max(axis=0)
            worst = max(worst, float((np.abs(value - exact) / size).max()))
    return worst


def fin_model(refinement: int = 4) -> rbm.FullOrderModel:
    """The thermal fin, with what is to be minimised: its temperature and what cooling and metal cost."""
    from problems import thermal_fin

    fin = thermal_fin(refinement)
    f = fin.rhs_terms[:, 0]
    cost: list[Any] = [(1.0, f), ("Bi", 1.0)]
    return rbm.FullOrderModel(
        list(zip(fin.operator_coefficients.sources, fin.operator_terms, strict=True)), [(1.0, f)], fin.product,
        fin.parameters, rbm.stability.MinTheta(reference=[1.0] * 4 + [0.1]),
        outputs={"cooling": cost, "design": cost + [(f"k{i}", 0.05) for i in range(1, 5)]},
    )  # fmt: skip


def figures() -> None:
    """Print quotients, cost and the optimum of the fin."""
    print(f"largest distance from difference quotients in extended precision, relative: {quotients():.1e}")
    model = fin_model()
    reduced = rbm.greedy(model, model.parameters.sample(500), tol=1e-5, max_basis=40).reduced_model
    mus = model.parameters.sample(4000, "random", rng=1)
    for name in ("cooling", "design"):
        solve = _seconds(lambda: reduced.solve(mus, coefficients=False))
        slopes = _seconds(lambda name=name: reduced.gradient(mus, name, estimate=False))  # type: ignore[misc]
        both = _seconds(lambda name=name: reduced.gradient(mus, name))  # type: ignore[misc]
        print(
            f"{name}, N = {reduced.size}, five derivatives, in certified solves of the batch: {slopes / solve:.1f}, "
            f"with bounds {both / solve:.1f} ({solve / len(mus) * 1e6:.1f} us a solve)"
        )
    known = {"k1": 0.4, "k2": 0.6, "k3": 0.8, "k4": 1.2}
    for output, ranges in (("cooling", known), ("cooling", None), ("design", None)):
        found = rbm.minimize(reduced, output, ranges=ranges)
        exact = float(model.outputs[output](found.mu[None], model.solve(found.mu))[0])
        inside = found.interval[0] <= exact <= found.interval[1]
        print(f"{found}\n  full model there {exact:.9g}, in the interval: {inside}")


def _seconds(work: Callable[[], Any]) -> float:
    work()
    best = np.inf
    for _ in range(5):
        began = time.process_time()
        work()
        best = min(best, time.process_time() - began)
    return float(best)


def main() -> int:
    """Check points, or print figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=10_000, help="parameter points")
    parser.add_argument("--random", type=int, default=100, help="random models of each family")
    parser.add_argument("--figures", action="store_true")
    given = parser.parse_args()
    if given.figures:
        figures()
        return 0
    return int(checked(given.count) + random_models(given.random) > 0)


if __name__ == "__main__":
    sys.exit(main())
