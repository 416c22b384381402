"""Domains whose shape is a parameter, in figures: ``python -m benchmarks.geometry``.

Terms before and after merging; matrices and solutions against those of meshes made anew; the greedy run of the fin with
length and thickness as parameters, and its bounds at random points; what the proofs that no element is folded cost.
Results are kept in geometry.json, case by case; a run goes on where the last one stopped.
"""

from __future__ import annotations

import sys
import time
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import scipy.sparse as sp

import rbm
from benchmarks.harness import text_table
from ml.chunks.kept_cases import KeptCases
from problems import MappedBlocks, mapped_blocks, merged_terms, thermal_fin_domain, thermal_fin_geometry

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
from helpers.moved_fin import moved_fin

RESULTS = Path(__file__).with_name("geometry.json")
VERSION = 4
#: What is compared with a mesh made anew, and the output at the published point.
FAR = ("matrix", "matrix of scikit-fem", "solution", "solution, entries rounded", "solution of scikit-fem")
AT = "T_root at the published point"
#: Of the greedy run, and of random points at which its bounds are compared with the truth.
REFINEMENT, TRAINING, TOLERANCE, LARGEST, POINTS, PIECE = 2, 1000, 1e-2, 100, 1000, 250
#: T_root of the fixed fin at k = 1.5 and Bi = 0.1, on the finest published triangulation (17 899 nodes).
PUBLISHED = ([1.5, 1.5, 1.5, 1.5, 0.1, 2.5, 0.25], 1.536266)


@lru_cache
def fin(refinement: int) -> tuple[MappedBlocks, rbm.FullOrderModel]:
    """Return the domain and the model."""
    return thermal_fin_domain(refinement), thermal_fin_geometry(refinement)


def air(domain: MappedBlocks) -> np.ndarray:
    """Return the facets of the fin that are not the root."""
    root = domain.mesh.facets_satisfying(lambda x: x[1] < 1e-9, boundaries_only=True)
    return np.setdiff1d(domain.mesh.boundary_facets(), root)


def anew(domain: MappedBlocks, mu: np.ndarray) -> sp.csr_array:
    """Return the matrix of the fin that scikit-fem assembles on the moved mesh, without blocks and terms."""
    import skfem
    from skfem.models import poisson

    mesh = domain.mesh_at(mu)
    x, y = mesh.p[:, mesh.t].mean(axis=1)
    part = np.where(np.abs(x) < 0.5, 0, np.floor(y).astype(int) + 1)
    matrix = mu[4] * poisson.mass.assemble(skfem.FacetBasis(mesh, domain.element, facets=air(domain)))
    for i, conductivity in enumerate([1.0, *mu[:4]]):
        basis = skfem.Basis(mesh, domain.element, elements=np.flatnonzero(part == i))
        matrix = matrix + conductivity * poisson.laplace.assemble(basis)
    return sp.csr_array(matrix)


def remeshed(refinement: int) -> dict[str, Any]:
    """Return how far matrices and solutions are from those of the moved mesh, relative, at 20 random points.

    The moved mesh is assembled by scikit-fem, and in long double; the solution of the latter, rounded to double, shows
    what rounding alone does.
    """
    domain, model = fin(refinement)
    norm, far = model.inner_product.norm, []
    for mu in model.parameters.sample(20, "random", rng=4):
        ours = model.assemble(model.operator_coefficients(mu[None])[0])
        _, exact, load = moved_fin(refinement, mu)
        lead = exact.astype(float)
        full = [(1.0, lead), (1.0, (exact - lead).astype(float))]
        u, v, rounded, other = (
            model.solve(mu) if terms is None else _solution(model, terms, load, mu)
            for terms in (None, full, full[:1], [(1.0, anew(domain, mu))])
        )
        far.append({
            "matrix": float(abs(ours - exact).max() / abs(exact).max()),
            "matrix of scikit-fem": float(abs(anew(domain, mu) - exact).max() / abs(exact).max()),
            **dict(zip(FAR[2:], (float(norm((w - v).T)[0] / norm(v.T)[0]) for w in (u, rounded, other)), strict=True)),
        })  # fmt: skip
    root = float((model.solve(PUBLISHED[0]) @ model.rhs_terms[:, 0])[0])
    return {
        "unknowns": model.dimension,
        **{name: max(row[name] for row in far) for name in far[0]},
        AT: root,
    }


