"""The gallery: parametrised full-order models, ready to use.

>>> from problems import reaction_diffusion_1d
>>> reaction_diffusion_1d(10)
FullOrderModel(9 unknowns, real, 2 operator and 1 right-hand side terms, ParameterSpace(mu in [1, 100], linear), outputs mean)
"""

from problems.acoustics import (
    CompressedOperator,
    ScatteringModel,
    SurfaceMesh,
    acoustic_scattering,
    compress_far_field,
    kernel_block,
    read_surface,
    surface,
)
from problems.reaction_diffusion import exact_solution, reaction_diffusion_1d
from problems.thermal_block import thermal_block, thermal_block_mesh

__all__ = [
    "CompressedOperator",
    "ScatteringModel",
    "SurfaceMesh",
    "acoustic_scattering",
    "compress_far_field",
    "exact_solution",
    "kernel_block",
    "reaction_diffusion_1d",
    "read_surface",
    "surface",
    "thermal_block",
    "thermal_block_mesh",
]
