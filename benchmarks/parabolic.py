"""Models in time: the published POD-greedy run, bounds against a truth beyond double precision, and times beside pyMOR.

The model is the third reduced basis example of libMesh (reduced_basis_ex3): -0.05 Lap u + x u_x + y u_y = 1 on the
unit square with u_t, 576 bilinear unknowns, 100 steps of 0.01 of implicit Euler. Cases are kept in parabolic.json, by
name; a benchmark goes on where the last one stopped. What it needs: pyMOR.
"""

from __future__ import annotations

import resource
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import scipy.sparse as sp

import lowrank
import rbm
from benchmarks.harness import fresh, paired_ratio, text_table
from benchmarks.parabolic_heat import heat_cases
from ml.chunks.kept_cases import KeptCases

__all__ = ["measure_all", "model", "run", "table"]

RESULTS = Path(__file__).with_name("parabolic.json")
#: As libMesh prints them: largest bounds for N = 0 .. 7, first eigenvalues.
BOUNDS = ("0.837383", "1.26309", "0.883155", "0.691571", "0.413265", "0.265682", "0.253912", "0.255631")
EIGENVALUES = ("2.19193", "2.14617", "1.6024")
SIZE = 20


def run() -> dict[str, Any]:
    """All cases that are not kept, in a fresh process with one thread."""
    return fresh("benchmarks.parabolic:measure_all")


def model(cells: int = 25) -> rbm.TimeModel:
    """Return the model; its matrices are Kronecker products of those of linear elements."""
    one = np.ones(cells)
    h = 1.0 / cells
    difference = sp.diags_array([-one, one], offsets=[0, 1], shape=(cells, cells + 1))
    mean = sp.diags_array([one, one], offsets=[0, 1], shape=(cells, cells + 1)) / 2
    stiffness = difference.T @ difference / h
    mass = h * (mean.T @ mean) + h / 12 * (difference.T @ difference)
    slope = mean.T @ difference
    load = np.asarray(mass.sum(axis=1)).ravel()
    mid, inner = (np.arange(cells) + 0.5) / cells, np.arange(1, cells)
    k, m, c = (sp.csr_array(sp.csr_array(a)[inner][:, inner]) for a in (stiffness, mass, slope))

    def window(low: float, high: float) -> np.ndarray:
        return h * (mean.T @ ((low <= mid) & (mid <= high)).astype(float))[inner] / (high - low)

    near, far = window(0.12, 0.28), window(0.72, 0.88)
    outputs = {
        "s1": np.kron(far, far), "s2": np.kron(near, far), "s3": np.kron(near, near), "s4": np.kron(far, near),
    }  # fmt: skip
    product = sp.csr_array(sp.kron(k, m) + sp.kron(m, k))
    return rbm.TimeModel(
        sp.csr_array(sp.kron(m, m)),
        [(0.05, product), ("x", sp.csr_array(sp.kron(c, m))), ("y", sp.csr_array(sp.kron(m, c)))],
        [(1.0, np.kron(load[inner], load[inner]))], product, {"x": (-2.0, 2.0), "y": (-2.0, 2.0)}, 0.05,
        dt=0.01, steps=100, outputs=outputs,
    )  # fmt: skip


def grid() -> np.ndarray:
    """The training points: a grid of 10 x 10."""
    line = np.linspace(-2, 2, 10)
    return np.array([(x, y) for x in line for y in line])


def published() -> dict[str, Any]:
    """The published run: bounds, eigenvalues and the norm of the outputs, with as many digits as are printed."""
    result = rbm.pod_greedy(model(), grid(), max_basis=7)
    bounds = tuple(f"{step.bound:.6g}" for step in result.history)
    values = tuple(f"{step.eigenvalues[0]:.6g}" for step in result.history[:3])
    norms = {f"{np.linalg.norm(output.dual) ** 2:.6g}" for output in result.reduced_model.outputs.values()}
    return {
        "bounds": list(bounds),
        "eigenvalues": list(values),
        "output_norms": sorted(norms),
        "equal": bounds == BOUNDS and values == EIGENVALUES and norms == {"33.6538"},
        "effectivity": [step.effectivity for step in result.history[:-1]],
    }


