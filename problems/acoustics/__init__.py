"""Acoustic scattering by boundary elements.

surfaces, shapes, mesh_files: what scatters. boundary_elements (with near_*, matrix_cache): its Helmholtz matrices.
scattering, wavenumber, surface_fields, energy: the models, and what is derived from their solutions.
compressed_operators (with kernel_blocks, clusters, star_quadrature): the same matrices with low-rank blocks.
scattering_series, scattering_figures: exact solutions for the sphere, and figures.
"""

from problems.acoustics.compressed_operators import CompressedOperator, compress_far_field
from problems.acoustics.kernel_blocks import kernel_block
from problems.acoustics.mesh_files import read_surface
from problems.acoustics.scattering import ScatteringModel, acoustic_scattering
from problems.acoustics.shapes import surface
from problems.acoustics.surfaces import SurfaceMesh

__all__ = [
    "CompressedOperator", "ScatteringModel", "SurfaceMesh", "acoustic_scattering", "compress_far_field", "kernel_block",
    "read_surface", "surface",
]  # fmt: skip
