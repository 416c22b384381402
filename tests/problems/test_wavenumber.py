"""The wavenumber as a parameter does not know in what unit lengths are given."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
import pytest

from problems import surface
from problems.acoustics import boundary_elements as bem
from problems.acoustics.scattering_problem import Admittances, ScatteringProblem
from problems.acoustics.surfaces import SurfaceMesh
from problems.acoustics.wavenumber import SeparatedWavenumber, separate_wavenumber

RANGE = 0.5, 3.0
TOLERANCE = 1e-7
RADII = (1e-6, 1e-3, 30.0, 1e3)


def operators(mesh: SurfaceMesh, radius: float) -> Any:
    """k -> [A_0, A_1] made of the functions of k that boundary element matrices are made of.

    Here point values stand in place of integrals.
    """
    x = mesh.vertices
    r = np.linalg.norm(x[:, :, None] - x[:, None, :], axis=0) + radius * np.eye(x.shape[1])
    weights = mesh.areas.sum() / x.shape[1] * np.ones(x.shape[1])
    both, mass = weights[:, None] * weights, bem.mass(mesh)

    def at(k: float) -> list[np.ndarray]:
        wave = np.exp(1j * k * r) / (4 * np.pi * r)
        slope = wave * (1 - 1j * k * r) / r * (r / radius) / 2
        curls = both * wave / radius**2
        return [
            mass / 2 - both * slope + 1j / k * (curls - k**2 * both * wave * (1 - r / radius)),
            -1j * k * both * wave + mass / 2 + both * slope,
        ]

    return at


@lru_cache(maxsize=8)
def separated(radius: float) -> tuple[SeparatedWavenumber, SurfaceMesh]:
    unit = surface("ellipsoid", 1)
    mesh = SurfaceMesh(unit.vertices * radius, unit.triangles)
    at = operators(mesh, radius)
    low, high = (k / radius for k in RANGE)
    problem = ScatteringProblem(
        mesh, (low, high), np.array([0.6, 0.0, 0.8]), Admittances({"b": (0.0, 1.0)}, ["b"], ["b"])
    )
    product = bem.half_order_gram(mesh, problem.middle)
    return separate_wavenumber(problem, product, lambda ks: [at(k) for k in ks], TOLERANCE), mesh


@pytest.mark.parametrize("radius", RADII)
def test_the_tolerance_is_relative_in_any_unit(radius: float) -> None:
    made, mesh = separated(radius)
    at = operators(mesh, radius)
    nodes = [at(k) for k in made.matrices.nodes]
    worst = []
    for k in np.linspace(*RANGE, 23)[1::2] / radius:
        weights = made.matrices.coefficients(k)[0]
        for j, factors in enumerate((weights * made.matrices.nodes / k, weights)):
            exact = at(k)[j]
            gap = exact - sum(w * terms[j] for w, terms in zip(factors, nodes, strict=True))
            worst.append(np.linalg.norm(gap, 2) / np.linalg.norm(exact, 2))
    assert max(worst) < 10 * TOLERANCE


@pytest.mark.parametrize("radius", RADII)
def test_the_error_that_is_stated_scales_too(radius: float) -> None:
    """eps_A has no unit, eps_f is the square root of an area."""
    (made, _), (unit, _) = separated(radius), separated(1.0)
    shares = [[float(part.split("*")[0].split("/")[0]) for part in str(x.error[0]).split(" + ")] for x in (made, unit)]
    # which of two equal candidates is a node is decided by rounding, so not to more than a factor
    ratios = [
        shares[0][0] * radius / shares[1][0],
        shares[0][1] / shares[1][1],
        made.error[1] / (unit.error[1] * radius),
    ]
    assert min(ratios) > 0.1
    assert max(ratios) < 10
    assert abs(made.matrices.rank - unit.matrices.rank) <= 1
    assert abs(made.loads.rank - unit.loads.rank) <= 1
