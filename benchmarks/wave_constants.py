"""Pencil and natural-norm bounds of wave problems: against exact constants, at real sizes, and online.

Questions of :mod:`benchmarks.stability_constants`. Models: bilinear elements of the unit square,

    K - k^2 (1 + i d) M - i k z B,   P = K + M,

natural boundary conditions, B the mass of the four walls; z = 0 for pencils.
"""

from __future__ import annotations

import time
import warnings
from typing import Any

import numpy as np
import scipy.linalg
import scipy.sparse as sp
from flint import acb, acb_mat, ctx

import rbm
from benchmarks.exact import definite
from benchmarks.harness import paired_ratio
from problems import frequency_sweep
from rbm.stability.natural_anchor import Anchor, Terms

__all__ = ["QUESTIONS"]

RANGES = {"k": (3.0, 9.0), "z": (0.2, 1.0)}


def waves(m: int, stability: Any, *, impedance: bool, damping: float = 0.02, dense: bool = False) -> rbm.FullOrderModel:
    """The model with (m + 1)^2 unknowns."""
    h = 1 / m
    ends = np.concatenate([[1.0], 2 * np.ones(m - 1), [1.0]])
    k = sp.diags_array([-np.ones(m), ends, -np.ones(m)], offsets=[-1, 0, 1]) / h
    w = sp.diags_array([np.ones(m), 2 * ends, np.ones(m)], offsets=[-1, 0, 1]) * h / 6
    wall = sp.csr_array(([1.0, 1.0], ([0, m], [0, m])), shape=(m + 1, m + 1))
    stiffness, mass = (sp.csr_array(a) for a in (sp.kron(k, w) + sp.kron(w, k), sp.kron(w, w)))
    operators = [("1", stiffness), (f"-k**2*(1 + {0.0 if impedance else damping}j)", mass)]
    if impedance:
        operators.append(("-1j*k*z", sp.csr_array(sp.kron(wall, w) + sp.kron(w, wall))))
    product = sp.csr_array(stiffness + mass)
    if dense:
        operators, product = [(c, a.toarray()) for c, a in operators], product.toarray()
    ranges = RANGES if impedance else {"k": RANGES["k"]}
    load = np.random.default_rng(0).standard_normal((m + 1) ** 2)
    options: dict[str, Any] = {"projection": "least-squares", "parameters": ranges, "stability": stability}
    return rbm.FullOrderModel(operators, [(1.0, load)], product, **options)


def exact_pencil(model: rbm.FullOrderModel, theta: np.ndarray) -> np.ndarray:
    """min_j |theta_1 kappa_j + theta_2 mu_j| over the common eigenvectors, in double precision."""
    k, m, p = (a.toarray() for a in (*model.operator_terms, model.product))
    vectors = scipy.linalg.eigh(m, p)[1]
    diagonals = np.stack([np.einsum("ij,ij->j", vectors, a @ vectors) for a in (k, m)])
    return np.abs(theta @ diagonals).min(axis=1)


def exceeds_in_300_bits(model: rbm.FullOrderModel, theta: np.ndarray, beta: np.ndarray) -> int:
    """Return at how many points A^H P^{-1} A - beta^2 P, of the matrices as given, is not positive definite."""
    ctx.prec = 300
    try:
        k, m, p = (
            acb_mat([[acb(float(x)) for x in row] for row in a.toarray()])
            for a in (*model.operator_terms, model.product)
        )
        wrong = 0
        for (a, b), found in zip(theta.astype(complex), beta, strict=True):
            adjoint = k * acb(a.conjugate()) + m * acb(b.conjugate())
            h = adjoint * p.solve(k * acb(a) + m * acb(b)) - p * acb(float(found)) ** 2
            wrong += definite(h.tolist()) is not True
    finally:
        ctx.prec = 53
    return wrong


