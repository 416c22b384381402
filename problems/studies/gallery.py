"""The studies of the gallery, by name."""

from __future__ import annotations

from problems.acoustics import scattering_figures
from problems.acoustics.scattering import acoustic_scattering
from problems.reaction_diffusion import reaction_diffusion_1d
from problems.studies.comparison import Study
from problems.studies.drawing import diffusion_solutions, fin_shapes, fin_solutions, thermal_solutions
from problems.thermal_block import thermal_block
from problems.thermal_fin import thermal_fin
from problems.thermal_fin_geometry import thermal_fin_geometry

__all__ = ["STUDIES"]

STUDIES: dict[str, Study] = {
    "diffusion": Study(
        title="Reaction-diffusion in one dimension: -u'' + mu u = 1",
        model=lambda size, progress: reaction_diffusion_1d(size or 200),
        measure="elements (200)",
        training=1000,
        tests=1000,
        max_basis=20,
        tol=0.0,
        estimators=("orthonormal", "direct", "expanded", "sampled", "interpolated"),
        sizes=lambda n: range(1, n + 1),
        figures=diffusion_solutions,
    ),
    "thermal-block": Study(
        title="Thermal block, 3 x 3: -div(k grad u) = 1",
        model=lambda size, progress: thermal_block(n_elements=size or 60),
        measure="elements along a side, a multiple of 3 (60)",
        training=500,
        tests=50,
        max_basis=100,
        tol=1e-5,  # below the floor of E2, which stays where it is
        estimators=("orthonormal", "direct", "expanded"),
        sizes=lambda n: sorted({*range(2, n, max(n // 10, 1)), n}),
        figures=thermal_solutions,
    ),
    "thermal-fin": Study(
        title="Thermal fin: a post with four pairs of plates, five parameters",
        model=lambda size, progress: thermal_fin(size or 4),
        measure="squares across the thickness of a plate (4)",
        training=500,
        tests=50,
        max_basis=60,
        tol=1e-2,
        estimators=("orthonormal", "direct", "expanded"),
        sizes=lambda n: sorted({*range(2, n, max(n // 10, 1)), n}),
        figures=fin_solutions,
        relative=True,
    ),
    "thermal-fin-geometry": Study(
        title="Thermal fin with length and thickness of its plates as parameters, seven in all",
        model=lambda size, progress: thermal_fin_geometry(size or 2),
        measure="squares across the thickness of a plate (2)",
        training=500,
        tests=50,
        max_basis=80,
        tol=5e-2,
        estimators=("orthonormal", "direct", "expanded"),
        sizes=lambda n: sorted({*range(2, n, max(n // 10, 1)), n}),
        figures=fin_shapes,
        relative=True,
    ),
    "scattering": Study(
        title="Acoustic scattering by a sphere with two admittances, k = 2, boundary elements",
        model=lambda size, progress: acoustic_scattering(
            "sphere", parts=2, wavenumber=2.0, level=size or 4, progress=progress
        ),
        measure="levels of refinement of the sphere (4)",
        training=500,
        tests=40,
        max_basis=60,
        tol=1e-10,
        estimators=("orthonormal", "direct", "expanded", "sampled", "interpolated"),
        sizes=lambda n: sorted({1, 2, *range(4, n, 4), n}),
        figures=lambda model, reduced, size: scattering_figures.figures(model, reduced),
        remark="assembling matrices and choosing stability anchors: about two minutes the first time, a second later "
        "(cached)",
        relative=True,
        sampled_up_to=12,
    ),
}
