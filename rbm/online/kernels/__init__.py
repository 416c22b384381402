"""The compiled online stage; you need not read this to change the method.

:mod:`rbm.online.reference` says in plain arrays what is computed here, and the tests compare the two. From the top
down: `batch_query` solves and certifies, `interpolated_norm` evaluates E4, `vertices` and `pencil_constants` are
stability bounds; `time_march` does the same for all
steps of a trajectory, with `factors` and `march_tile`. `residuals` and `solvers` are their inner loops, and `lanes` makes a SIMD register a type of Numba.
`arguments` names the arguments of the two, `packed` makes them from arrays of a model. `compiler` turns functions into
kernels, `kernel_cache` keeps these on disk.
"""

from rbm.online.kernels.batch_query import query
from rbm.online.kernels.interpolated_norm import interpolated
from rbm.online.kernels.packed import pack_system
from rbm.online.kernels.pencil_constants import pencil_constants
from rbm.online.kernels.time_march import march
from rbm.online.kernels.vertices import most_promising, walk_all

__all__ = ["interpolated", "march", "most_promising", "pack_system", "pencil_constants", "query", "walk_all"]
