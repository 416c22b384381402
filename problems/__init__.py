"""The gallery: parametrised full-order models, ready to use.

>>> from problems import reaction_diffusion_1d
>>> reaction_diffusion_1d(10)
FullOrderModel(9 unknowns, real, 2 operator and 1 right-hand side terms, ParameterSpace(mu in [1, 100], linear), outputs mean)
"""

from problems.reaction_diffusion import exact_solution, reaction_diffusion_1d
from problems.thermal_block import thermal_block, thermal_block_mesh

__all__ = ["exact_solution", "reaction_diffusion_1d", "thermal_block", "thermal_block_mesh"]
