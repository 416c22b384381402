"""The gallery: parametrised full-order models, ready to use.

Words and symbols are explained in docs/glossary.md.

>>> from problems import reaction_diffusion_1d
>>> reaction_diffusion_1d(10)
FullOrderModel(9 unknowns, real, 2 operator and 1 right-hand side terms, ParameterSpace(mu in [1, 100], linear), \
outputs mean)
"""

from problems.acoustics.compressed_operators import CompressedOperator, compress_far_field
from problems.acoustics.kernel_blocks import kernel_block
from problems.acoustics.mesh_files import read_surface
from problems.acoustics.scattering import ScatteringModel, acoustic_scattering
from problems.acoustics.shapes import surface
from problems.acoustics.surfaces import SurfaceMesh
from problems.convection_diffusion import convection_diffusion, convection_diffusion_basis
from problems.cooling_fin import cooling_fin
from problems.elastic_bracket import elastic_bracket, elastic_bracket_basis, elastic_bracket_mesh
from problems.frequency_sweep import (
    duct_pressure,
    frequency_sweep,
    frequency_sweep_grid,
    resonant_wavenumbers,
)
from problems.geometry import MappedBlocks, MappedTerm, mapped_blocks, mapped_grid, merged_terms
from problems.moving_heat import moving_heat, moving_heat_nodes
from problems.reaction_diffusion import exact_solution, reaction_diffusion_1d
from problems.thermal_block import thermal_block, thermal_block_basis, thermal_block_mesh
from problems.thermal_block_3d import thermal_block_3d, thermal_block_3d_mesh
from problems.thermal_fin import thermal_fin, thermal_fin_basis, thermal_fin_mesh
from problems.thermal_fin_geometry import thermal_fin_domain, thermal_fin_geometry

__all__ = [
    "CompressedOperator", "MappedBlocks", "MappedTerm", "ScatteringModel", "SurfaceMesh", "acoustic_scattering",
    "compress_far_field", "convection_diffusion", "convection_diffusion_basis", "cooling_fin", "duct_pressure",
    "elastic_bracket", "elastic_bracket_basis", "elastic_bracket_mesh", "exact_solution", "frequency_sweep",
    "frequency_sweep_grid", "kernel_block", "mapped_blocks", "mapped_grid", "merged_terms", "moving_heat",
    "moving_heat_nodes", "reaction_diffusion_1d", "read_surface", "resonant_wavenumbers", "surface",
    "thermal_block", "thermal_block_3d", "thermal_block_3d_mesh", "thermal_block_basis", "thermal_block_mesh",
    "thermal_fin", "thermal_fin_basis", "thermal_fin_domain", "thermal_fin_geometry", "thermal_fin_mesh",
]  # fmt: skip
