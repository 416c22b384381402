"""Domains whose shape is a parameter (docs/geometry.md).

``mapped_blocks`` and ``grids`` make them of a mesh and of where the corners of its blocks go; ``terms`` merges the
affine terms. Below: ``pieces`` are the affine maps, with their checks; ``forms`` assembles, ``sides`` finds facets,
``given`` reads coefficients; ``formulas`` are rational functions in normal form, of ``polynomials``; ``enclosures``
proves their signs.
"""

from problems.geometry.grids import mapped_grid
from problems.geometry.mapped_blocks import MappedBlocks, mapped_blocks
from problems.geometry.terms import MappedTerm, merged_terms

__all__ = ["MappedBlocks", "MappedTerm", "mapped_blocks", "mapped_grid", "merged_terms"]
