"""Posteriors, chains, Sobol indices and states from sensors, against closed forms and full solves.

    python -m benchmarks.uncertainty                   every case that the file has not yet; goes on between cases
    python -m benchmarks.uncertainty "chain, N = 20"   one case of them
    python -m benchmarks.uncertainty figures FOLDER    the figures of docs/uncertainty.md and docs/sensors.md

A violation is a value of the full model outside its interval. Times are CPU seconds; both sides of a ratio run in one
process, the full model last.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

__all__ = ["CASES", "run"]

STORE = Path(__file__).with_name("uncertainty.json")
TRUE = np.array([1.0, 0.5, 2.0, 0.3, 0.1])
STEP = 0.05


@cache
def fin(size: int) -> tuple[Any, Any, Any]:
    """Return the thermal fin, its reduced model, and a posterior for three readings of its root temperature."""
    import rbm
    from problems import thermal_fin

    model = thermal_fin()
    reduced = rbm.greedy(model, model.parameters.sample(300), max_basis=size).reduced_model
    value = float(model.outputs["T_root"](TRUE[None], model.solve(TRUE))[0])
    readings = value + 0.02 * np.random.default_rng(0).standard_normal(3)
    return model, reduced, rbm.posterior(reduced, {"T_root": (readings, 0.02)})


@cache
def full_values(count: int) -> tuple[np.ndarray, np.ndarray]:
    """Return random points of the fin, and its output there, from solutions beyond double precision."""
    model, _, _ = fin(10)
    mus = model.parameters.sample(count, "random", rng=7)
    hi, lo = model.solve_extended(mus)
    output = model.outputs["T_root"]
    return mus, output(mus, hi.T) + output(mus, lo.T)


def likelihood(size: int, count: int = 1000) -> dict[str, Any]:
    """The log-likelihood and three expectations at random points."""
    mus, truth = full_values(count)
    _, reduced, found = fin(size)
    value, bound = found.log_likelihood(mus)
    exact = found.observations.log_likelihood({"T_root": truth}).value
    error = np.abs(exact - value)
    made: dict[str, Any] = {
        "N": reduced.size, "points": count, "violations": int(np.sum(error > bound)),
        "median_bound": float(np.median(bound)), "median_bound_over_error": float(np.median(bound / error)),
    }  # fmt: skip
    weight = np.exp(exact - exact.max())
    expected = {"Bi": mus[:, 4], "log k1": np.log(mus[:, 0]), "T_root": truth}
    for name, h in expected.items():
        low, high = found.expectation(name if name == "T_root" else h, mus)
        mean = float(np.sum(weight * h) / np.sum(weight))
        made[name] = {"low": low, "high": high, "full": mean, "inside": bool(low <= mean <= high)}
    low, high = found.log_evidence(mus)
    made["log evidence"] = {"low": low, "high": high, "full": float(np.log(weight.mean()) + exact.max())}
    return made


def in_300_bits(models: int = 40, n: int = 8, points: int = 25) -> dict[str, Any]:
    """Random models with bases of every size: the log-likelihood of the full model in ball arithmetic."""
    import flint

    import rbm
    from lowrank import gram_schmidt

    flint.ctx.prec = 300
    made = {"points": 0, "violations": 0, "of_full_bases": 0}
    ratios = []

    def exact(a: np.ndarray) -> Any:
        return flint.arb_mat(np.atleast_2d(a).tolist())

    for seed in range(models):
        rng = np.random.default_rng(seed)
        x, y = rng.standard_normal((2, n, n))
        k, m = x @ x.T + np.eye(n), y @ y.T
        k, m = (k + k.T) / 2, (m + m.T) / 2
        f, g = rng.standard_normal((2, n))
        model = rbm.FullOrderModel([(1.0, k), ("a", m)], [(1.0, f)], k, {"a": (0.0, 5.0)}, 1.0, {"s": g})
        size = 1 + seed % n
        mus = model.parameters.sample(points, "random", rng=seed)
        reduced = rbm.project(model, gram_schmidt(model.solve(model.parameters.sample(size)).T, product=k).basis)
        data, sigma = rng.standard_normal(4), rng.uniform(0.1, 1.0, 4)
        value, bound = rbm.posterior(reduced, {"s": (data, sigma)}).log_likelihood(mus)
        for j, (a,) in enumerate(mus):
            s = (exact(g) * (exact(k) + exact(m) * flint.arb(float(a))).solve(exact(f[:, None])))[0, 0]
            total = flint.arb(0)
            for one, noise in zip(data, sigma, strict=True):
                size_of = flint.arb(float(noise))
                total -= ((flint.arb(float(one)) - s) / size_of) ** 2 / 2 + size_of.log()
                total -= (2 * flint.arb.pi()).log() / 2
            error = abs(total - flint.arb(float(value[j])))
            made["points"] += 1
            made["of_full_bases"] += int(reduced.size == n)
            made["violations"] += int(float(error.mid()) > bound[j])
            ratios.append(bound[j] / max(float(error.mid()), 1e-300))
    return made | {"median_bound_over_error": float(np.median(ratios)), "least": float(np.min(ratios))}


def closed_form(size: int) -> dict[str, Any]:
    """Outputs that are linear in two parameters with normal priors: mean, covariance and evidence are known."""
    import scipy.stats

    import rbm
    from lowrank import gram_schmidt
    from problems import convection_diffusion

    given = convection_diffusion(n=20)
    rng = np.random.default_rng(3)
    loads = rng.standard_normal((given.dimension, 2)) / given.dimension
    priors = {"a": scipy.stats.truncnorm(-9, 9, 1.0, 0.5), "b": scipy.stats.truncnorm(-9, 9, -2.0, 1.0)}
    rows = rng.standard_normal((3, given.dimension))
    model = rbm.FullOrderModel(
        [(1.0, given.product)], [("a", loads[:, 0]), ("b", loads[:, 1])], given.product,
        rbm.ParameterSpace(priors), 1.0, outputs={f"s{j}": row for j, row in enumerate(rows)},
    )  # fmt: skip
    columns = model.solve(np.array([[1.0, 0.0], [0.0, -2.0]])) / np.array([[1.0], [-2.0]])
    matrix = rows @ columns.T
    sigma = 0.3 * np.abs(matrix).max() * np.ones(3)
    y = matrix @ [1.2, -1.5] + 0.3 * sigma
    basis = gram_schmidt(columns[::-1].T[:, :size], product=given.product).basis
    found = rbm.posterior(rbm.project(model, basis), {f"s{j}": (y[j], sigma[j]) for j in range(3)})
    mean, prior = np.array([1.0, -2.0]), np.diag([0.25, 1.0])
    cov = np.linalg.inv(np.linalg.inv(prior) + matrix.T @ (matrix / sigma[:, None] ** 2))
    middle = cov @ (np.linalg.solve(prior, mean) + matrix.T @ (y / sigma**2))
    evidence = scipy.stats.multivariate_normal(matrix @ mean, np.diag(sigma**2) + matrix @ prior @ matrix.T).logpdf(y)
    nodes, weights = np.polynomial.legendre.leggauss(160)
    low, high = model.parameters.bounds.T
    axes = [(a + b) / 2 + (b - a) / 2 * nodes for a, b in zip(low, high, strict=True)]
    mus = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, 2)
    w = np.multiply.outer(weights, weights).ravel() * np.prod((high - low) / 2)
    w = w * np.exp(found.space.prior.log_density(mus))
    made: dict[str, Any] = {"N": size}
    for name, h, exact in (
        ("mean of a", mus[:, 0], middle[0]),
        ("mean of b", mus[:, 1], middle[1]),
        ("covariance", (mus[:, 0] - middle[0]) * (mus[:, 1] - middle[1]), cov[0, 1]),
    ):
        a, b = found.expectation(h, mus, w)
        made[name] = {"low": a, "high": b, "exact": float(exact), "inside": bool(a - 1e-11 <= exact <= b + 1e-11)}
    a, b = found.log_evidence(mus, w)
    return made | {"log evidence": {"low": a, "high": b, "exact": float(evidence), "inside": bool(a <= evidence <= b)}}


def chain(size: int, steps: int = 400, chains: int = 2) -> dict[str, Any]:
    """The exact chain, and the full model's own with the same random numbers."""
    from rbm.uses import chain_numbers

    model, reduced, found = fin(size)
    start = model.parameters.sample(chains, rng=9)
    begun = time.process_time()
    exact = found.chain(model, steps, start=start, step=STEP, rng=11)
    seconds = time.process_time() - begun

    prior, seen = model.parameters.prior, found.observations
    z, log_u = chain_numbers(11, steps, chains, len(prior.names))

    def full(mus: np.ndarray) -> np.ndarray:
        return seen.log_likelihood({"T_root": model.outputs["T_root"](mus, model.solve(mus))}).value

    begun = time.process_time()
    x = prior.unit(start)
    value, taken, same = full(prior.points(x)), [], True
    for t in range(steps):
        y = np.abs(x + STEP * z[t])
        y = np.where(y > 1, 2 - y, y)
        proposed = full(prior.points(y))
        take = log_u[t] < proposed - value
        x, value = np.where(take[:, None], y, x), np.where(take, proposed, value)
        taken.append(take)
        same = same and bool(np.allclose(prior.points(x), exact.mus[t + 1], rtol=1e-12, atol=0))
    other = time.process_time() - begun
    return {
        "N": reduced.size, "steps": steps * chains, "truth_solves": exact.truth_solves,
        "full_solves": (steps + 1) * chains, "same_decisions": bool(np.array_equal(taken, exact.accepted)),
        "same_points": same, "tied": exact.tied, "acceptance": exact.acceptance,
        "cpu": seconds, "cpu_full": other, "ratio": other / seconds,
    }  # fmt: skip


