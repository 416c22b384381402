"""Acoustic scattering.

Accuracy of the discretisation, certified reduced bases, EIM forms on a complex family, online times.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import scipy.linalg

import rbm
from benchmarks import stabilisation
from benchmarks.harness import fastest, fresh, text_table
from problems.acoustics import boundary_elements as bem
from problems.acoustics.scattering import ScatteringModel, acoustic_scattering, affine_terms
from problems.acoustics.scattering_series import sphere_pressure, two_part_sphere_pressure
from problems.acoustics.surface_fields import plane_wave_load, sphere_rule

WAVENUMBER, LEVEL = 2.0, 4
TESTS, TRAINING, TOL = 500, 500, 1e-10
#: E4 is prepared up to this N, from this many parameters: its products number (1 + 3 N)^2.
SQUARES = {"real": (20, 500), "complex": (14, 3000)}
UNSEEN = 20
PARTS = {
    "accuracy": "benchmarks.scattering:accuracy",
    "real": "benchmarks.scattering:real_admittances",
    "complex": "benchmarks.scattering:complex_admittances",
    "forms": "benchmarks.stabilisation:measure",
    "wavenumber": "benchmarks.scattering:wavenumber",
}


def run() -> dict[str, Any]:
    """Matrices are assembled or read from the cache first; then every part in a fresh process with one BLAS thread."""
    for level in (2, 3, 4):
        bem.assemble(acoustic_scattering_mesh("sphere", level), WAVENUMBER)
    return {part: fresh(task) for part, task in PARTS.items()}


def table(result: dict[str, Any]) -> str:
    """Gives one table per part of the study."""
    return "\n\n".join(
        (
            _accuracy_table(result["accuracy"]),
            _certified_table("real admittances in [0, 2]", result["real"]),
            _certified_table("complex admittances, Re in [0, 2], Im in [-1, 1]", result["complex"]),
            stabilisation.table(result["forms"]),
            _wavenumber_table(result["wavenumber"]),
        )
    )


def acoustic_scattering_mesh(shape: str, level: int) -> Any:
    """The mesh of a ready-made shape in two parts."""
    from problems.acoustics.shapes import surface

    return surface(shape, level, 2)


# ---- accuracy of the discretisation


def accuracy() -> dict[str, Any]:
    """Relative L2 errors of the total pressure on the unit sphere against the series.

    Also the optical theorem on the ellipsoid.
    """
    cases = [(0, 0), (0.5, 0.5), (1, 1), (1, 0), (0.2, 1 - 0.5j)]
    rows = []
    for level in (2, 3, 4):
        model = _model(level, True)
        mesh, m = model.mesh, bem.mass(model.mesh)
        mus = np.array([[np.real(a), np.imag(a), np.real(b), np.imag(b)] for a, b in cases])
        errors = []
        for (a, b), u in zip(cases, model.solve(mus), strict=True):
            z = mesh.vertices[2]
            exact = sphere_pressure(z, WAVENUMBER, a) if a == b else two_part_sphere_pressure(z, WAVENUMBER, a, b)
            errors.append(float(_norm(u - exact, m) / _norm(exact, m)))
        rows.append([model.dimension, *errors])
    theorem = []
    for shape, level in (("ellipsoid", 3), ("sphere", 3), ("sphere", 4)):
        model = acoustic_scattering(shape, 2, WAVENUMBER, level, susceptance=(-1, 1), stability=0.1)
        mus = np.array([[0.2, 0.0, 1.0, -0.5]])
        u = model.solve(mus)
        directions, weights = sphere_rule(16)
        scattered = np.abs(model.far_field(mus, u, directions)) ** 2 @ weights
        extinction = 4 * np.pi / WAVENUMBER * model.outputs["forward"](mus, u).imag
        absorbed = model.outputs["absorption"](mus, u).real
        theorem.append([f"{shape}, {model.dimension}", float(abs((scattered + absorbed) / extinction - 1)[0])])
    return {"cases": [f"({a}, {b})" for a, b in cases], "errors": rows, "optical_theorem": theorem}


def _accuracy_table(result: dict[str, Any]) -> str:
    rows = [(str(n), *(f"{e:.2e}" for e in errors)) for n, *errors in result["errors"]]
    first, last = result["errors"][-2], result["errors"][-1]
    rates = [f"{np.log(a / b) / np.log(2):.2f}" for a, b in zip(first[1:], last[1:], strict=True)]
    rows.append(("order", *rates))
    notes = [
        f"optical theorem, |absorbed + scattered - extinct| / extinct: {name} unknowns {x:.1e}"
        for name, x in result["optical_theorem"]
    ]
    title = (
        f"Sphere, k = {WAVENUMBER:g}, (beta_1, beta_2): relative L2 error of the surface pressure against the series"
    )
    return text_table(title, ("unknowns", *result["cases"]), rows, notes)


# ---- certified reduced bases


def real_admittances() -> dict[str, Any]:
    """Two parts, real admittances, 1026 unknowns."""
    return _certified(_model(LEVEL, False), *SQUARES["real"])


def complex_admittances() -> dict[str, Any]:
    """Two parts, complex admittances, 1026 unknowns."""
    return _certified(_model(LEVEL, True), *SQUARES["complex"])


def _certified(model: ScatteringModel, squares_up_to: int, squares_from: int) -> dict[str, Any]:
    training = model.parameters.sample(TRAINING)
    result = rbm.greedy(model, training, tol=TOL, relative=True, estimators=("E_onb", "E1", "E2"), progress=False)
    mus = model.parameters.sample(TESTS, "random", rng=1)
    truth = model.solve_extended(mus)
    constants = rbm.stability.inf_sup(model, mus[:20], progress=False)
    bounds = model.stability(mus[:20], model.operator_coefficients(mus[:20]))
    total = len(result.parameters)
    rows = []
    for n in sorted({*range(2, total, 4), total}):
        reduced = result.reduced_model.truncate(n)
        solution = reduced.solve(mus)
        error = model.error_norm(mus, solution.coefficients, result.basis[:, :n], truth)
        expanded = reduced.estimate(mus, solution.coefficients, "E2")
        ratio = solution.bound / error
        row: dict[str, Any] = {
            "N": n,
            "error": float(error.max()),
            "bound": float(solution.bound.max()),
            "below": int(np.sum(solution.bound < error)),
            "effectivity": [float(f(ratio)) for f in (np.min, np.median, np.max)],
            "expanded": float(expanded.value.max()),
            "expanded_resolved": float(expanded.resolved.mean()),
            "sigma": (1 + 3 * n) ** 2,
        }
        if n <= squares_up_to:
            many = model.parameters.sample(squares_from)
            chosen = rbm.project(model, result.basis[:, :n], ("E_onb", "E4"), many)
            few = mus[:100]
            gamma = chosen.solve(few, estimate=False).coefficients
            exact = model.residual_norm(few, gamma, chosen.basis)
            estimate = chosen.estimators["interpolated"].evaluate(
                model.operator_coefficients(few), model.rhs_coefficients(few), gamma
            )
            quotient = estimate.value / exact
            row["terms"] = len(chosen.estimators["interpolated"].squares)  # type: ignore[attr-defined]
            row["interpolated"] = [float(f(quotient)) for f in (np.min, np.median, np.max)]
        rows.append(row)
    return {
        "rows": rows,
        "N": total,
        "stopped": result.stopped,
        "relative_bound": result.history[-1].bound,
        "anchors": len(model.stability.constants),  # type: ignore[attr-defined]
        "inf_sup": [float(constants.min()), float(constants.max())],
        "bound_over_inf_sup": [float((bounds / constants).min()), float((bounds / constants).max())],
        "largest_singular_value": _largest_singular_value(model, mus[:20]),
        "squares_from": squares_from,
        "online": _online(model, result),
    }


def _largest_singular_value(model: ScatteringModel, mus: np.ndarray) -> float:
    """Largest sigma_max of A(mu) from P to P' over mus.

    The effectivity is at most sigma_max over the lower bound of sigma_min.
    """
    factor = scipy.linalg.cholesky(model.product, lower=True)
    largest = 0.0
    for theta in model.operator_coefficients(mus):
        half = scipy.linalg.solve_triangular(factor, model.assemble(theta), lower=True)
        whitened = scipy.linalg.solve_triangular(factor, half.conj().T, lower=True)
        largest = max(largest, float(np.linalg.norm(whitened, 2)))
    return largest


def _online(model: ScatteringModel, result: rbm.GreedyResult) -> dict[str, float]:
    """Seconds of a certified query in a batch, least squares and Galerkin, and of a dense full-order solve."""
    mus = model.parameters.sample(5000, "random", rng=2)
    least_squares, galerkin = result.reduced_model, rbm.project(model, result.basis, projection="galerkin")
    theta = model.operator_coefficients(mus[:1])[0]
    b = model.rhs_terms[:, 0]

    def full() -> Any:
        return scipy.linalg.solve(model.assemble(theta), b, check_finite=False)

    times = fastest(
        {
            "least-squares": lambda: least_squares.solve(mus),
            "galerkin": lambda: galerkin.solve(mus),
            "one point": lambda: least_squares.solve(mus[0]),
            "full": full,
        },
        3,
    )
    return {
        **{k: times[k] / len(mus) for k in ("least-squares", "galerkin")},
        "one point": times["one point"],
        "full": times["full"],
    }


def _certified_table(title: str, result: dict[str, Any]) -> str:
    rows = []
    for r in result["rows"]:
        low, median, high = r["effectivity"]
        e4 = (
            [f"{r['terms']} of {r['sigma']}", "{:.4f} / {:.4f} / {:.4f}".format(*r["interpolated"])]
            if "terms" in r
            else [f"- of {r['sigma']}", "-"]
        )
        cells = (f"{r['error']:.2e}", f"{r['bound']:.2e}", str(r["below"]), f"{low:.2f} / {median:.2f} / {high:.2f}")
        rows.append((str(r["N"]), *cells, f"{r['expanded']:.1e}", f"{r['expanded_resolved']:.0%}", *e4))
    header = ("N", "true error", "E_onb bound", "below", "effectivity", "E2", "resolved", "E4 terms", "E4 / E1")
    t = result["online"]
    notes = [
        f"greedy stopped by {result['stopped']} at N = {result['N']}, largest bound relative to the solution "
        f"{result['relative_bound']:.1e}",
        f"inf-sup constant {result['inf_sup'][0]:.3f} to {result['inf_sup'][1]:.3f}; lower bound from "
        f"{result['anchors']} anchors, "
        f"{result['bound_over_inf_sup'][0]:.2f} to {result['bound_over_inf_sup'][1]:.2f} of it (20 test "
        "points); sigma_max up to "
        f"{result['largest_singular_value']:.2f}: effectivity at most "
        f"{result['largest_singular_value'] / (result['inf_sup'][0] * result['bound_over_inf_sup'][0]):.1f}",
        f"E4 selected its parameters among {result['squares_from']}",
        f"online, solve + bound in a batch: {t['least-squares'] * 1e6:.0f} us least squares, "
        f"{t['galerkin'] * 1e6:.0f} us Galerkin; "
        f"dense full-order solve {t['full'] * 1e3:.0f} ms: {t['full'] / t['least-squares']:.0f} and "
        f"{t['full'] / t['galerkin']:.0f} times slower; "
        f"one point a call {t['one point'] * 1e6:.0f} us",
        f"effectivity and E4 / E1: smallest / median / largest; below: bounds below the true error, of {TESTS} "
        "test parameters",
    ]
    return text_table(f"Reduced bases, sphere in two parts, k = 2, 1026 unknowns: {title}", header, rows, notes)


# ---- the wavenumber as a parameter


def wavenumber() -> dict[str, Any]:
    """(k, beta_1, beta_2), k in [1, 4], 258 unknowns: bounds against directly assembled matrices at unseen k."""
    model = acoustic_scattering("sphere", 2, (1.0, 4.0), 3, progress=False)
    result = rbm.greedy(model, model.parameters.sample(600, rng=4), tol=1e-6, relative=True, progress=False)
    rng = np.random.default_rng(7)
    mus = np.column_stack([np.sort(rng.uniform(1, 4, UNSEEN)), rng.uniform(0, 2, (UNSEEN, 2))])
    solution = result.reduced_model.solve(mus)
    assert solution.estimate is not None
    assert solution.estimate.interpolation is not None
    u = result.reduced_model.reconstruct(solution.coefficients)
    exact, affine = np.empty(UNSEEN), np.empty(UNSEEN)
    interpolated = model.solve(mus)
    for i, (mu, operators) in enumerate(zip(mus, bem.assemble(model.mesh, mus[:, 0], progress=False), strict=True)):
        a = affine_terms(model.mesh, operators)
        b = plane_wave_load(model.mesh, mu[0], model.direction, 1.0)
        truth = np.linalg.solve(a[0] + mu[1] * a[1] + mu[2] * a[2], b)
        exact[i], affine[i] = _norm(truth - u[i], model.product), _norm(truth - interpolated[i], model.product)
    ratio = solution.bound / exact
    beta = model.stability(mus, model.operator_coefficients(mus))
    return {
        "N": len(result.parameters),
        "operator_terms": len(model.operator_terms),
        "rhs_terms": model.rhs_terms.shape[1],
        "anchors": len(model.stability.constants),  # type: ignore[attr-defined]
        "error": float(exact.max()),
        "bound": float(solution.bound.max()),
        "below": int(np.sum(solution.bound < exact)),
        "effectivity": [float(f(ratio)) for f in (np.min, np.median, np.max)],
        "interpolation_share": float(solution.estimate.interpolation.max()),
        "interpolation_error": float(affine.max()),
        "interpolation_below": int(np.sum(solution.estimate.interpolation < affine)),
        "stability": [float(beta.min()), float(beta.max())],
        "eps": [str(s) for s in model.interpolation_error.sources],  # type: ignore[union-attr]
    }


def _wavenumber_table(r: dict[str, Any]) -> str:
    rows = [
        ("true error, largest", f"{r['error']:.2e}"),
        ("total bound, largest", f"{r['bound']:.2e}"),
        ("bounds below the true error", f"{r['below']} of {UNSEEN}"),
        ("effectivity, smallest / median / largest", "{:.2f} / {:.2f} / {:.2f}".format(*r["effectivity"])),
        ("share of the bound for the interpolation in k, largest", f"{r['interpolation_share']:.1e}"),
        ("true error of the interpolation in k, largest", f"{r['interpolation_error']:.1e}"),
        ("shares below it", f"{r['interpolation_below']} of {UNSEEN}"),
    ]
    notes = [
        f"N = {r['N']}, {r['operator_terms']} operator and {r['rhs_terms']} right-hand side terms, "
        f"{r['anchors']} stability anchors, "
        f"beta {r['stability'][0]:.2f} to {r['stability'][1]:.2f} at the test points"
    ]
    title = f"(k, beta_1, beta_2), k in [1, 4], sphere with 258 unknowns: against A(k) assembled at {UNSEEN} unseen k"
    return text_table(title, ("", ""), rows, notes)


def _model(level: int, complex_valued: bool) -> ScatteringModel:
    susceptance = (-1.0, 1.0) if complex_valued else None
    return acoustic_scattering("sphere", 2, WAVENUMBER, level, susceptance=susceptance, progress=False)


def _norm(vector: np.ndarray, product: np.ndarray) -> float:
    return float(np.sqrt((vector.conj() @ product @ vector).real))
