"""Stability bounds against exact constants, at real sizes, and online: ``python -m benchmarks.stability_constants``.

One function per bound and question. Results are kept in stability_constants.json, by name; a run goes on where the
last one stopped, and ``--again NAME`` makes one anew. Models: bilinear finite elements of the unit square, u = 0 at
x = 0,

    sum_s k_s (grad u, grad v)_(strip s) + r (sign(x - 0.4) u, v) + (i) c (u, v) - w (u, v_x),  P = (grad, grad) + (,),

which with two strips and r = c = 0 is the second reduced basis example of libMesh.
"""

from __future__ import annotations

import argparse
import json
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import scipy.linalg
import scipy.sparse as sp

import rbm
from benchmarks import wave_constants
from benchmarks.harness import machine, paired_ratio

__all__ = ["main"]

RESULTS = Path(__file__).with_name("stability_constants.json")


def strips(m: int, count: int, complex_valued: bool = False, wind: tuple[float, float] = (0.01, 0.1)) -> dict[str, Any]:
    """Arguments of the model with m (m + 1) unknowns, without its stability bound.

    count : number of strips; with `complex_valued` there are a reaction of changing sign and an imaginary one more
    """
    h, x = 1 / m, (np.arange(m) + 0.5) / m
    difference = sp.diags_array([np.ones(m), -np.ones(m)], offsets=[1, 0], shape=(m, m + 1))
    mean = sp.diags_array([np.ones(m), np.ones(m)], offsets=[1, 0], shape=(m, m + 1)) / 2

    def stiffness(w: np.ndarray) -> Any:
        return difference.T @ sp.diags_array(w / h) @ difference

    def mass(w: np.ndarray) -> Any:  # (a + b)^2 / 4 + (a - b)^2 / 12 on each element
        return mean.T @ sp.diags_array(w * h) @ mean + difference.T @ sp.diags_array(w * h / 12) @ difference

    one = np.ones(m)

    def keep(ax: Any, ay: Any) -> Any:  # u = 0 at x = 0
        return sp.csr_array(sp.kron(sp.csr_array(ax)[1:, 1:], ay))

    terms, names = [], [f"k{s + 1}" for s in range(count)]
    for s in range(count):
        inside = ((x >= s / count) & (x < (s + 1) / count)).astype(float)
        terms.append(keep(stiffness(inside), mass(one)) + keep(mass(inside), stiffness(one)))
    product = sum(terms[1:], terms[0]) + keep(mass(one), mass(one))
    adjoint_wind = -(difference.T @ mean)
    operators = [*zip(names, terms, strict=True), ("w", keep(adjoint_wind, mass(one)))]
    parameters = dict.fromkeys(names, (0.1, 1.0)) | {"w": wind}
    if complex_valued:
        operators += [("r", keep(mass(np.sign(x - 0.4)), mass(one))), ("c * exp(1j * c)", keep(mass(one), mass(one)))]
        parameters |= {"r": (-0.1, 0.1), "c": (0.0, 1.5)}
    load = np.kron(mass(one).sum(axis=0)[1:], mass(one).sum(axis=0))
    return {"operators": operators, "rhs": [(1.0, load)], "product": product, "parameters": parameters}


def exact_constants(model: rbm.FullOrderModel, mus: np.ndarray) -> np.ndarray:
    """Smallest eigenvalues of the Hermitian part against P, of dense terms in whitened units."""
    root = scipy.linalg.cholesky(model.product.toarray())

    def white(a: Any) -> np.ndarray:
        half = scipy.linalg.solve_triangular(root, a.toarray(), trans="C")
        return scipy.linalg.solve_triangular(root, half.conj().T, trans="C").conj().T

    terms = np.stack([white(a) for a in model.operator_terms])
    made = np.empty(len(mus))
    for i, theta in enumerate(model.operator_coefficients(mus)):
        a = np.tensordot(theta, terms, 1)
        made[i] = scipy.linalg.eigvalsh((a + a.conj().T) / 2, subset_by_index=[0, 0])[0]
    return made