@cache
def full_indices(count: int) -> dict[str, Any]:
    """SALib on the full model."""
    from SALib.analyze import sobol as analysis
    from SALib.sample import sobol as points

    model, _, _ = fin(10)
    p = len(model.parameters)
    problem = {"num_vars": p, "names": list(model.parameters.names), "bounds": [[0.0, 1.0]] * p}
    unit = points.sample(problem, count, calc_second_order=False, seed=3)
    mus = model.parameters.prior.points(unit)
    return dict(analysis.analyze(problem, model.outputs["T_root"](mus, model.solve(mus)), False, seed=1))


def sobol(size: int, count: int = 256) -> dict[str, Any]:
    """Sobol indices of the fin's root temperature."""
    import rbm

    _, reduced, _ = fin(size)
    begun = time.process_time()
    found = rbm.sobol_indices(reduced, "T_root", count, rng=3)
    seconds, full = time.process_time() - begun, full_indices(count)
    outside = 0
    for key, ends in (("S1", found.first_interval), ("ST", found.total_interval)):
        outside += int(np.sum((full[key] < ends[:, 0]) | (full[key] > ends[:, 1])))
    return {
        "N": reduced.size, "points": found.evaluations, "violations": outside, "cpu": seconds,
        "first": found.first_interval.tolist(), "total": found.total_interval.tolist(),
        "widest": float(np.ptp(found.total_interval, axis=1).max()),
        "confidence_total": found.total_confidence.tolist(),
    }  # fmt: skip


