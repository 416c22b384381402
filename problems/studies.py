"""Whole studies: offline, online, figures, a JSON summary and a saved model."""

from __future__ import annotations

import json
import platform
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import scipy
import scipy.sparse as sp

import rbm
from lowrank.full_pivoting import SATURATION
from lowrank.progress import progress_bar
from lowrank.writing import write_atomically
from problems.acoustics import scattering_figures
from problems.acoustics.scattering import acoustic_scattering
from problems.reaction_diffusion import reaction_diffusion_1d
from problems.study_report import table, wrapped
from problems.thermal_block import thermal_block, thermal_block_mesh
from rbm import Estimate, FullOrderModel, GreedyResult, plots
from rbm.online.compilation import compile_seconds

__all__ = ["STUDIES", "Study", "run"]

#: Estimators that select parameters; their points change with the basis, so they are prepared anew for every N.
SELECTING = ("sampled", "interpolated")

#: Text that can be read on dark and on bright colours.
READABLE: dict[str, Any] = {"color": "white", "bbox": {"facecolor": "black", "alpha": 0.45, "lw": 0, "pad": 1.5}}


@dataclass(frozen=True)
class Study:
    """What a study computes with."""

    title: str
    model: Callable[[bool], FullOrderModel]  #: from whether progress is shown
    training: int  #: training parameters
    tests: int  #: test parameters
    max_basis: int
    tol: float
    estimators: tuple[str, ...]
    sizes: Callable[[int], Sequence[int]]  #: basis sizes N to compare the estimators at, given the final one
    figures: Callable[[Any, rbm.ReducedModel], dict[str, Any]]  #: of solutions, by name
    remark: str = ""  #: said before the model is made, if that takes long
    relative: bool = False  #: tol is relative to the norm of the solution
    sampled_up_to: int = 1000  #: largest N for which E3 and E4, whose offline cost grows like N^2, are prepared


def run(
    name: str, out: Path, tol: float | None = None, *, progress: bool = True, say: Callable[[str], None] = print
) -> dict[str, Any]:
    """Run a study of :data:`STUDIES` and write model.rbm, summary.json and figures (png and pdf) to the folder `out`.

    Returns the summary, the content of summary.json. Takes 5 to 60 seconds, "scattering" two minutes more the first time.
    """
    study = STUDIES[name]
    if tol is not None and not tol >= 0:
        raise ValueError(f"tol must be a number >= 0, got {tol}")
    out.mkdir(parents=True, exist_ok=True)  # now, not after the offline stage
    say(study.title)
    if study.remark:
        say(wrapped(f"  {study.remark}"))
    model = study.model(progress)
    say(wrapped(f"  {model}"))

    start, compiled = time.perf_counter(), compile_seconds()
    training = model.parameters.sample(study.training, "grid" if len(model.parameters) == 1 else "sobol")
    result = rbm.greedy(
        model,
        training,
        tol=study.tol if tol is None else tol,
        max_basis=study.max_basis,
        estimators=[m for m in study.estimators if m not in SELECTING or study.max_basis <= study.sampled_up_to],
        progress=progress,
        relative=study.relative,
    )
    compiling = compile_seconds() - compiled
    seconds = time.perf_counter() - start - compiling
    once = f" (and {compiling:.1f} s for compiling the kernels, once)" if compiling else ""
    say(wrapped(f"offline, {seconds:.1f} s{once}\n  {result}"))

    result.reduced_model.save(out / "model.rbm")
    say(f"  saved {out / 'model.rbm'}: {(out / 'model.rbm').stat().st_size / 1024:.0f} KiB")

    start = time.perf_counter()
    comparison = compare(model, result, training, study, progress)
    compared = time.perf_counter() - start
    timing = time_online(model, result.reduced_model)
    say(
        wrapped(
            f"online: {timing['microseconds_per_query']:.2f} us per certified query in a batch of {timing['batch']}, "
            f"{timing['speed_up']:.0f} times faster than a full-order solve ({solver_name(model)} and refinement)"
        )
    )
    say(f"estimators against {study.tests} full-order solutions, {compared:.1f} s\n{table(comparison)}")
    summary = {
        "study": name,
        "title": study.title,
        "unknowns": model.dimension,
        "parameters": dict(zip(model.parameters.names, model.parameters.bounds.tolist(), strict=True)),
        "training_parameters": study.training,
        "test_parameters": study.tests,
        "basis_size": len(result.parameters),
        "stopped": result.stopped,
        "reason": result.reason,
        "offline_seconds": seconds,
        "compile_seconds": compiling,
        "full_order_solver": solver_name(model),
        "online": timing,
        "oracle": "residual norm of E1, formed in extended precision, over the stability bound",
        "sizes": comparison.rows,
        # JSON has no NaN
        "history": [{k: None if v != v else v for k, v in asdict(step).items()} for step in result.history],
        "versions": {
            "rbm-toolkit": rbm.__version__,
            "numpy": np.__version__,
            "scipy": scipy.__version__,
            "python": platform.python_version(),
        },
    }
    write_atomically(out / "summary.json", (json.dumps(summary, indent=1) + "\n").encode())
    start = time.perf_counter()
    figures(study, model, result, comparison, out)
    say(f"figures, {time.perf_counter() - start:.1f} s; they, summary.json and model.rbm are in {out}")
    return summary