def _solution(model: rbm.FullOrderModel, terms: Any, load: np.ndarray, mu: np.ndarray) -> np.ndarray:
    other = rbm.FullOrderModel(terms, [(1.0, load.astype(float))], model.product, model.parameters, 1.0)
    return other.solve(mu)


def moving_corner() -> MappedBlocks:
    """Return a square of three blocks around a corner that moves: five triangles, whose angles become obtuse."""
    import skfem

    mesh = skfem.MeshTri(
        np.array([[0, 1, 1, 0, 0.5, 0.5], [0, 0, 1, 1, 0.5, 0]], dtype=float),
        np.array([[0, 5, 4], [0, 4, 3], [5, 1, 2], [5, 2, 4], [4, 2, 3]]).T,
    ).refined(3)
    vertices = {"a": ((0, 0), (0, 0)), "b": ((1, 0), ("L", 0)), "c": ((1, 1), ("L", "1 + s*L")), "d": ((0, 1), (0, 1)),
                "m": ((0.5, 0.5), ("x", 0.5)), "e": (("1/2", 0), ("L/2", 0))}  # fmt: skip
    blocks = {"left": ("a", "e", "m", "d"), "right": ("e", "b", "c", "m"), "top": ("m", "c", "d")}
    return mapped_blocks(mesh, vertices, blocks, {"L": (1.0, 1.2), "s": (0.0, 0.2), "x": (0.45, 0.55)})


def terms() -> dict[str, Any]:
    """Return numbers of terms before and after merging, and seconds of making the domain, proofs included."""
    made = {}
    began = time.process_time()
    domain = thermal_fin_domain(1)
    seconds = time.process_time() - began
    raw = domain.diffusion({"post": 1.0, **{f"pair{i}": f"k{i}" for i in range(1, 5)}})
    raw += domain.boundary_mass("Bi", air(domain))
    made["thermal fin"] = {"before": len(raw), "after": len(merged_terms(raw)), "seconds": seconds}
    began = time.process_time()
    corner = moving_corner()
    seconds = time.process_time() - began
    for name, form in (("diffusion", corner.diffusion), ("mass", corner.mass)):
        made[f"moving corner, {name}"] = {"before": len(form()), "after": len(merged_terms(form())), "seconds": seconds}
    return made


def place(refinement: int) -> Path:
    """Return where the greedy run is kept, by the content of the model."""
    return RESULTS.parents[1] / "out" / f"geometry_{fin(refinement)[1].fingerprint()[:16]}.rbm"


@lru_cache
def reduced(refinement: int) -> rbm.GreedyResult:
    """Return the greedy run of the fin, going on with its file."""
    model, path = fin(refinement)[1], place(refinement)
    path.parent.mkdir(exist_ok=True)
    training = model.parameters.sample(TRAINING)
    resume = path if path.exists() else None
    return rbm.greedy(model, training, tol=TOLERANCE, max_basis=LARGEST, relative=True, checkpoint=path, resume=resume)


def greedy(refinement: int) -> dict[str, Any]:
    """Return size, reason, history and seconds of the greedy run, from its beginning."""
    place(refinement).unlink(missing_ok=True)
    began = time.process_time()
    result = reduced(refinement)
    seconds = time.process_time() - began
    return {
        "unknowns": fin(refinement)[1].dimension,
        "N": result.reduced_model.size,
        "stopped": result.stopped,
        "CPU seconds": round(seconds, 1),
        "largest relative bound": [float(f"{step.bound:.3g}") for step in result.history],
    }


def checked(refinement: int, piece: int) -> dict[str, Any]:
    """Return violations and effectivities at random points."""
    model, small = fin(refinement)[1], reduced(refinement).reduced_model
    mus = model.parameters.sample(POINTS, "random", rng=7)[piece * PIECE : (piece + 1) * PIECE]
    answer, f = small.solve(mus), model.rhs_terms[:, 0]
    reference = model.solve_extended(mus)
    assert small.basis is not None
    errors = model.error_norm(mus, answer.coefficients, small.basis, reference)
    off = (reference[0] + reference[1]).T @ f - answer.outputs["T_root"]
    ratio, gains = answer.bound / errors, answer.output_bounds["T_root"] / off
    size = model.inner_product.norm(reference[0])
    return {
        "points": len(mus),
        "violations": int(np.sum(errors > answer.bound)),
        "output violations": int(np.sum((off < 0) | (off > answer.output_bounds["T_root"]))),
        "largest relative bound": float(np.max(answer.bound / size)),
        "largest relative error": float(np.max(errors / size)),
        "effectivity": [float(np.min(ratio)), float(np.median(ratio)), float(np.max(ratio))],
        "largest output bound": float(np.max(answer.output_bounds["T_root"])),
        "output effectivity": [float(np.min(gains)), float(np.median(gains)), float(np.max(gains))],
    }