def oracle() -> dict[str, Any]:
    """10^5 pairs of parameter and step and more: bounds below the true error, effectivity, floors at round-off."""
    above = pairs = 0
    resolved, hidden = [], []
    for cells, sizes, count in ((10, (4, 12, 30, 60, 81), 120), (25, (10, 30), 200)):
        full = model(cells)
        result = rbm.pod_greedy(full, full.parameters.sample(40), max_basis=max(sizes))
        for size in sizes:
            reduced = result.reduced_model.truncate(min(size, result.basis.shape[1]))
            mus = full.parameters.sample(count, "random", rng=size)
            answer = reduced.solve(mus)
            errors = full.error_norms(mus, answer.coefficients, result.basis[:, : reduced.size])
            above += int(np.sum(answer.bound < errors.energy) + np.sum(answer.bound_l2 < errors.l2))
            pairs += errors.l2.size
            with np.errstate(invalid="ignore", divide="ignore"):
                ratio, floor = answer.bound / errors.energy, answer.estimate.floor / errors.energy
            seen = answer.estimate.resolved
            seen[:, 0] = False
            resolved.append(ratio[seen])
            hidden.append(floor[:, 1:][~seen[:, 1:]])
    ratio, floor = np.concatenate(resolved), np.concatenate(hidden)
    return {
        "pairs": pairs,
        "above": above,
        "effectivity_least": float(ratio.min()),
        "effectivity_median": float(np.median(ratio)),
        "effectivity_largest": float(ratio.max()),
        "at_round_off": len(floor),
        "floor_over_error_median": float(np.median(floor)),
        "floor_over_error_largest": float(floor.max()),
    }


def peer() -> tuple[Any, Any]:
    """Return the model in pyMOR, and a reductor for it."""
    from pymor.algorithms.timestepping import ImplicitEulerTimeStepper
    from pymor.core.logger import set_log_levels
    from pymor.models.basic import InstationaryModel
    from pymor.operators.constructions import LincombOperator
    from pymor.operators.numpy import NumpyMatrixOperator
    from pymor.parameters.functionals import GenericParameterFunctional, ProjectionParameterFunctional
    from pymor.reductors.parabolic import ParabolicRBReductor

    set_log_levels({"pymor": "ERROR"})
    ours = model()
    terms = [NumpyMatrixOperator(sp.csc_matrix(a)) for a in ours.spatial.operator_terms]
    operator = LincombOperator(terms, [0.05, ProjectionParameterFunctional("x"), ProjectionParameterFunctional("y")])
    mass = NumpyMatrixOperator(sp.csc_matrix(ours.mass.terms[0]))
    product = NumpyMatrixOperator(sp.csc_matrix(ours.inner_product.matrix))
    rhs = operator.range.from_numpy(ours.spatial.rhs_terms)
    outputs = np.stack([output.terms[0] for output in ours.outputs.values()])
    fom = InstationaryModel(
        T=1.0, initial_data=operator.source.zeros(), operator=operator, rhs=rhs, mass=mass,
        time_stepper=ImplicitEulerTimeStepper(nt=100), num_values=101, products={"l2": mass, "h1": product},
        output_functional=NumpyMatrixOperator(outputs),
    )  # fmt: skip
    alpha = GenericParameterFunctional(lambda mu: 0.05, {"x": 1, "y": 1})
    return fom, lambda basis: ParabolicRBReductor(
        fom, RB=None if basis is None else fom.solution_space.from_numpy(basis), product=product,
        coercivity_estimator=alpha,
    )  # fmt: skip


