"""The gallery: parametrised full-order models, ready to use.

>>> from problems import reaction_diffusion_1d
>>> reaction_diffusion_1d(10)
FullOrderModel(9 unknowns, real, 2 operator and 1 right-hand side terms, ParameterSpace(mu in [1, 100], linear), outputs mean)
"""

from problems.reaction_diffusion import exact_solution, reaction_diffusion_1d
from problems.scattering import ScatteringModel, acoustic_scattering
from problems.surfaces import SurfaceMesh, read_surface, surface
from problems.thermal_block import thermal_block, thermal_block_mesh

__all__ = [
    "ScatteringModel",
    "SurfaceMesh",
    "acoustic_scattering",
    "exact_solution",
    "reaction_diffusion_1d",
    "read_surface",
    "surface",
    "thermal_block",
    "thermal_block_mesh",
]