def pencil_against_exact() -> dict[str, Any]:
    """10 000 points, with damping and without, n = 16 to 400; the closest ones of the smallest in 300 bits."""
    rows = []
    for damping in (0.02, 0.0):
        for m in (3, 7, 11, 19, 24):
            model = waves(m, rbm.stability.Pencil(), impedance=False, damping=damping)
            theta = model.operator_coefficients(model.parameters.sample(1000, "random", rng=m))
            beta, exact = model.stability.constant(theta), exact_pencil(model, theta)
            row = {
                "unknowns": model.dimension,
                "damping": damping,
                "eigenvalues": len(model.stability.radii),
                "points": len(theta),
                "above": int(np.count_nonzero(beta > exact * (1 + 1e-11))),
                "largest_share_below": float((1 - beta / exact).max()),
                # near a resonance the constant itself is no better known than its eigenvalue
                "largest_share_below_off_resonance": float((1 - beta / exact)[exact > 0.01 * exact.max()].max()),
                "largest_distance_below": float((exact - beta).max() / exact.max()),
            }
            if m == 3:
                nearest = np.argsort(1 - beta / exact)[:200]
                above = exceeds_in_300_bits(model, theta[nearest], beta[nearest])
                row |= {"in_300_bits": len(nearest), "above_in_300_bits": above}
            rows.append(row)
    return {"cases": rows, "points": sum(r["points"] for r in rows), "above": sum(r["above"] for r in rows)}


def natural_against_exact() -> dict[str, Any]:
    """10 000 points, n = 36 to 400: none above; the ratio to the exact constant."""
    rows = []
    for m, count in ((5, 5000), (9, 3500), (14, 1200), (19, 300)):
        model = waves(m, rbm.stability.NaturalNorm(ratio=0.3), impedance=True)
        mus = model.parameters.sample(count, "random", rng=m)
        beta = model.stability.constant(model.operator_coefficients(mus))
        exact = rbm.stability.inf_sup(model, mus) / (1 - 1e-8)
        row = {"unknowns": model.dimension, "anchors": len(model.stability.anchors), "points": count}
        row |= {"above": int(np.count_nonzero(beta > exact)), "not_positive": int(np.count_nonzero(beta <= 0))}
        rows.append(
            row | {"smallest_ratio": float((beta / exact).min()), "median_ratio": float(np.median(beta / exact))}
        )
    return {"cases": rows, "points": sum(r["points"] for r in rows), "above": sum(r["above"] for r in rows)}


def natural_beside_anchored() -> dict[str, Any]:
    """Anchors of the bounds for one ratio on the impedance model, 196 unknowns; Anchored sparse and dense."""
    training = rbm.ParameterSpace(RANGES).sample(500)
    rows = []
    for ratio in (0.3, 0.5):
        row: dict[str, Any] = {"ratio": ratio}
        natural = waves(13, rbm.stability.NaturalNorm(training, ratio=ratio), impedance=True)
        row["natural"] = len(natural.stability.anchors)
        for name in ("anchored_sparse", "anchored_dense"):
            anchored = rbm.stability.Anchored(training, ratio=ratio)
            try:
                made = waves(13, anchored, impedance=True, dense=name == "anchored_dense")
                row[name] = len(made.stability.constants)
            except rbm.StabilityError:
                row[f"{name}_at_least"] = 400  # its limit: not enough
        rows.append(row)
    return {"runs": rows}


def pencil_large() -> dict[str, Any]:
    """The duct with 100 000 unknowns: seconds of the bound, and eigenvalues below the cut."""
    model = frequency_sweep("duct", n=100_000, wavenumbers=(2.0, 22.3), stability=1e-3)
    began, spent = time.perf_counter(), time.process_time()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        bound = rbm.stability.Pencil().bind(model)
    made = {"unknowns": model.dimension, "eigenvalues": len(bound.radii)}
    return made | {"seconds": time.perf_counter() - began, "cpu_seconds": time.process_time() - spent}


def natural_large() -> dict[str, Any]:
    """Certificates for 40 401 unknowns: CPU seconds of one inf-sup and one natural-norm constant."""
    model = waves(200, 1e-3, impedance=True)
    terms = Terms(model)
    theta = model.operator_coefficients(np.array([[6.0, 0.6], [6.2, 0.6]]))
    began = time.process_time()
    anchor = Anchor(terms, theta[0], "k = 6")
    of_anchor = time.process_time() - began
    began = time.process_time()
    shown, estimate, _ = anchor.constant_at(theta[1])
    of_constant = time.process_time() - began
    began = time.process_time()
    terms.certifier.inf_sup(anchor.matrix, anchor.constant * 0.999)
    made = {"unknowns": model.dimension, "inf_sup_certificate": time.process_time() - began}
    apart = float(np.abs(theta[1] - theta[0]) @ anchor.reach)
    began, matrix = time.process_time(), model.assemble(theta[1])
    terms.certifier.natural(matrix, anchor.matrix, anchor.constant, (1.0, apart), estimate, 0.05)
    made |= {"natural_certificate": time.process_time() - began}
    made |= {"anchor": of_anchor, "constant_with_eigenvalue": of_constant}
    return made | {"beta": float(anchor.constant), "shown": float(shown or 0.0), "estimate": float(estimate)}