def online() -> dict[str, Any]:
    """N = 20, 100 steps, batches of 10^4: CPU time per point with bounds and outputs beside pyMOR's, and GFlop/s."""
    full = model()
    snapshots = np.concatenate([path.T for path in full.solve(grid()[::9])], axis=1)
    basis = lowrank.pod(snapshots, product=full.inner_product.matrix, rank=SIZE).modes
    reduced = rbm.project_time(full, basis)
    fom, reductor = peer()
    rom = reductor(basis).reduce()
    mus = full.parameters.sample(10_000, "random", rng=0)
    points = [fom.parameters.parse({"x": [mu[0]], "y": [mu[1]]}) for mu in mus[:8]]

    def loop() -> list[Any]:
        made = []
        for mu in points:
            u = rom.solve(mu)
            made.append((rom.output_functional.apply(u).to_numpy(), rom.error_estimator.estimate_error(u, mu, rom)))
        return made

    found = paired_ratio(lambda: reduced.solve(mus, coefficients=False), loop, turns=9)
    seconds = found["seconds"][0] / len(mus), found["seconds"][1] / len(points)
    answer = reduced.solve(mus[:8])
    theirs = np.array([np.asarray(s).reshape(4, -1) if np.shape(s)[0] == 4 else np.asarray(s).T for s, _ in loop()])
    off = np.abs(theirs[:, 0] - answer.outputs["s1"]).max() / np.abs(theirs).max()
    one = paired_ratio(lambda: reduced.solve(mus[:1]), lambda: reduced.solve(mus[:1], coefficients=False), turns=21)
    entries = int(np.count_nonzero(reduced.certificate.state.factor))
    flops = 100 * (2 * entries + 4 * SIZE**2) + 4 * SIZE**2 * 4 + 2 * SIZE**3 / 3
    square = np.random.default_rng(0).standard_normal((1500, 1500))
    product_seconds = min(_timed(lambda: square @ square) for _ in range(5))
    peak = 2 * 1500**3 / product_seconds
    scale = seconds[1] / seconds[0]
    return {
        "basis": SIZE,
        "us_per_point": 1e6 * seconds[0],
        "pymor_us_per_point": 1e6 * seconds[1],
        "ratio": scale,
        "ratio_95": [r * len(mus) / len(points) for r in found["ratio_95"]],
        "outputs_apart": float(off),
        "flops_per_point": flops,
        "gflops": 1e-9 * flops / seconds[0],
        "matrix_product_gflops": 1e-9 * peak,
        "share_of_matrix_product": flops / seconds[0] / peak,
        "single_point_ms": 1e3 * one["seconds"][0],
    }


def _timed(call: Any) -> float:
    start = time.process_time()
    call()
    return time.process_time() - start


def stream() -> dict[str, Any]:
    """10^6 points through `stream`: seconds, and by how much the process grew."""
    full = model()
    snapshots = np.concatenate([path.T for path in full.solve(grid()[::9])], axis=1)
    reduced = rbm.project_time(full, lowrank.pod(snapshots, product=full.inner_product.matrix, rank=SIZE).modes)
    mus = full.parameters.sample(1_000_000, "random", rng=0)
    reduced.solve(mus[:20_000], coefficients=False)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    start, largest = time.process_time(), 0.0
    for answer in reduced.stream(mus, coefficients=False):
        largest = max(largest, float(answer.bound[:, -1].max()))
    seconds = time.process_time() - start
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    return {"points": len(mus), "cpu_seconds": seconds, "grown_mb": grown / 1024, "largest_bound": largest}


def offline() -> dict[str, Any]:
    """POD-greedy to 20 vectors on 100 training points, beside pyMOR's: CPU seconds, and the quality of both bases."""
    from pymor.algorithms.greedy import rb_greedy

    full = model()
    rbm.pod_greedy(full, grid(), max_basis=1)  # compiles
    start = time.process_time()
    result = rbm.pod_greedy(full, grid(), max_basis=SIZE)
    ours = time.process_time() - start
    fom, reductor = peer()
    points = [fom.parameters.parse({"x": [mu[0]], "y": [mu[1]]}) for mu in grid()]
    made = reductor(None)
    start = time.process_time()
    rb_greedy(fom, made, points, max_extensions=SIZE, extension_params={"method": "pod", "pod_modes": 1})
    theirs = time.process_time() - start
    mus = full.parameters.sample(200, "random", rng=1)
    bases = result.basis, made.bases["RB"].to_numpy()
    bounds = [float(rbm.project_time(full, z).solve(mus).bound[:, -1].max()) for z in bases]
    return {
        "basis": SIZE,
        "cpu_seconds": ours,
        "pymor_cpu_seconds": theirs,
        "share": ours / theirs,
        "largest_bound": bounds[0],
        "pymor_largest_bound": bounds[1],
    }