def scm_against_exact() -> dict[str, Any]:
    """10 000 unseen points, real and complex, n = 30 to 380: none above; the ratio to the exact constant."""
    rows = []
    for complex_valued in (False, True):
        for m in (5, 8, 12, 15, 19):
            model = rbm.FullOrderModel(**strips(m, 3, complex_valued), stability=rbm.stability.SCM(tol=0.1))
            mus = model.parameters.sample(1000, "random", rng=m)
            exact, beta = exact_constants(model, mus), model.stability(mus, model.operator_coefficients(mus))
            rows.append(
                {
                    "unknowns": model.dimension,
                    "complex": complex_valued,
                    "parts": len(model.stability.constraints.lower),
                    "constraints": len(model.stability.constraints.levels),
                    "points": len(mus),
                    "above": int(np.count_nonzero(beta > exact)),
                    "closest": float((1 - beta / exact).min()),
                    "smallest_ratio": float((beta / exact).min()),
                    "median_ratio": float(np.median(beta / exact)),
                }
            )
    return {"cases": rows, "points": sum(r["points"] for r in rows), "above": sum(r["above"] for r in rows)}


def scm_many_parts() -> dict[str, Any]:
    """Q = 10, nine strips and a transport term: the ratio to the exact constant at unseen points."""
    began = time.perf_counter()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        model = rbm.FullOrderModel(**strips(18, 9), stability=rbm.stability.SCM(tol=0.1))
    seconds = time.perf_counter() - began
    mus = model.parameters.sample(1000, "random", rng=1)
    exact, beta = exact_constants(model, mus), model.stability(mus, model.operator_coefficients(mus))
    return {
        "parts": len(model.stability.constraints.lower),
        "constraints": len(model.stability.constraints.levels),
        "seconds": seconds,
        "above": int(np.count_nonzero(beta > exact)),
        "smallest_ratio": float((beta / exact).min()),
        "median_ratio": float(np.median(beta / exact)),
    }


def scm_large() -> dict[str, Any]:
    """n = 40 200, Q = 3: seconds offline at tolerances 0.1 and 0.02."""
    given = strips(200, 2)
    rows = []
    for tol in (0.1, 0.02):
        began = time.perf_counter()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # of its expected cost
            model = rbm.FullOrderModel(**given, stability=rbm.stability.SCM(tol=tol))
        rows.append(
            {"tol": tol, "seconds": time.perf_counter() - began, "constraints": len(model.stability.constraints.levels)}
        )
    return {"unknowns": model.dimension, "runs": rows}


def scm_online() -> dict[str, Any]:
    """A query with N = 30 with this bound and with a constant one, per point, and the bound alone."""
    rows = []
    for count in (2, 5, 9):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)
            model = rbm.FullOrderModel(**strips(18, count), stability=rbm.stability.SCM(tol=0.1))
        constant = rbm.FullOrderModel(**strips(18, count), stability=0.01)
        mus = model.parameters.sample(20_000, "random", rng=1)
        basis = np.random.default_rng(0).standard_normal((model.dimension, 30))  # times do not depend on which
        queries = [rbm.project(one, basis) for one in (constant, model)]
        theta = model.operator_coefficients(mus)
        calls = [lambda q=q, mus=mus: q.solve(mus, coefficients=False) for q in queries]
        bound = paired_ratio(calls[0], lambda bound=model.stability, mus=mus, theta=theta: bound(mus, theta))
        row = paired_ratio(*calls)
        micro = [1e6 * t / len(mus) for t in (*row["seconds"], bound["seconds"][1])]
        rows.append(
            {
                "parts": count + 1,
                "constraints": len(model.stability.constraints.levels),
                "basis": queries[0].size,
                **dict(zip(("query_us", "with_scm_us", "bound_us"), micro, strict=True)),
                **{name: row[name] for name in ("ratio", "ratio_95")},
            }
        )
    return {"runs": rows}


