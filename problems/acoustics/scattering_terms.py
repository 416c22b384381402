"""The equation of a scattering problem in affine form: at one wavenumber, and over a range of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from problems.acoustics import boundary_elements as bem
from problems.acoustics.scattering_problem import ScatteringProblem
from problems.acoustics.surface_fields import far_field_rows, plane_wave_load
from problems.acoustics.surfaces import SurfaceMesh
from problems.acoustics.wavenumber import Assemble, separate_wavenumber
from rbm.errors import ModelError
from rbm.parameters.coefficients import Coefficient

__all__ = ["ScatteringTerms", "affine_terms", "assembled", "terms_at", "terms_over_range"]

#: From wavenumbers to [A_0, A_1 .. A_d] at each of them.


@dataclass(frozen=True, eq=False)
class ScatteringTerms:
    """The affine form of a scattering problem, its inner product and its outputs.

    A(mu) = sum_q theta_q A_q, f(mu) = sum_q phi_q f_q.
    """

    operators: list[tuple[Coefficient, np.ndarray]]
    rhs: list[tuple[Coefficient, np.ndarray]]
    product: np.ndarray  #: P (n, n)
    outputs: dict[str, Any]  #: as :class:`rbm.FullOrderModel` takes them
    error: tuple[Coefficient, Coefficient] | None = None  #: (eps_A, eps_f) of the interpolation in k


def terms_at(problem: ScatteringProblem, assemble: Assemble) -> ScatteringTerms:
    """The terms of a problem with one wavenumber; the far field is an output."""
    mesh, d, k, betas = problem.mesh, problem.direction, problem.middle, problem.admittances.formulas
    product, outputs = bem.half_order_gram(mesh, k), _absorption(problem)
    weights: list[Coefficient] = [1.0, *betas]
    operators = list(zip(weights, assemble([k])[0], strict=True))
    named = {"forward": d[:, None]}
    if problem.far_field_directions is not None:
        named |= {f"far_field_{i}": x[:, None] for i, x in enumerate(problem.far_field_directions.T, start=1)}
    for name, column in named.items():
        outputs[name] = list(zip(weights, far_field_rows(mesh, k, column)[:, 0], strict=True))
    return ScatteringTerms(operators, [(1.0, plane_wave_load(mesh, k, d, problem.coupling))], product, outputs)


def terms_over_range(problem: ScatteringProblem, assemble: Assemble, tol: float) -> ScatteringTerms:
    """The terms of a problem with a range of wavenumbers, interpolated in k to the relative tolerance."""
    if not (isinstance(tol, int | float | np.number) and tol >= 0):
        raise ModelError(f"separation_tol must be a number >= 0, got {tol!r}")
    product = bem.half_order_gram(problem.mesh, problem.middle)
    bem.warn_if_coarse(problem.mesh, problem.bounds[1])
    separated = separate_wavenumber(problem, product, assemble, tol)
    return ScatteringTerms(separated.operators, separated.rhs, product, _absorption(problem), separated.error)


def assembled(
    problem: ScatteringProblem, wavenumbers: Sequence[float], quadrature: int, cache: bem.Cache, progress: bool
) -> list[list[np.ndarray]]:
    """The matrices [A_0, A_1 .. A_d] (n, n) at each wavenumber.

    The options are those of :func:`problems.acoustics.boundary_elements.assemble`.
    """
    found = bem.assemble(problem.mesh, list(wavenumbers), quadrature=quadrature, cache=cache, progress=progress)
    return [affine_terms(problem.mesh, operators, problem.coupling) for operators in found]


def affine_terms(mesh: SurfaceMesh, operators: bem.BoundaryOperators, coupling: float = 1.0) -> list[np.ndarray]:
    """The matrices A_0, A_1 .. A_d (n, n) at the wavenumber of the boundary operators.

    They are those of :func:`problems.acoustic_scattering`.
    """
    k = operators.wavenumber
    terms = [bem.mass(mesh) / 2 - operators.double_layer + (1j * coupling / k) * operators.hypersingular]
    for j, (single, adjoint) in enumerate(zip(operators.single_layers, operators.adjoint_layers, strict=True), start=1):
        terms.append(-1j * k * single + coupling * (bem.mass(mesh, j) / 2 + adjoint))
    return terms


def _absorption(problem: ScatteringProblem) -> dict[str, Any]:
    """The output int Re(beta) |u|^2."""
    masses = [bem.mass(problem.mesh, j) for j in range(1, problem.mesh.n_parts + 1)]
    return {"absorption": list(zip(problem.admittances.real_parts, masses, strict=True))}