def online() -> dict[str, Any]:
    """A query of N = 30 with each bound and with a constant one, in turns: the median ratio and its interval."""
    rows = []
    for name, bound, impedance in (
        ("pencil", rbm.stability.Pencil(max_eigenvalues=900), False),
        ("natural-norm", rbm.stability.NaturalNorm(ratio=0.4), True),
    ):
        models = [waves(13, stability, impedance=impedance) for stability in (1e-3, bound)]
        basis = np.random.default_rng(0).standard_normal((models[0].dimension, 30))  # times do not depend on which
        mus = models[0].parameters.sample(20_000, "random", rng=1)
        queries = [rbm.project(one, basis) for one in models]
        row = paired_ratio(*(lambda query=query, mus=mus: query.solve(mus, coefficients=False) for query in queries))
        micro = [1e6 * t / len(mus) for t in row.pop("seconds")]
        times = dict(zip(("query_us", "with_bound_us"), micro, strict=True))
        rows.append({"bound": name, "basis": 30} | times | row | {"of": repr(models[1].stability)})
    return {"runs": rows}


def ngsolve_offline() -> dict[str, Any]:
    """A lens in a box with impedance walls, cubic elements of NGSolve: seconds to a tolerance of 1e-6, five times."""
    import ngsolve as ng
    from netgen.geom2d import SplineGeometry

    geometry = SplineGeometry()
    geometry.AddRectangle((0, 0), (1, 1), bcs=["bottom", "right", "top", "left"], leftdomain=1)
    geometry.AddCircle((0.5, 0.5), 0.25, leftdomain=2, rightdomain=1, bc="lens")
    geometry.SetMaterial(1, "out")
    geometry.SetMaterial(2, "in")
    space = ng.H1(ng.Mesh(geometry.GenerateMesh(maxh=0.06)), order=3, complex=True)
    u, v = space.TnT()

    def matrix(integrand: Any) -> Any:
        form = ng.BilinearForm(space)
        form += integrand
        return rbm.csr(form.Assemble(), real_if_exact=True)

    k, m = matrix(ng.grad(u) * ng.grad(v) * ng.dx), matrix(u * v * ng.dx)
    walls = matrix(u * v * ng.ds("bottom|right|top|left"))
    load = ng.LinearForm(space)
    load += v * ng.dx("in")
    load.Assemble()
    parameters, rows = rbm.ParameterSpace({"k": (4.0, 8.0), "z": (0.5, 2.0)}), []
    for _ in range(5):
        began = time.perf_counter()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)
            model = rbm.FullOrderModel(
                operators=[(1.0, k), ("-k**2", m), ("-1j*k*z", walls)],
                rhs=[(1.0, np.array(load.vec))],
                product=k + 36 * m,
                parameters=parameters,
                projection="least-squares",
                stability=rbm.stability.NaturalNorm(training=parameters.sample(60)),
            )
        bound = time.perf_counter() - began
        made = rbm.greedy(model, parameters.sample(200), tol=1e-6)
        rows.append({"bound_seconds": bound, "seconds": time.perf_counter() - began, "basis": made.reduced_model.size})
    mus = parameters.sample(20, "random")
    solution = made.reduced_model.solve(mus)
    share = solution.bound / model.error_norm(mus, solution.coefficients, made.basis)
    found = {"unknowns": model.dimension, "runs": rows, "slowest_seconds": max(r["seconds"] for r in rows)}
    return found | {"below_the_error": int((share < 1).sum()), "effectivity": [float(share.min()), float(share.max())]}


QUESTIONS = {
    "pencil-exact": pencil_against_exact,
    "natural-exact": natural_against_exact,
    "natural-anchored": natural_beside_anchored,
    "pencil-large": pencil_large,
    "natural-large": natural_large,
    "waves-online": online,
    "ngsolve": ngsolve_offline,
}
