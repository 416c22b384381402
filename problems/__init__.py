"""The gallery: parametrised full-order models, ready to use.

>>> from problems import reaction_diffusion_1d
>>> reaction_diffusion_1d(10)
FullOrderModel(9 unknowns, real, 2 operator and 1 right-hand side terms, ParameterSpace(mu in [1, 100], linear), outputs mean)
"""

from problems.compressed_operators import CompressedOperator, compress_far_field
from problems.kernel_blocks import kernel_block
from problems.mesh_files import read_surface
from problems.reaction_diffusion import exact_solution, reaction_diffusion_1d
from problems.scattering import ScatteringModel, acoustic_scattering
from problems.surfaces import SurfaceMesh, surface
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
