"""Checks of what files claim, before memory is taken for it."""

from __future__ import annotations

from typing import Any

import numpy as np
import scipy.sparse as sp

from rbm.affine.entries import entries
from rbm.errors import FileFormatError, ModelError

__all__ = ["INFLATION", "check_rows", "numbers"]

#: Deflate makes nothing smaller than this share.
INFLATION = 1032
#: A sparse matrix of up to so many rows is taken from a file of any size: their pointers need 128 MiB.
ROWS = 1 << 24
#: Beyond, so many rows may stand for a byte of the file.
PER_BYTE = 64


def check_rows(name: str, shape: tuple[int, int], size: int) -> None:
    """Raise FileFormatError for a sparse matrix whose row pointers alone would dwarf its file of `size` bytes."""
    if min(shape) < 0 or max(shape) > max(ROWS, PER_BYTE * size):
        raise FileFormatError(
            f"{name} claims to be a sparse matrix of shape {shape}, in a file of {size} bytes; it is damaged"
        )


def numbers(name: str, given: Any) -> Any:
    """Return the entries of a matrix or vector in double precision, a csr_array or an array.

    Raises FileFormatError, with the name, for NaN, or indices outside the shape.
    """
    try:
        made = entries(name, given)
    except ModelError as error:
        raise FileFormatError(str(error)) from error
    return sp.csr_array(made) if sp.issparse(made) else np.asarray(made)
