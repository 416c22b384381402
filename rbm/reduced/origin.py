"""The mark of a basis, by which a model knows whether the coefficients of a Solution belong to it.

Equal names and an equal N do not suffice for that.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Any

import numpy as np

from lowrank.arrays import numpy_dtype, to_numpy
from rbm.errors import ModelError
from rbm.reduced.arrays import ReducedArrays
from rbm.solution import Solution

__all__ = ["STORED", "check_origin", "mark"]

#: `method` of solutions that were stored in few bits and decoded.
STORED = "stored"

#: Rows of the basis that are read together, for bases that lie on a device or in another order of memory.
ROWS = 1 << 14
#: Separator of the digest of the reduced matrices and that of the basis.
BETWEEN = ":"


def mark(model: ReducedArrays) -> str:
    """Return digests of the reduced matrices and of the basis, "" for a basis that the model does not hold.

    The basis alone decides what coefficients mean. It stays as it is in `astype`, `compress`, `sketch`, `to` and in
    files; the reduced matrices stand for it where it was left out. They enter in single precision, so that `astype`
    does not change them. Cost: a pass over both, at the first query (about 1 s for 1 GB).
    """
    small = hashlib.sha256(repr((model.parameters.names, sorted(model.outputs), model.operators.shape)).encode())
    with np.errstate(over="ignore", under="ignore", invalid="ignore"):
        for array in (model.operators, model.rhs):
            small.update(to_numpy(array).astype(np.complex64).tobytes())
    if model.coded is not None:  # the mark of the basis that it stands for
        return small.hexdigest() + BETWEEN + model.coded.origin
    if model.basis is None:
        return small.hexdigest() + BETWEEN
    large = hashlib.sha256(repr((model.basis.shape, str(numpy_dtype(model.basis)))).encode())
    n = model.basis.shape[0]
    for start in range(0, n, ROWS):
        large.update(to_numpy(model.basis[start : min(start + ROWS, n), :]).tobytes())
    return small.hexdigest() + BETWEEN + large.hexdigest()


def check_origin(given: Any, model: ReducedArrays, own: Callable[[], str]) -> None:
    """Raise ModelError for a Solution of another model than the one whose mark `own` tells.

    Arrays, and solutions without a mark, are not checked: their origin is not known.
    """
    if not isinstance(given, Solution):
        return
    outputs = set(model.outputs if given.method == STORED else given.outputs)  # stored are coefficients alone
    names = given.names, outputs
    if names[0] and names != (model.parameters.names, set(model.outputs)):
        raise ModelError(
            f"this solution is of another model, with parameters {', '.join(names[0])} and outputs "
            f"{', '.join(sorted(names[1])) or 'none'}; this one has {', '.join(model.parameters.names)} and "
            f"{', '.join(sorted(model.outputs)) or 'none'}"
        )
    theirs = given.origin
    if not theirs or given.coefficients.shape[1:] != (model.size,):  # another size has its own message
        return
    ours = own()
    if theirs == ours:
        return
    (their_matrices, their_basis), (matrices, basis) = theirs.split(BETWEEN), ours.split(BETWEEN)
    if their_basis == basis if their_basis and basis else their_matrices == matrices:
        return
    raise ModelError(
        "this solution is of another model: its coefficients belong to another basis, although that has the same "
        f"number of vectors, {model.size}, and the same names. Use the model that made it, or one saved from that; if "
        "you mean its numbers all the same, pass solution.coefficients"
    )