@dataclass(frozen=True)
class Comparison:
    """Estimators against the truth on the test parameters, for each basis size."""

    mus: np.ndarray  #: (M, p)
    errors: dict[int, np.ndarray]  #: {N: true error (M,)}
    estimates: dict[str, dict[int, Estimate]]  #: {method: {N: Estimate (M,)}}
    rows: list[dict[str, Any]]  #: for summary.json
    decay: dict[str, np.ndarray]  #: EIM residual histories of E4


def compare(
    model: FullOrderModel, result: GreedyResult, training: np.ndarray, study: Study, progress: bool
) -> Comparison:
    """Project onto the first N basis vectors, for each N, and evaluate every estimator and the true error."""
    mus = model.parameters.sample(study.tests, "random", seed=1)
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
        row: dict[str, Any] = {
            "N": n,
            "largest_true_error": float(errors[n].max()),
            "largest_oracle": float(oracle.max()),
        }
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


def solver_name(model: FullOrderModel) -> str:
    """What full-order systems are solved with, in words."""
    if model.solver is not None:
        return f"the model's own solver {getattr(model.solver, '__name__', type(model.solver).__name__)}"
    return "sparse LU" if all(sp.issparse(term) for term in model.operator_terms) else "dense LU"


def time_online(model: FullOrderModel, reduced: rbm.ReducedModel, batch: int = 10_000) -> dict[str, Any]:
    """Microseconds per certified query in one batch, and per full-order solve, the best of three runs each."""
    mus = model.parameters.sample(batch, "random", seed=2)
    reduced.solve(mus[:10])
    queries = _best(lambda: reduced.solve(mus)) / batch * 1e6
    full = _best(lambda: model.solve(mus[:5])) / 5 * 1e6
    return {
        "batch": batch,
        "microseconds_per_query": queries,
        "microseconds_per_full_solve": full,
        "speed_up": full / queries,
    }


def _best(call: Callable[[], Any]) -> float:
    seconds = []
    for _ in range(3):
        start = time.perf_counter()
        call()
        seconds.append(time.perf_counter() - start)
    return min(seconds)