def duals() -> dict[str, Any]:
    """Outputs of the cooling fin with and without dual problems, against a truth beyond double precision."""
    from problems import cooling_fin

    fin = cooling_fin(2)
    found = rbm.pod_greedy(fin, fin.parameters.sample(50), tol=2e-3, modes=4, control="impulse", dual="all")
    whole, plain = found.reduced_model, rbm.project_time(fin, found.basis)
    mus = fin.parameters.sample(40, "random", rng=5)
    control = np.random.default_rng(5).uniform(0, 1, (40, fin.steps))
    truth = fin.solve_extended(mus, control)
    made: dict[str, Any] = {"basis": whole.size, "duals": {n: d.size for n, d in whole.duals.items()}}
    made |= {"pairs": 0, "below": 0, "outputs": {}}
    for size in (8, 24, whole.size):
        answer, before = whole.truncate(size).solve(mus, control), plain.truncate(size).solve(mus, control)
        for name, output in fin.outputs.items():
            term = output.terms[0].astype(np.longdouble)
            exact = sum(part.astype(np.longdouble) @ term for part in truth)
            error, old = (np.abs(exact - a.outputs[name]).astype(float)[:, 1:] for a in (answer, before))
            bound, wide = (a.output_bounds[name][:, 1:] for a in (answer, before))
            made["pairs"] += bound.size
            made["below"] += int(np.sum(answer.output_bounds[name] < np.abs(exact - answer.outputs[name])))
            if size == whole.size:
                made["outputs"][name] = {
                    "error": float(np.median(error)), "bound": float(np.median(bound)),
                    "effectivity": float(np.median(bound / error)), "plain_error": float(np.median(old)),
                    "plain_bound": float(np.median(wide)), "plain_effectivity": float(np.median(wide / old)),
                }  # fmt: skip
    many = fin.parameters.sample(2000, "random", rng=6)
    seconds = []
    for reduced in (plain, whole):
        reduced.solve(many[:64], coefficients=False)
        seconds.append(min(_timed(lambda r=reduced: r.solve(many, coefficients=False)) for _ in range(3)))
    made["us_per_point"], made["us_per_point_with_duals"] = (1e6 * t / len(many) for t in seconds)
    return made


CASES = {
    "published": published, "oracle": oracle, "online": online, "stream": stream, "offline": offline, "duals": duals,
    "heat_cases": heat_cases,
}  # fmt: skip


def measure_all() -> dict[str, Any]:
    """All cases, those that are kept taken from the file; what is done is said on standard error."""
    kept = KeptCases(RESULTS)
    made = {}
    for name, case in CASES.items():
        print(f"  parabolic: {name}", file=sys.stderr, flush=True)
        model_name = {"duals": "cooling_fin(2)", "heat_cases": "bar, cooling_fin(1), a part of its ranges"}.get(
            name, "reduced_basis_ex3"
        )
        made[name] = kept.case(name, {"model": model_name}, case)
    return made


def table(result: dict[str, Any]) -> str:
    """Return the figures of all cases, one a row, with those of pyMOR beside them."""
    p, o, q, s, f, d, h = (result[name] for name in CASES)
    rows = [
        ["published bounds, eigenvalues, norms", "all digits" if p["equal"] else "NOT EQUAL", ""],
        ["pairs of parameter and step, bounds below", f"{o['pairs']}, {o['above']}", ""],
        ["effectivity where resolved, median to largest", f"{o['effectivity_median']:.2f} to "
         f"{o['effectivity_largest']:.2f}", ""],
        ["floor over true error at round-off", f"{o['floor_over_error_median']:.1f} to "
         f"{o['floor_over_error_largest']:.1f}", ""],
        ["online, us a point", f"{q['us_per_point']:.1f}", f"{q['pymor_us_per_point']:.0f}"],
        ["share of the matrix product's rate", f"{100 * q['share_of_matrix_product']:.0f} %", ""],
        ["10^6 points, CPU s, growth in MB", f"{s['cpu_seconds']:.0f}, {s['grown_mb']:.0f}", ""],
        ["offline, 20 vectors, CPU s", f"{f['cpu_seconds']:.1f}", f"{f['pymor_cpu_seconds']:.1f}"],
        ["largest bound of these bases", f"{f['largest_bound']:.4f}", f"{f['pymor_largest_bound']:.4f}"],
        ["outputs with dual problems, pairs, bounds below", f"{d['pairs']}, {d['below']}", ""],
        ["a point without and with three dual problems, us", f"{d['us_per_point']:.0f}, "
         f"{d['us_per_point_with_duals']:.0f}", ""],
    ]  # fmt: skip
    rows += [
        [f"{name}: median bound / error, with, without", f"{v['effectivity']:.1f}, {v['plain_effectivity']:.0f}", ""]
        for name, v in d["outputs"].items()
    ]
    rows += [[f"{name}: effectivity, median to largest", f"{v['median']:.2f} to {v['largest']:.2f}", ""]
             for name, v in h.items()]  # fmt: skip
    return text_table("models in time, 576 unknowns, 100 steps, N = 20", ["", "ours", "pyMOR"], rows)
