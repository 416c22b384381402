"""Acoustic scattering by boundary elements.

Surfaces (surfaces, mesh_files, crossings), Helmholtz operators (boundary_elements with near_*, matrix_cache, surface_fields),
the models and their energy balance (scattering, wavenumber, energy), the same operators compressed (compressed_operators with
kernel_blocks, clusters, star_quadrature), exact series and figures (scattering_series, scattering_figures).
"""

from problems.acoustics.compressed_operators import CompressedOperator, compress_far_field
from problems.acoustics.kernel_blocks import kernel_block
from problems.acoustics.mesh_files import read_surface
from problems.acoustics.scattering import ScatteringModel, acoustic_scattering
from problems.acoustics.surfaces import SurfaceMesh, surface

__all__ = [
    "CompressedOperator",
    "ScatteringModel",
    "SurfaceMesh",
    "acoustic_scattering",
    "compress_far_field",
    "kernel_block",
    "read_surface",
    "surface",
]
