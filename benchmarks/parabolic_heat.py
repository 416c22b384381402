"""Why the energy bound in time is not sharper: the residual's norm, or what the norm of the error leaves out.

python -m benchmarks.parabolic_heat       # the shares; cases of parabolic.json are not computed again
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import scipy.sparse as sp

import lowrank
import rbm
from ml.chunks.kept_cases import KeptCases
from problems import cooling_fin
from rbm.solvers.factorization import factorize
from rbm.stability.bound import evaluated

__all__ = ["bar", "heat_cases", "part_of_fin", "shares"]

RESULTS = Path(__file__).with_name("parabolic.json")
PART = "cooling_fin(1), ranges of 10 : 1"


def shares(model: rbm.TimeModel, basis: np.ndarray, mus: np.ndarray) -> dict[str, Any]:
    """Return the two factors of bound / error at the last time, for implicit Euler: median and largest of the points.

    The residual r of the error equation, M (e^j - e^{j-1}) + dt A e^j = dt r^j, fulfils for e^0 = 0, H the Hermitian
    part of A and B = A - H, without any inequality,

        dt sum ||r||_{H'}^2 = |||e|||^2 + dt sum ||M (e^j - e^{j-1}) / dt + B e^j||_{H'}^2 + sum ||e^j - e^{j-1}||_M^2.

    So bound / |||e||| is the product of two factors, each at least one:

        norm = (sum ||r||_{P'}^2 / (alpha sum ||r||_{H'}^2))^{1/2}, as r is measured at the reference point
        time = (dt sum ||r||_{H'}^2)^{1/2} / |||e|||, as the norm of e lacks its change and convection
    """
    answer = rbm.project_time(model, basis).solve(mus)
    theta, weights = model.coefficients(answer.mus)[:2]
    alpha = evaluated(model.spatial.stability, answer.mus, theta, model.parameters)
    norms, times = [], []
    for i, u in enumerate(model.solve(answer.mus)):
        e = (u - answer.coefficients[i] @ basis.T).T  # (n, K + 1)
        a = sum(t * term for t, term in zip(theta[i], model.spatial.operator_terms, strict=True))
        m = sum(t * term for t, term in zip(weights[i], model.mass.terms, strict=True))
        h, steps = (a + a.T) / 2, np.diff(e, axis=1)
        r = m @ steps / model.dt + a @ e[:, 1:]
        own, given = (np.sum(r * factorize(b)(r)) for b in (h, model.inner_product.matrix))
        energy = e[:, -1] @ (m @ e[:, -1]) + model.dt * np.sum(e[:, 1:] * (h @ e[:, 1:]))
        norms.append(np.sqrt(given / alpha[i] / own))
        times.append(np.sqrt(model.dt * own / energy))
    made = {"norm": norms, "time": times, "both": np.multiply(norms, times)}
    return {name: {"median": float(np.median(v)), "largest": float(np.max(v))} for name, v in made.items()}


def bar() -> rbm.TimeModel:
    """Heat on (0, 1), with one diffusivity."""
    one, n = np.ones(19), 20
    stiffness = n * sp.diags_array([-one[1:], 2 * one, -one[1:]], offsets=[-1, 0, 1])
    mass = sp.diags_array([one[1:], 4 * one, one[1:]], offsets=[-1, 0, 1]) / (6 * n)
    space = {"k": (0.1, 2.0)}
    return rbm.TimeModel(mass, [("k", stiffness)], [(1.0, one / n)], stiffness, space, "k", dt=0.01, steps=100)


def part_of_fin() -> rbm.TimeModel:
    """The fin on a part of its ranges, 10 : 1 each, with the operator in the middle of that part as product."""
    fin = cooling_fin(1, steps=60)
    ranges = dict.fromkeys(("k1", "k2", "k3", "k4"), (1.0, 10.0)) | {"Bi": (0.1, 1.0)}
    space = rbm.ParameterSpace({name: ranges[name] for name in fin.parameters.names})
    middle = np.sqrt(space.bounds.prod(axis=1))
    theta = fin.spatial.operator_coefficients(middle[None])[0]
    terms = list(zip(fin.spatial.operator_coefficients.sources, fin.spatial.operator_terms, strict=True))
    return rbm.TimeModel(
        fin.mass.terms[0], terms, [(1.0, fin.spatial.rhs_terms[:, 0])], fin.spatial.assemble(theta), space,
        rbm.stability.MinTheta(middle), dt=fin.dt, steps=fin.steps,
    )  # fmt: skip


def heat_cases() -> dict[str, Any]:
    """The largest effectivity at any time, where resolved: one diffusivity, five that span 100 : 1, or 10 : 1."""
    made = {}
    for name, given, sizes in (
        ("bar", bar(), (2, 4, 6)),
        ("cooling_fin(1)", cooling_fin(1, steps=60), (4, 8, 16)),
        (PART, part_of_fin(), (4, 8, 16)),
    ):
        snapshots = np.concatenate([u.T for u in given.solve(given.parameters.sample(8, "sobol"))], axis=1)
        basis, ratios = lowrank.pod(snapshots, product=given.inner_product.matrix).modes, []
        for size in sizes:
            reduced = rbm.project_time(given, basis[:, :size])
            answer = reduced.solve(given.parameters.sample(20, "random", rng=size))
            true = given.error_norms(answer.mus, answer.coefficients, reduced.basis).energy
            kept = answer.estimate.resolved & (true > 0)
            ratios.append(answer.bound[kept] / true[kept])
        found = np.concatenate(ratios)
        made[name] = {"median": float(np.median(found)), "largest": float(found.max()), "least": float(found.min())}
    return made


def case(name: str) -> dict[str, Any]:
    """The shares of a model at 20 points, with a basis of twelve vectors."""
    from benchmarks.parabolic import model as example

    fin = partial(cooling_fin, 1, steps=60)
    given = {"bar": bar, "example": example, "cooling_fin(1)": fin, PART: part_of_fin}[name]()
    snapshots = np.concatenate([u.T for u in given.solve(given.parameters.sample(8, "sobol"))], axis=1)
    basis = lowrank.pod(snapshots, product=given.inner_product.matrix).modes[:, : 4 if name == "bar" else 12]
    return shares(given, basis, given.parameters.sample(20, "random", rng=1))


def main() -> None:
    """Compute what is not kept, and print it."""
    kept = KeptCases(RESULTS)
    for name in ("bar", "example", "cooling_fin(1)", PART):
        made = kept.case(f"shares of {name}", {"model": name}, lambda name=name: case(name))
        print(name, *(f"{key} {v['median']:.2f} to {v['largest']:.2f}" for key, v in made.items()), sep="; ")


if __name__ == "__main__":
    main()