def figures(study: Study, model: FullOrderModel, result: GreedyResult, comparison: Comparison, out: Path) -> None:
    """All figures of a study."""
    sizes = list(comparison.errors)
    errors = [float(comparison.errors[n].max()) for n in sizes]
    plots.save(plots.estimators_over_size(sizes, errors, comparison.estimates), out / "estimators")
    ratios: dict[str, dict[int, np.ndarray]] = {
        m: {n: e.bound / comparison.errors[n] for n, e in comparison.estimates[m].items()}
        for m in ("expanded", "orthonormal")
        if m in comparison.estimates
    }
    plots.save(plots.effectivity(sizes, ratios), out / "effectivity")
    plots.save(plots.selected_parameters(result.parameters, model.parameters), out / "selected_parameters")
    for name, figure in study.figures(model, result.reduced_model).items():
        plots.save(figure, out / name)
    if len(model.parameters) == 1:
        for n in sizes[len(sizes) // 2 :: 2]:
            per_method = {m: per[n] for m, per in comparison.estimates.items() if n in per}
            ax = plots.estimators_over_parameter(comparison.mus[:, 0], comparison.errors[n], per_method)
            ax.set_title(f"$N = {n}$")
            plots.save(ax, out / f"estimators_over_mu_N{n}")
    if comparison.decay:
        ax = plots.eim_decay(comparison.decay, round_off=SATURATION * np.finfo(float).eps / 2)
        ax.set_ylabel(r"$\max |X - I_r X| \,/\, \max |X|$")
        plots.save(ax, out / "eim_decay")


def _diffusion_solutions(model: FullOrderModel, reduced: rbm.ReducedModel) -> dict[str, Any]:
    n = reduced.basis.shape[0]  # type: ignore[union-attr]
    mus = np.array([[1.0], [10.0], [30.0], [100.0]])
    u = reduced.reconstruct(reduced.solve(mus).coefficients)
    x = np.linspace(0, 1, n + 2)
    return {"solutions": plots.solutions(x, np.pad(u, ((0, 0), (1, 1))), [rf"$\mu = {m:g}$" for m in mus[:, 0]])}


def _thermal_solutions(model: FullOrderModel, reduced: rbm.ReducedModel) -> dict[str, Any]:
    mesh = thermal_block_mesh()
    inner = np.setdiff1d(np.arange(mesh.p.shape[1]), mesh.boundary_nodes())
    mus = reduced.parameters.sample(3, "random", seed=3)
    u = np.zeros((len(mus), mesh.p.shape[1]))
    u[:, inner] = reduced.reconstruct(reduced.solve(mus).coefficients)
    figure = plots.solutions_on_mesh(mesh.p, mesh.t, u, ["conductivity of each block"] * len(mus))
    for mu, ax in zip(mus, figure.axes, strict=False):
        for i, k in enumerate(mu):
            ax.text((i % 3 + 0.5) / 3, (i // 3 + 0.5) / 3, f"{k:.2f}", ha="center", va="center", fontsize=8, **READABLE)
        for edge in (1 / 3, 2 / 3):
            ax.axvline(edge, color="white", lw=0.5)
            ax.axhline(edge, color="white", lw=0.5)
    return {"solutions": figure}


def _scattering(progress: bool) -> FullOrderModel:
    return acoustic_scattering("sphere", parts=2, wavenumber=2.0, level=4, progress=progress)


STUDIES: dict[str, Study] = {
    "diffusion": Study(
        title="Reaction-diffusion in one dimension: -u'' + mu u = 1",
        model=lambda progress: reaction_diffusion_1d(),
        training=1000,
        tests=1000,
        max_basis=20,
        tol=0.0,
        estimators=("orthonormal", "direct", "expanded", "sampled", "interpolated"),
        sizes=lambda n: range(1, n + 1),
        figures=_diffusion_solutions,
    ),
    "thermal-block": Study(
        title="Thermal block, 3 x 3: -div(k grad u) = 1",
        model=lambda progress: thermal_block(),
        training=500,
        tests=50,
        max_basis=60,
        tol=1e-2,
        estimators=("orthonormal", "direct", "expanded"),
        sizes=lambda n: sorted({*range(2, n, max(n // 10, 1)), n}),
        figures=_thermal_solutions,
    ),
    "scattering": Study(
        title="Acoustic scattering by a sphere with two admittances, k = 2, boundary elements",
        model=_scattering,
        training=500,
        tests=40,
        max_basis=60,
        tol=1e-10,
        estimators=("orthonormal", "direct", "expanded", "sampled", "interpolated"),
        sizes=lambda n: sorted({1, 2, *range(4, n, 4), n}),
        figures=scattering_figures.figures,
        remark="assembling matrices and choosing stability anchors: about two minutes the first time, a second later (cached)",
        relative=True,
        sampled_up_to=12,
    ),
}