def sensors(size: int, count: int, noise: float, xi: float = 0.0, points: int = 200) -> dict[str, Any]:
    """States of the fin from temperatures at points of it."""
    import rbm

    model, reduced, _ = fin(size)
    begun = time.process_time()
    placed = rbm.place_sensors(reduced, count)
    seen = rbm.pbdw(reduced, placed, regularization=xi)
    seconds = time.process_time() - begun
    mus = model.parameters.sample(points, "random", rng=8)
    u = model.solve(mus)
    rng = np.random.default_rng(1)
    off = noise * rng.standard_normal((points, count))
    found = seen.estimate(u[:, placed] + off)
    inner = model.inner_product
    error, loud = inner.norm((found.states - u).T), np.linalg.norm(off, axis=1)
    bound = seen.error_bound(found, reduced.solve(mus).bound, loud)
    low, high = seen.error_interval(found, reduced, mus, loud).T
    c = rng.standard_normal((20, reduced.size))
    z = c @ reduced.basis.T
    again = seen.estimate(z[:, placed])
    recovered = inner.norm((again.states - z).T)
    random = rng.choice(model.dimension, count, replace=False)
    return {
        "N": reduced.size, "sensors": count, "noise": noise, "xi": xi, "beta": seen.stability,
        "beta_of_random_sensors": rbm.pbdw(reduced, random).stability, "noise_gain": seen.noise_gain,
        "white_noise_gain": seen.white_noise_gain, "offline_cpu": seconds,
        "recovery_error": float(recovered.max()), "recovery_floor": float(seen.error_bound(again, 0.0).max()),
        "violations": int(np.sum((error > bound) | (error < low) | (error > high))),
        "median_error": float(np.median(error)),
        "median_error_of_projection": float(np.median(_best(model, reduced, u))),
        "median_bound_over_error": float(np.median(bound / error)),
        "median_interval_over_error": float(np.median(high / error)),
    }  # fmt: skip


def _best(model: Any, reduced: Any, u: np.ndarray) -> np.ndarray:
    """Return the distances of states (M, n) from the reduced space."""
    off = u.T - reduced.basis @ (reduced.basis.T @ (model.product @ u.T))
    return np.asarray(model.inner_product.norm(off))


CASES: dict[str, Callable[[], dict[str, Any]]] = {
    "closed form, N = 1": lambda: closed_form(1),
    "closed form, N = 2": lambda: closed_form(2),
    "300 bits": in_300_bits,
    **{f"likelihood, N = {n}": (lambda n=n: likelihood(n)) for n in (10, 20, 30)},
    **{f"chain, N = {n}": (lambda n=n: chain(n)) for n in (10, 20, 30)},
    **{f"sobol, N = {n}": (lambda n=n: sobol(n)) for n in (10, 20, 30)},
    **{f"sensors, {k}": (lambda k=k: sensors(10, k, 0.0)) for k in (10, 20, 40)},
    "sensors, 20, noise": lambda: sensors(10, 20, 1e-2),
    "sensors, 20, noise, xi": lambda: sensors(10, 20, 1e-2, 1e-2),
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


if __name__ == "__main__":
    if sys.argv[1:2] == ["figures"]:
        from benchmarks.uncertainty_figures import figures

        figures(sys.argv[2])
    else:
        run(sys.argv[1:])