def _timed(call: Callable[[], Any]) -> float:
    began = time.process_time()
    call()
    return time.process_time() - began


def scm_beside_pymor() -> dict[str, Any]:
    """The same three terms and training points in pyMOR's SCM: seconds offline, and per query."""
    from pymor.algorithms.scm import construct_scm_functionals
    from pymor.core.logger import set_log_levels
    from pymor.operators.constructions import LincombOperator
    from pymor.operators.numpy import NumpyMatrixOperator
    from pymor.parameters.functionals import ProjectionParameterFunctional

    set_log_levels({"pymor": "WARN"})
    given = strips(12, 2)
    began = time.perf_counter()
    training = rbm.ParameterSpace(given["parameters"]).sample(100, rng=0)
    model = rbm.FullOrderModel(**given, stability=rbm.stability.SCM(training, tol=0.1))
    ours = time.perf_counter() - began
    # the Hermitian parts, which is what the successive constraint method is about
    terms = [NumpyMatrixOperator(sp.csc_matrix((a + a.T) / 2)) for _, a in given["operators"]]
    names = [name for name, _ in given["operators"]]
    operator = LincombOperator(terms, [ProjectionParameterFunctional(name) for name in names])
    points = [operator.parameters.parse({n: [v] for n, v in zip(names, mu, strict=True)}) for mu in training]
    began = time.perf_counter()
    made = construct_scm_functionals(
        operator,
        points,
        points[0],
        rtol=0.1,
        max_extensions=60,
        product=NumpyMatrixOperator(sp.csc_matrix(given["product"])),
    )
    theirs = time.perf_counter() - began
    lower = made[0]
    mus = model.parameters.sample(20_000, "random", rng=1)
    theta = model.operator_coefficients(mus)
    model.stability(mus, theta)
    of_ours = np.median([_timed(lambda: model.stability(mus, theta)) for _ in range(9)]) / len(mus)
    asked = [operator.parameters.parse({n: [v] for n, v in zip(names, mu, strict=True)}) for mu in mus[:50]]
    began = time.process_time()
    values = np.array([float(lower.evaluate(mu)) for mu in asked])
    of_theirs = (time.process_time() - began) / len(asked)
    exact = exact_constants(model, mus[:50])
    return {
        "ours_offline_seconds": ours,
        "pymor_offline_seconds": theirs,
        "ours_query_us": float(of_ours * 1e6),
        "pymor_query_us": float(of_theirs * 1e6),
        "times": float(of_theirs / of_ours),
        "ours_smallest_ratio": float((model.stability(mus, theta)[:50] / exact).min()),
        "pymor_smallest_ratio": float((values / exact).min()),
        "pymor_largest_ratio_minus_one": float((values / exact).max() - 1),
    }


QUESTIONS: dict[str, Callable[[], dict[str, Any]]] = {
    "scm-exact": scm_against_exact,
    "scm-many-parts": scm_many_parts,
    "scm-large": scm_large,
    "scm-online": scm_online,
    "scm-pymor": scm_beside_pymor,
    **wave_constants.QUESTIONS,
}


def main() -> int:
    """Answer the questions that were asked, or all that have no answer yet."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.stability_constants", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="|".join(QUESTIONS))
    parser.add_argument("--again", action="store_true", help="answer again what has an answer")
    given = parser.parse_args()
    if unknown := [name for name in given.names if name not in QUESTIONS]:
        parser.error(f"there is no question {unknown[0]!r}; there are {', '.join(QUESTIONS)}")
    results = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    for name in given.names or QUESTIONS:
        if name not in results or given.again:
            results[name] = {"machine": machine(), **QUESTIONS[name]()}
            RESULTS.write_text(json.dumps(results, indent=1) + "\n")
        print(name, json.dumps(results[name], indent=1), flush=True)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
