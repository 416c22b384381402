"""PETSc's binary format, as MatView, VecView and ISView write it, read with NumPy alone.

Numbers are big-endian. An object begins with its class, then come sizes and arrays; nothing says whether scalars are
real or complex, which is a property of the PETSc that wrote the file. Whether indices have 32 or 64 bits shows in the
first four bytes.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import scipy.sparse as sp

from rbm.affine.matrix_files.claims import numbers
from rbm.errors import FileFormatError

__all__ = ["is_petsc", "read_petsc"]

MATRIX, VECTOR, INDICES = 1211216, 1211214, 1211218
NAMES = {MATRIX: "matrix", VECTOR: "vector", INDICES: "indices"}
#: In place of the number of entries, for a dense matrix.
DENSE = -1
SCALARS = {"real": np.dtype(">f8"), "complex": np.dtype(">c16")}


class _Unfit(Exception):
    """The bytes do not fit the sizes, if scalars and indices are what was assumed."""


def is_petsc(start: bytes) -> bool:
    """Return True if a file begins with the class of a matrix, a vector or an index set."""
    number = int.from_bytes(start[:8] if start[:4] == bytes(4) else start[:4], "big")
    return number in NAMES


def read_petsc(name: str, content: bytes) -> dict[str, Any]:
    """Return matrices, vectors and index sets, "matrix0", "vector0", "indices0", ..., numbered in their order.

    Raises FileFormatError if the file fits neither real nor complex scalars, or both.
    """
    index = np.dtype(">i8" if content[:4] == bytes(4) else ">i4")
    found, why = {}, {}
    for kind, scalar in SCALARS.items():
        try:
            found[kind] = _objects(content, index, scalar)
        except _Unfit as error:
            why[kind] = str(error)
    if not found:
        raise FileFormatError(
            f"{name} is no whole PETSc file of double precision, with {index.itemsize * 8}-bit indices: with real "
            f"scalars {why['real']}; with complex ones {why['complex']}"
        )
    objects = next(iter(found.values()))
    if len(found) > 1 and any(o.nnz if sp.issparse(o) else o.size for label, o in objects if label != "indices"):
        raise FileFormatError(
            f"{name} can be read with real and with complex scalars; write its objects anew, one in a file"
        )
    counts: dict[str, int] = {}
    made = {}
    for label, value in objects:
        key = f"{label}{counts.get(label, 0)}"
        counts[label] = counts.get(label, 0) + 1
        made[key] = numbers(f"{name}: {key}", value)
    return made


def _objects(content: bytes, index: np.dtype, scalar: np.dtype) -> list[tuple[str, Any]]:
    """Return all objects of a file, if it ends with the last of them."""
    at, found = 0, []

    def take(dtype: np.dtype, count: int, what: str) -> np.ndarray:
        nonlocal at
        if count < 0 or at + dtype.itemsize * count > len(content):
            raise _Unfit(f"{count} {what} at byte {at} do not fit the {len(content) - at} bytes that are left")
        part = np.frombuffer(content, dtype, count, at)
        at += dtype.itemsize * count
        return part.astype(dtype.newbyteorder("="))

    while at < len(content):
        start = at
        kind = int(take(index, 1, "class")[0])
        if kind not in NAMES:
            raise _Unfit(f"{kind} at byte {start} is the class of no matrix, vector or index set")
        if kind == MATRIX:
            rows, columns, count = (int(x) for x in take(index, 3, "sizes"))
            if min(rows, columns) < 0:
                raise _Unfit(f"a matrix at byte {start} has the shape {(rows, columns)}")
            if count == DENSE:
                found.append(("matrix", take(scalar, rows * columns, "entries").reshape(rows, columns)))
                continue
            lengths = take(index, rows, "row lengths")
            indices, data = take(index, count, "column indices"), take(scalar, count, "entries")
            if not 0 <= lengths.min(initial=0) <= lengths.max(initial=0) <= count or lengths.sum() != count:
                raise _Unfit(f"the rows of a matrix at byte {start} do not add up to its {count} entries")
            if count and not (indices.min() >= 0 and indices.max() < columns):
                raise _Unfit(f"a matrix at byte {start} has column indices outside 0 to {columns - 1}")
            pointers = np.concatenate([[0], np.cumsum(lengths, dtype=np.int64)])
            found.append(("matrix", sp.csr_array((data, indices, pointers), shape=(rows, columns))))
        else:
            count = int(take(index, 1, "size")[0])
            found.append((NAMES[kind], take(scalar if kind == VECTOR else index, count, "entries")))
    return found
