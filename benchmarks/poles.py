"""Enclosed poles and certified frequency responses, against closed forms and full solves.

    python -m benchmarks.poles                 every case that the file has not yet; stops and goes on between cases
    python -m benchmarks.poles "cavity 15000"  one case of them
    python -m benchmarks.poles figure FOLDER   the figure of docs/poles.md, from the cavity

A violation is a pole of the full model that an interval should hold and does not, or a full solve outside its interval.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

__all__ = ["CASES", "run"]

STORE = Path(__file__).with_name("poles.json")
#: What rounding in the entries of assembled matrices may move closed forms by, as a share.
ENTRIES = 5e-12


def of_elements(cells: int, h: float) -> np.ndarray:
    """Return the eigenvalues of linear elements with free ends; without the first and the last, of fixed ends."""
    c = np.cos(np.pi * np.arange(cells + 1) / cells)
    return 6 / h**2 * (1 - c) / (2 + c)


def _compared(poles: Any, truth: np.ndarray) -> dict[str, Any]:
    """Count poles (in the parameter) that should be in the intervals and are not."""
    low, high = poles.intervals.T
    off = ENTRIES * np.abs(truth)
    inside = truth[(truth > poles.range[0]) & (truth < poles.range[1])]
    held = [int(np.sum((truth + off >= a) & (truth - off <= b))) for a, b in zip(low, high, strict=True)]
    return {
        "poles": len(inside), "intervals": len(poles), "holds": int(poles.holds.sum()), "number": poles.number,
        "complete": poles.complete, "largest_relative_radius": float(np.max(poles.radii / np.abs(poles.values))),
        "violations": int(np.sum(np.array(held) < poles.holds)) + int(poles.complete and len(inside) != poles.number),
    }  # fmt: skip


def _response(model: Any, reduced: Any, output: str, points: int) -> dict[str, Any]:
    """Compare certified intervals with full solves at points that no training point is."""
    import rbm

    low, high = model.parameters.bounds[0]
    k = np.linspace(low, high, points + 2)[1:-1] + 1e-3 * (high - low) / points
    found = rbm.frequency_response(reduced, k, output)
    truth = model.outputs[output](k[:, None], model.solve(k[:, None]))
    off = np.abs(found.values - truth)
    good = found.certified
    return {
        "points": points, "certified": int(good.sum()), "excluded": len(found.excluded),
        "response_violations": int(np.sum(off[good] > found.bounds[good])),
        "median_relative_bound": float(np.median(found.bounds[good] / np.abs(truth[good]))),
        "median_bound_over_error": float(np.median(found.bounds[good] / np.maximum(off[good], 1e-300))),
    }  # fmt: skip


def _trained(model: Any, tol: float) -> tuple[Any, dict[str, Any]]:
    from rbm.uses import refined_greedy

    low, high = model.parameters.bounds[0]
    begun = time.process_time()
    result, mus = refined_greedy(model, np.linspace(low, high, 33), tol, relative=True)
    seconds = time.process_time() - begun
    found = {"n": model.dimension, "N": result.reduced_model.size, "training": len(mus), "greedy_cpu": seconds}
    return result.reduced_model, found


def _poles(reduced: Any, truth: np.ndarray, **options: Any) -> dict[str, Any]:
    import rbm

    begun = time.perf_counter()
    found = rbm.poles(reduced, **options)
    return {"poles_seconds": time.perf_counter() - begun, **_compared(found, truth)}


def rectangle(domain: Any, n: int, damping: float) -> dict[str, Any]:
    """Sound in a rectangle, with and without damping."""
    from problems import frequency_sweep, frequency_sweep_grid

    begun = time.process_time()
    model = frequency_sweep(domain, n=n, damping=damping)
    bound = time.process_time() - begun
    x, y = frequency_sweep_grid(domain, n)
    truth = np.add.outer(of_elements(len(x) - 1, x[1]), of_elements(len(y) - 1, y[1])).ravel()
    truth = np.sort(np.sqrt(truth[truth > 1]))
    reduced, made = _trained(model, 1e-4)
    made["bound_cpu"] = bound
    made |= _poles(reduced, truth, damped=damping > 0)
    return made | _response(model, reduced, "receiver", 400)


def membrane(cells: tuple[int, int] = (130, 118)) -> dict[str, Any]:
    """A rectangle with fixed edges, lambda the parameter; the stability bound is a number, so pivots are counted."""
    import rbm
    from lowrank import gram_schmidt
    from problems.interval import Interval, on_rectangle

    x, y = Interval(cells[0], 1.0), Interval(cells[1], 0.9)
    inside = np.add.outer((cells[0] + 1) * np.arange(1, cells[1]), np.arange(1, cells[0])).ravel()
    k = on_rectangle(x.stiffness, y.mass) + on_rectangle(x.mass, y.stiffness)
    k, m = (a[inside][:, inside] for a in (k, on_rectangle(x.mass, y.mass)))
    truth = np.add.outer(of_elements(cells[0], x.h)[1:-1], of_elements(cells[1], y.h)[1:-1])
    load = np.random.default_rng(0).random(len(inside))
    model = rbm.FullOrderModel(
        [(1.0, k), ("-lam", m)], [(1.0, load)], k, {"lam": (1.0, 600.0)}, 1e-6, {"mean": load},
        projection="least-squares",
    )  # fmt: skip
    begun = time.process_time()
    snapshots = model.solve(np.linspace(2, 599, 60)[:, None]).T
    reduced = rbm.project(model, gram_schmidt(snapshots, product=k).basis)
    made = {"n": model.dimension, "N": reduced.size, "greedy_cpu": time.process_time() - begun}
    return made | _poles(reduced, np.sort(truth.ravel()), full_model=model)


def l_shape(refinements: int = 6) -> dict[str, Any]:
    """An L-shaped cavity of quadratic triangles (scikit-fem); truth are the eigenvalues of an eigensolver."""
    import scipy.sparse.linalg as spla
    import skfem
    from skfem.models.poisson import laplace, mass

    import rbm

    mesh = skfem.MeshTri.init_lshaped().refined(refinements - 1)
    basis = skfem.Basis(mesh, skfem.ElementTriP2())
    k, m = laplace.assemble(basis), mass.assemble(basis)
    corner = np.zeros(k.shape[0])
    wall = basis.get_dofs(lambda x: np.abs(x[0] - mesh.p[0].min()) < 1e-9).all()
    # a part of the wall, which excites one mode of each multiple eigenvalue
    corner[wall[basis.doflocs[1][wall] < mesh.p[1].min() + 0.3]] = 1.0
    source = m @ corner
    model = rbm.FullOrderModel(
        [(1.0, k), ("-k**2", m)], [(1.0, source)], k + m, {"k": (0.5, 12.0)}, rbm.stability.Pencil(),
        {"receiver": np.asarray(m.sum(axis=0)).ravel() * (basis.doflocs[0] > 0.9)}, projection="least-squares",
    )  # fmt: skip
    truth = spla.eigsh(k.tocsc(), 60, m.tocsc(), sigma=-1.0, which="LM", v0=np.ones(k.shape[0]))[0]
    reduced, made = _trained(model, 1e-4)
    made |= _poles(reduced, np.sqrt(np.sort(truth[truth > 1e-3])))
    return made | _response(model, reduced, "receiver", 400)


def random_pencils(count: int = 60, n: int = 12) -> dict[str, Any]:
    """Random pencils with clusters, on bases from poor to exact, against 300-bit."""
    import flint

    import rbm
    from rbm.uses.poles import found_poles

    flint.ctx.prec = 300
    made: dict[str, Any] = {"models": 0, "intervals": 0, "violations": 0, "ratios": [], "complete": 0}
    for seed in range(count):
        rng = np.random.default_rng(1000 + seed)
        x = rng.standard_normal((n, n))
        t = rng.uniform(0.05, 1.0, n)
        t[:4] = t[0] + np.array([0, 0, 1e-6, 1e-3]) * (seed % 3 > 0)
        lower = np.linalg.cholesky(x @ x.T + n * np.eye(n))
        q = np.linalg.qr(x)[0]
        b = lower @ (q * t) @ q.T @ lower.T
        b = (b + b.T) / 2
        k = lower @ lower.T - b
        k = (k + k.T) / 2
        exact = flint.arb_mat(k.tolist()), flint.arb_mat(b.tolist())
        values = flint.acb_mat((exact[0] + exact[1]).solve(exact[1])).eig()
        truth = np.array([float((1 / v - 1).real.mid()) for v in values])
        model = rbm.FullOrderModel(
            [(1.0, k), ("-s", b)],
            [(1.0, np.ones(n))],
            k + b,
            {"s": (-0.9, 4.0)},
            rbm.stability.Pencil(),
            projection="least-squares",
        )
        vectors = np.linalg.inv(lower).T @ q
        for level in (1e-1, 1e-2, 1e-3, 1e-5, 1e-7, 1e-10, 0.0):
            some = rng.permutation(n)[: rng.integers(2, n)]
            basis = vectors[:, some] + level * rng.standard_normal((n, len(some))) * np.abs(vectors).max()
            for kind in ("float64", "float32"):
                found = found_poles(rbm.project(model, basis).astype(kind))
                off = 1e-15 * np.abs(truth)
                ends = zip(found.intervals, found.holds, strict=True)
                wrong = sum(int(np.sum((truth + off >= a) & (truth - off <= e)) < holds) for (a, e), holds in ends)
                made["violations"] += wrong
                made["models"] += 1
                made["intervals"] += len(found)
                made["complete"] += int(found.complete)
                if kind == "float64":
                    nearest = np.min(np.abs(truth - found.values[:, None]), axis=1)
                    made["ratios"] += (found.radii / np.maximum(nearest, 1e-17)).tolist()
    ratios = made.pop("ratios")
    return made | {"median_radius_over_error": float(np.median(ratios)), "least": float(np.min(ratios))}


def training(damping: float, n: int = 800, tol: float = 1e-4) -> dict[str, Any]:
    """A refined training set and uniform ones: the largest relative bound on points that are dense near resonances."""
    import rbm
    from problems import frequency_sweep
    from rbm.uses import refined_greedy

    model = frequency_sweep("cavity", n=n, damping=damping)
    at = np.sqrt(1 / model.stability.eigenvalues[model.stability.eigenvalues < 0.99] - 1)  # type: ignore[attr-defined]
    near = at[:, None] * (1 + np.concatenate([[0.0], *(s * np.logspace(-6, -2, 40) for s in (-1, 1))]))
    test = np.concatenate([np.linspace(2, 20, 20_001), near[(near > 2) & (near < 20)]])[:, None]

    def largest(reduced: Any) -> float:
        answers = reduced.solve(test)
        return float(np.max(answers.bound / np.linalg.norm(answers.coefficients, axis=1)))

    made: dict[str, Any] = {"n": model.dimension, "tol": tol, "test_points": len(test)}
    for count in (25, 50, 100, 200, 400, 800):
        result = rbm.greedy(model, np.linspace(2, 20, count)[:, None], tol=tol, relative=True)
        made[f"uniform {count}"] = {"N": result.reduced_model.size, "largest": largest(result.reduced_model)}
    for start in (9, 33):
        result, mus = refined_greedy(model, np.linspace(2, 20, start), tol, relative=True)
        kept = {"training": len(mus), "N": result.reduced_model.size, "largest": largest(result.reduced_model)}
        made[f"refined from {start}"] = kept
    return made


CASES: dict[str, Callable[[], dict[str, Any]]] = {
    "random pencils": random_pencils,
    "membrane 15000": membrane,
    "duct 15000": lambda: rectangle("duct", 15_000, 0.0),
    "cavity 15000": lambda: rectangle("cavity", 15_000, 0.0),
    "cavity 15000, damping 0.01": lambda: rectangle("cavity", 15_000, 0.01),
    "l-shaped cavity": l_shape,
    "training, damping 0.01": lambda: training(0.01),
    "training, damping 0.0001": lambda: training(1e-4),
}


def run(names: Sequence[str] = (), store: Path = STORE) -> dict[str, Any]:
    """Return the figures of the cases named, or of all; those in the file already are not run again."""
    known: dict[str, Any] = json.loads(store.read_text()) if store.exists() else {}
    for name, case in CASES.items():
        if name not in known and (not names or name in names):
            known[name] = case()
            store.write_text(json.dumps(known, indent=1) + "\n")
            print(name, known[name], flush=True)
    return known


def figure(folder: str) -> None:
    """Draw the response of a cavity on a basis that is small on purpose, so that the intervals can be seen."""
    import rbm
    from problems import frequency_sweep
    from rbm.uses import away_from_poles

    model = frequency_sweep("cavity", n=2000, damping=0.0, wavenumbers=(2.0, 13.0))
    mus = away_from_poles(model, np.linspace(2, 13, 200))
    reduced = rbm.greedy(model, mus, max_basis=17).reduced_model
    k = np.linspace(2, 13, 4001)
    truth = np.linspace(2.03, 12.97, 60)
    s = model.outputs["receiver"](truth[:, None], model.solve(truth[:, None]))
    ax = rbm.plots.frequency_response(rbm.frequency_response(reduced, k, "receiver", rtol=1.0), truth=(truth, s))
    rbm.plots.save(ax, Path(folder) / "poles")


if __name__ == "__main__":
    figure(sys.argv[2]) if sys.argv[1:2] == ["figure"] else run(sys.argv[1:])