def cornered() -> dict[str, Any]:
    """Return what SCM costs where angles are obtuse, and violations of the bounds of a greedy run at random points."""
    domain = moving_corner()
    fixed = np.flatnonzero(domain.mesh.p[1] < 1e-9)
    operators, rhs = merged_terms(domain.diffusion()), merged_terms(domain.source())
    product = domain.assemble(operators, domain.parameters.bounds.mean(axis=1))
    held = rbm.constrain(operators, rhs, product, fixed, parameters=domain.parameters)
    began = time.process_time()
    scm = rbm.stability.SCM(training=domain.parameters.sample(100), tol=0.5)
    model = rbm.FullOrderModel(held.operators, held.rhs, held.product, domain.parameters, scm)
    seconds = time.process_time() - began
    found = rbm.greedy(model, model.parameters.sample(300), tol=1e-6, max_basis=30)
    small, mus = found.reduced_model, model.parameters.sample(500, "random", rng=8)
    answer = small.solve(mus)
    assert small.basis is not None
    errors = model.error_norm(mus, answer.coefficients, small.basis)
    return {
        "unknowns": model.dimension,
        "terms": len(operators),
        "CPU seconds of SCM": round(seconds, 1),
        "N": small.size,
        "largest bound": float(answer.bound.max()),
        "violations": int(np.sum(errors > answer.bound)),
        "effectivity": [float(x) for x in np.quantile(answer.bound / errors, [0, 0.5, 1])],
    }


def main() -> int:
    """Measure what is not kept yet, and print tables."""
    kept = KeptCases(RESULTS)
    made = kept.case("terms", {"version": VERSION}, terms)
    rows = [[n, str(r["before"]), str(r["after"]), f"{r['seconds']:.2f}"] for n, r in made.items()]
    print(text_table("Terms", ["", "before merging", "after", "CPU s of the domain"], rows))
    rows = []
    for r in (1, 2, 4, 8):
        row = kept.case(f"remeshed {r}", {"version": VERSION}, partial(remeshed, r))
        rows.append([str(row["unknowns"]), *(f"{row[k]:.1e}" for k in FAR), f"{row[AT]:.6f}"])
    header = ["unknowns", *FAR, f"T_root, published {PUBLISHED[1]}"]
    print(text_table("Distance from a mesh made anew, largest of 20 points", header, rows))
    settings = {"version": VERSION, "refinement": REFINEMENT, "training": TRAINING, "tol": TOLERANCE}
    run = kept.case("greedy", settings, lambda: greedy(REFINEMENT))
    print({k: v for k, v in run.items() if k != "largest relative bound"}, run["largest relative bound"][::10])
    settings = {**settings, "points": POINTS, "piece": PIECE}
    count = POINTS // PIECE
    pieces = [kept.case(f"random points {k}", settings, partial(checked, REFINEMENT, k)) for k in range(count)]
    wrong = sum(p["violations"] + p["output violations"] for p in pieces)
    print(f"{sum(p['points'] for p in pieces)} random points, {wrong} violations")
    for name in ("largest relative bound", "largest relative error", "largest output bound"):
        print(f"  {name}: {max(p[name] for p in pieces):.2g}")
    for name in ("effectivity", "output effectivity"):
        low, high = min(p[name][0] for p in pieces), max(p[name][2] for p in pieces)
        print(f"  {name}: {low:.3g} to {high:.3g}, median {np.median([p[name][1] for p in pieces]):.3g}")
    corner = kept.case("moving corner", {"version": VERSION}, cornered)
    print("moving corner:", corner)
    return int(wrong + corner["violations"] > 0)


if __name__ == "__main__":
    sys.exit(main())
