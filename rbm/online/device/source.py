"""The text of the fused kernel for a precision, and the shared memory that a block of threads needs."""

from __future__ import annotations

from functools import cache
from importlib.resources import files
from typing import NamedTuple

import numpy as np

from rbm.estimate import RESOLVED
from rbm.online.forms import SHARP
from rbm.online.programs import OPERATIONS

__all__ = ["LARGEST", "ROWS", "STATES", "THREADS", "Sizes", "Variant", "arena", "shared_bytes", "source"]

#: Threads of a block, a multiple of the 32 of a warp.
THREADS = 256
WARP = 32
#: Rows of the residual factor that a warp multiplies together.
ROWS = 64
#: Systems with more unknowns are left to batched library calls.
LARGEST = 64
#: How a point ended; OUTSIDE is one whose parameters are out of range or have coefficients that are no numbers.
STATES = ("SOLVED", "INDEFINITE", "NOT_FINITE", "NO_BOUND", "OUTSIDE")
PARTS = ("numbers.cu", "systems.cu", "residuals.cu", "query.cu")


class Variant(NamedTuple):
    """What is fixed when the kernel is compiled."""

    single: bool  #: whether systems are solved in single precision
    is_complex: bool
    definite: bool  #: L D L^H, or LU
    points: int  #: of a block: 16, 8, 4, 2 or 1
    depth: int  #: of the stack of the program of coefficients


class Sizes(NamedTuple):
    """The numbers with which the integers of a model begin: sizes, flags, and where its arrays begin."""

    n: int
    qa: int
    qf: int
    columns: int  #: parameters of a point
    limited: int  #: parameters whose ranges are checked: all or none
    formulas: int  #: of the program
    entries: int  #: of a matrix as it is assembled
    room: int  #: of a matrix and its right-hand side
    blocks: int  #: of ROWS rows of R
    width: int  #: real columns of R
    outputs: int
    refined: int  #: whether points near round-off are evaluated again
    min_theta: int  #: whether beta comes from theta
    compliant: int  #: whether an output is
    arena: int  #: doubles of shared memory that matrices and residual coefficients take in turn
    # in the array of numbers
    terms: int
    sources: int
    factor: int
    weights: int
    floors: int
    limits: int
    constants: int
    stability: int
    functionals: int
    magnitudes: int
    norms: int
    mismatch: int
    energy: int
    skew: int
    # in the array of integers
    places: int
    starts: int
    steps: int


def arena(variant: Variant, n: int, room: int, width: int) -> int:
    """Return how many doubles the matrices, or later the residual coefficients, of a block take."""
    real = 4 if variant.single else 8
    number = real * (1 + variant.is_complex)
    matrices = variant.points * room * number + THREADS // WARP * n * (number + real)
    weak = min(4, variant.points)
    return -(-max(matrices, 8 * width * variant.points, 16 * width * weak) // 16) * 2


def shared_bytes(variant: Variant, sizes: Sizes) -> int:
    """Return the shared memory of a block: the arena, coefficients and solutions, and a few numbers a point."""
    points, parts = variant.points, 1 + variant.is_complex
    partial = max(sizes.blocks * points, THREADS // WARP * min(4, points))
    return 8 * (sizes.arena + points * (parts * (sizes.qa + sizes.qf + sizes.n) + 7) + partial)


@cache
def source(variant: Variant) -> str:
    """Return the CUDA C++ text of a variant: its constants, which Python and C++ share, and the files beside this."""
    defines = {
        "REAL": "float" if variant.single else "double",
        "COMPLEX": int(variant.is_complex),
        "DEFINITE": int(variant.definite),
        "POINTS": variant.points,
        "DEPTH": variant.depth,
        "THREADS": THREADS,
        "ROWS": ROWS,
        "SHARP": repr(SHARP),
        "RESOLVED": repr(float(RESOLVED)),
        "TINY": repr(float(np.finfo(float).tiny)),
    }
    lines = [f"#define {name} {value}" for name, value in defines.items()]
    lines.append(f"enum Operation {{ {', '.join(name.upper() for name in OPERATIONS)} }};")
    lines.append(f"enum State {{ {', '.join(STATES)} }};")
    lines.append(f"struct Sizes {{ long long {', '.join(Sizes._fields)}; }};")
    folder = files(__package__)
    return "\n".join([*lines, *((folder / name).read_text() for name in PARTS)])
