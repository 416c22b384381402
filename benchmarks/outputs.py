"""Sharper output bounds against exact outputs: ``python -m benchmarks.outputs [--count 10000] [--figures]``.

Compliant outputs (real, complex, Hermitian and indefinite) and outputs with a dual problem (real and complex, both
projections, parametrised functionals), from one basis vector to the whole space, so that bounds go down to round-off.
Exact values are computed in 300-bit ball arithmetic. Counted are outputs whose error is above the bound: 0 is right.

Results are kept in outputs.json, block by block; a run goes on where the last one stopped. With --figures: plain and
sharper bounds of convection and diffusion, n = 576, and the time per query.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

import rbm
from benchmarks.harness import text_table

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
from helpers.exact_outputs import compliant_model, convection_model, output_errors

RESULTS = Path(__file__).with_name("outputs.json")
#: Points of a block; one block has one reduced model.
BLOCK = 50
CASES = {
    "compliant, real": ("real", ""),
    "compliant, complex": ("complex", ""),
    "compliant, indefinite": ("indefinite", ""),
    "dual, real": ("real", "galerkin"),
    "dual, complex": ("complex", "galerkin"),
    "dual, complex, least squares": ("complex", "least-squares"),
}


class _Models:
    """The models of one case, with bases for every size."""

    def __init__(self, kind: str, projection: str) -> None:
        self.projection: Any = projection
        self.model = convection_model(4, kind) if projection else compliant_model(kind)
        training = self.model.parameters.sample(80)
        if projection:
            result = rbm.greedy(self.model, training, projection=self.projection, dual="all")
            self.duals = {name: run.basis for name, run in result.dual.items()}
        else:
            result, self.duals = rbm.greedy(self.model, training), {}
        self.basis, self.whole = result.basis, result.reduced_model

    def reduced(self, rng: np.random.Generator) -> tuple[rbm.ReducedModel, str]:
        """Return a model of random sizes, and these."""
        size = int(rng.integers(1, self.basis.shape[1] + 1))
        if not self.projection:
            return self.whole.truncate(size), str(size)
        dual = {name: z[:, : int(rng.integers(1, z.shape[1] + 1))] for name, z in self.duals.items()}
        sizes = f"{size}, {', '.join(str(z.shape[1]) for z in dual.values())}"
        return rbm.project(self.model, self.basis[:, :size], projection=self.projection, dual=dual), sizes


def block(models: _Models, number: int) -> dict[str, Any]:
    """Return what one block of points found."""
    rng = np.random.default_rng(number)
    reduced, sizes = models.reduced(rng)
    names = [name for name in reduced.outputs if models.projection or name == "s"]
    mus = models.model.parameters.sample(BLOCK, "random", rng=number)
    answer = reduced.solve(mus)
    errors = output_errors(models.model, mus, {name: answer.outputs[name] for name in names})
    ratios = np.concatenate([errors[name] / answer.output_bounds[name] for name in names])
    smallest = min(float(answer.output_bounds[name].min()) for name in names)
    return {
        "points": len(mus),
        "outputs": len(ratios),
        "violations": int(np.sum(~(ratios <= 1))),
        "largest error / bound": float(ratios.max()),
        "median error / bound": float(np.median(ratios)),
        "smallest bound": smallest,
        "sizes": sizes,
    }


def checks(count: int) -> None:
    """Do the blocks that are missing, and print the table."""
    known: dict[str, list[dict[str, Any]]] = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    for case, (kind, projection) in CASES.items():
        rows = known.setdefault(case, [])
        models = None
        while sum(row["points"] for row in rows) < count:
            models = models or _Models(kind, projection)
            rows.append(block(models, len(rows)))
            if len(rows) % 5 == 0:
                _keep(known)
        _keep(known)
    header = ["case", "points", "outputs", "violations", "largest error / bound", "median", "smallest bound"]
    table = []
    for case, rows in known.items():
        total = [sum(row[key] for row in rows) for key in ("points", "outputs", "violations")]
        largest = max(row["largest error / bound"] for row in rows)
        middle = float(np.median([row["median error / bound"] for row in rows]))
        smallest = min(row["smallest bound"] for row in rows)
        table.append([case, *map(str, total), f"{largest:.3f}", f"{middle:.3f}", f"{smallest:.1e}"])
    print(text_table("Sharper output bounds against exact outputs", header, table))


def _keep(known: dict[str, list[dict[str, Any]]]) -> None:
    """Write the results, one block a line."""
    lines = {case: ",\n".join(map(json.dumps, rows)) for case, rows in known.items()}
    cases = (f'"{case}": [\n{text}\n]' for case, text in lines.items())
    RESULTS.write_text("{\n" + ",\n".join(cases) + "\n}\n")


def figures() -> None:
    """Print plain and product bounds by N for convection and diffusion with 576 unknowns, and the time per query."""
    rows = []
    for kind in ("real", "complex"):
        model = convection_model(24, kind)
        result = rbm.greedy(model, model.parameters.sample(400), max_basis=70, dual=("window",))
        mus = model.parameters.sample(2000, "random", rng=1)
        for size in (10, 20, 40, 70):
            dual = {"window": result.dual["window"].basis[:, :size]}
            plain = rbm.project(model, result.basis[:, :size])
            sharp = rbm.project(model, result.basis[:, :size], dual=dual)
            seconds = [_seconds(m, mus) for m in (plain, sharp)]
            bounds = [m.solve(mus).output_bounds["window"].max() for m in (plain, sharp)]
            times = [f"{1e6 * s / len(mus):.1f}" for s in seconds]
            rows.append([kind, str(size), *(f"{b:.1e}" for b in bounds), f"{bounds[1] / bounds[0]:.1e}", *times])
    header = ["model", "N = N*", "plain bound", "product bound", "ratio", "us plain", "us product"]
    print(text_table("Convection and diffusion, n = 576: largest bounds at 2000 points, time per query", header, rows))


def _seconds(model: rbm.ReducedModel, mus: np.ndarray) -> float:
    model.solve(mus)
    best = np.inf
    for _ in range(5):
        start = time.perf_counter()
        model.solve(mus)
        best = min(best, time.perf_counter() - start)
    return best


def main() -> None:
    """Read the options and run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=10_000, help="points of each case")
    parser.add_argument("--figures", action="store_true", help="the tables of bounds and times, and no checks")
    options = parser.parse_args()
    figures() if options.figures else checks(options.count)


if __name__ == "__main__":
    main()
