"""Solvers in space: what a factorisation, ten solves and a small greedy cost with each, the bounds certified.

``run(sizes)`` measures each case in a new process with one thread, and keeps what is done in scale_solvers.json.
"""

from __future__ import annotations

import json
import os
import resource
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import scipy.sparse as sp

from benchmarks.harness import fresh, text_table

__all__ = ["run", "table"]

KEPT = Path(__file__).with_name("scale_solvers.json")
BLOCKS, VECTORS = 3, 4
#: (cells per side, element, solver, what is measured)
CASES = [
    (26, element, solver, "greedy")
    for element in ("tetrahedra", "hexahedra")
    for solver in ("none", "superlu", "pardiso", "amg")
] + [
    (41, "tetrahedra", "none", "solve"),
    (41, "tetrahedra", "superlu", "solve"),
    (41, "tetrahedra", "pardiso", "solve"),
    (41, "tetrahedra", "amg", "solve"),
    (41, "tetrahedra", "pardiso", "greedy"),
    (41, "tetrahedra", "amg", "greedy"),
    (41, "tetrahedra", "superlu", "greedy"),
    (41, "hexahedra", "pardiso", "greedy"),
]  # fmt: skip


def terms_of(cells: int, element: str) -> tuple[list[Any], np.ndarray]:
    """Return the stiffness matrices of 3 x 3 columns of a cube, u = 0 on its boundary, and a load of one."""
    import skfem
    from skfem.helpers import dot, grad

    grid = np.linspace(0, 1, cells + 1)
    kind, shape = (
        (skfem.MeshTet, skfem.ElementTetP1()) if element == "tetrahedra" else (skfem.MeshHex, skfem.ElementHex1())
    )
    mesh = kind.init_tensor(grid, grid, grid)
    basis = skfem.Basis(mesh, shape)
    inner = np.setdiff1d(np.arange(basis.N), np.asarray(basis.get_dofs().flatten()))
    centre = mesh.p[:, mesh.t].mean(axis=1)
    block = np.minimum((centre[:2] * BLOCKS).astype(int), BLOCKS - 1)
    form = skfem.BilinearForm(lambda u, v, w: dot(grad(u), grad(v)))
    made = []
    for q in range(BLOCKS**2):
        part = skfem.Basis(mesh, shape, elements=np.flatnonzero(block[0] + BLOCKS * block[1] == q))
        made.append(sp.csr_array(form.assemble(part))[inner][:, inner])
    return made, skfem.LinearForm(lambda v, w: v).assemble(basis)[inner]


def model_of(terms: list[Any], load: np.ndarray, solver: str | None) -> Any:
    """Return the thermal block, its product the sum of its terms, its bound by MinTheta."""
    import rbm

    names = [f"k{q}" for q in range(len(terms))]
    return rbm.FullOrderModel(
        [*zip(names, terms, strict=True)], [(1.0, load)], sum(terms[1:], terms[0]), dict.fromkeys(names, (0.1, 1.0)),
        rbm.stability.MinTheta([1.0] * len(terms)), outputs={"mean": load}, solver=solver,
    )  # fmt: skip


def measured() -> dict[str, Any]:
    """Measure the case that the environment names, in this process."""
    cells, element, name, task = json.loads(os.environ["SCALE_SOLVERS_CASE"])
    solver = None if name == "none" else name
    terms, load = terms_of(cells, element)
    result: dict[str, Any] = {"unknowns": len(load)}
    result |= _solves(sum(terms[1:], terms[0]), solver) if task == "solve" else _greedy(terms, load, solver)
    return {
        "memory_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    } | result  # what factors take, or all


def _solves(matrix: Any, solver: str | None) -> dict[str, Any]:
    from rbm.solvers.choice import read_solver
    from rbm.solvers.factorization import factorize_positive_definite

    rhs = np.random.default_rng(0).standard_normal((matrix.shape[0], 10))
    read_solver(solver or "superlu").factorize(sp.eye_array(4, format="csr"))  # libraries are loaded
    held = _resident()
    start = time.process_time()
    solve: Any = factorize_positive_definite(matrix) if solver is None else read_solver(solver).factorize(matrix)
    middle = time.process_time()
    factors = _resident() - held
    x = solve(rhs)
    end = time.process_time()
    left = float((np.linalg.norm(rhs - matrix @ x, axis=0) / np.linalg.norm(rhs, axis=0)).max())
    return {"factorisation": middle - start, "ten_solves": end - middle, "residual": left, "memory_mb": factors}


def _resident() -> float:
    """Return the memory of this process now, in MB."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize() / 2**20


def _greedy(terms: list[Any], load: np.ndarray, solver: str | None) -> dict[str, Any]:
    import rbm

    start = time.process_time()
    model = model_of(terms, load, solver)
    middle = time.process_time()
    space = model.parameters
    result = rbm.greedy(model, space.sample(200, "random", rng=0), max_basis=VECTORS, progress=False)
    end = time.process_time()
    mus = space.sample(3, "random", rng=1)
    answers = result.reduced_model.solve(mus)
    error = model.error_norm(mus, answers.coefficients, result.basis)
    product = model.inner_product
    return {
        "constructor": middle - start,
        "greedy": end - middle,
        "bound": float(answers.bound.max()),
        "certified": bool(np.all(error <= answers.bound)),
        "smallest_eigenvalue": product.smallest_eigenvalue,
        "proved": product.proved,
        "slack": float(model.stability.slack.max()),
    }


def run(cases: list[tuple[int, str, str, str]] | None = None) -> dict[str, Any]:
    """Measure the cases that are not in the file yet, and return all results."""
    kept = json.loads(KEPT.read_text()) if KEPT.exists() else {}
    for case in CASES if cases is None else cases:
        key = " ".join(map(str, case))
        if key not in kept:
            os.environ["SCALE_SOLVERS_CASE"] = json.dumps(case)
            kept[key] = fresh("benchmarks.scale_solvers:measured")
            KEPT.write_text(json.dumps(kept, indent=1) + "\n")
            print(key, kept[key], file=sys.stderr, flush=True)
    return kept


def table(result: dict[str, Any]) -> str:
    """Return the results as text, CPU seconds of one thread."""
    rows = []
    for key, found in result.items():
        _, element, solver, _ = key.split()
        times = [found.get(name) for name in ("factorisation", "ten_solves", "constructor", "greedy")]
        shown = ["" if t is None else f"{t:.2f}" for t in times]
        said = {True: "proved", False: "measured", None: ""}[found.get("proved")]
        rows.append(
            [
                f"{found['unknowns']}",
                element,
                solver,
                *shown,
                f"{found['memory_mb']:.0f}" if "memory_mb" in found else "",
                said,
            ]
        )
    head = ["unknowns", "element", "solver", "factorisation", "10 solves", "constructor", "greedy", "MB", "lambda"]
    return text_table("Solvers in space: CPU seconds of one thread", head, rows)


if __name__ == "__main__":
    print(table(run()))
