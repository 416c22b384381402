"""The compiled online stage; you need not read this to change the method.

:mod:`rbm.online.reference` says in plain arrays what is computed here, and the tests compare the two. From the top
down: `batch_query` solves and certifies, `interpolated_norm` evaluates E4, `vertices` bounds linear programs for a
stability bound. `residuals` and `solvers` are their inner loops, and `lanes` makes a SIMD register a type of Numba.
`arguments` names the arguments of the two, `packed` makes them from arrays of a model. `compiler` turns functions into
kernels, `kernel_cache` keeps these on disk.
"""

from rbm.online.kernels.arguments import (
    GIVEN,
    INDEFINITE,
    LDL,
    LU,
    NO_BOUND,
    NOT_FINITE,
    QR,
    Answers,
    PackedSystem,
    Points,
)
from rbm.online.kernels.batch_query import query
from rbm.online.kernels.compiler import kernel, source_digest
from rbm.online.kernels.interpolated_norm import interpolated, products_scratch_size
from rbm.online.kernels.packed import (
    no_factor,
    no_finish,
    no_system,
    pack_factor,
    pack_finish,
    pack_products,
    pack_square,
    pack_system,
    precision,
)
from rbm.online.kernels.tile import scratch_size
from rbm.online.kernels.vertices import walk_all

__all__ = [
    "GIVEN",
    "INDEFINITE",
    "LDL",
    "LU",
    "NOT_FINITE",
    "NO_BOUND",
    "QR",
    "Answers",
    "PackedSystem",
    "Points",
    "interpolated",
    "kernel",
    "no_factor",
    "no_finish",
    "no_system",
    "pack_factor",
    "pack_finish",
    "pack_products",
    "pack_square",
    "pack_system",
    "precision",
    "products_scratch_size",
    "query",
    "scratch_size",
    "source_digest",
    "walk_all",
]
