"""Matrix Market files, read with NumPy alone.

A line of words, comments, a line of sizes; then one entry a line, with its row and column, from 1, for a list, and by
columns for an array. Readers in compiled code that trust the sizes can be brought down by a damaged file.
"""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import scipy.sparse as sp

from rbm.affine.matrix_files.claims import check_rows, numbers
from rbm.errors import FileFormatError

__all__ = ["read_matrix_market"]

#: Numbers of an entry.
FIELDS = {"real": 1, "double": 1, "integer": 1, "complex": 2, "pattern": 0}
#: What stands above the diagonal for an entry below it; True if the diagonal is in the file.
SYMMETRIES: dict[str, tuple[Any, bool]] = {
    "symmetric": (np.positive, True),
    "skew-symmetric": (np.negative, False),
    "hermitian": (np.conj, True),
}


class _Wrong(Exception):
    """What is wrong with a file."""


def read_matrix_market(name: str, stem: str, content: bytes) -> dict[str, Any]:
    """Return the one matrix or array of a file, under the name `stem`."""
    try:
        layout, field, symmetry, sizes, body = _head(content)
        read = _list if layout == "coordinate" else _array
        made = read(f"{name}: {stem}", FIELDS[field], symmetry, sizes, body)
    except _Wrong as error:
        raise FileFormatError(f"{name} is not a whole Matrix Market file: {error}") from error
    return {stem: numbers(f"{name}: {stem}", made)}


def _head(content: bytes) -> tuple[str, str, str, list[int], bytes]:
    """Return layout, field, symmetry, sizes, and what comes after the line of sizes."""
    first, _, rest = content.partition(b"\n")
    words = first.decode("latin-1").lower().split()
    if len(words) != 5 or words[1] != "matrix" or words[2] not in ("coordinate", "array"):
        raise _Wrong(f"its first line is {first[:80]!r}, not %%MatrixMarket matrix coordinate real general or the like")
    layout, field, symmetry = words[2:]
    if field not in FIELDS or symmetry not in ("general", *SYMMETRIES) or (layout == "array" and field == "pattern"):
        raise _Wrong(f"it is {layout} {field} {symmetry}, which is not known")
    line = b"%"
    while rest and (not line.strip() or line.startswith(b"%")):
        line, _, rest = rest.partition(b"\n")
    wanted = 3 if layout == "coordinate" else 2
    if len(line.split()) != wanted or not all(word.isdigit() for word in line.split()):
        raise _Wrong(f"its sizes are {line[:80]!r}, expected {wanted} whole numbers")
    sizes = [int(word) for word in line.split()]
    if symmetry != "general" and sizes[0] != sizes[1]:
        raise _Wrong(f"it is {symmetry} of shape {tuple(sizes[:2])}")
    return layout, field, symmetry, sizes, rest


def _table(body: bytes, rows: int, columns: int) -> np.ndarray:
    """Return the numbers (rows, columns) of the body, which has no others."""
    count = rows * columns
    if 2 * count > len(body) + 1:  # a digit and a separator each
        raise _Wrong(f"it claims {rows} entries, {len(body)} bytes are left")
    if not count:
        if body.strip():
            raise _Wrong("it has more entries than it claims")
        return np.zeros((rows, columns))
    with warnings.catch_warnings():
        warnings.simplefilter("error", DeprecationWarning)  # raised for what is no number
        try:
            values = np.fromstring(body.decode("latin-1"), sep=" ")
        except (DeprecationWarning, ValueError) as error:
            raise _Wrong(f"its entries are not all numbers ({error})") from error
    if len(values) != count:
        raise _Wrong(f"it has {len(values)} numbers in place of {count}")
    return values.reshape(rows, columns)


def _list(name: str, parts: int, symmetry: str, sizes: list[int], body: bytes) -> Any:
    rows, columns, count = sizes
    check_rows(name, (rows, columns), len(body))
    table = _table(body, count, 2 + parts)
    places = table[:, :2].astype(np.int64)
    outside = (places != table[:, :2]) | (places < 1) | (places > [rows, columns])
    if outside.any():
        at = int(np.argmax(outside.any(axis=1)))
        raise _Wrong(f"entry {at + 1} has the place {tuple(table[at, :2].tolist())}, outside {(rows, columns)}")
    i, j = places.T - 1
    values = _values(table[:, 2:])
    if symmetry != "general":
        mirror, _ = SYMMETRIES[symmetry]
        off = i != j
        i, j, values = (np.concatenate(pair) for pair in ((i, j[off]), (j, i[off]), (values, mirror(values[off]))))
    return sp.coo_array((values, (i, j)), shape=(rows, columns))


def _array(name: str, parts: int, symmetry: str, sizes: list[int], body: bytes) -> np.ndarray:
    rows, columns = sizes
    if symmetry == "general":
        return _values(_table(body, rows * columns, parts)).reshape((rows, columns), order="F")
    mirror, diagonal = SYMMETRIES[symmetry]
    values = _values(_table(body, rows * (rows + (1 if diagonal else -1)) // 2, parts))
    made = np.zeros((rows, rows), dtype=values.dtype)
    j, i = np.triu_indices(rows, 0 if diagonal else 1)  # the lower triangle, by columns
    made[j, i] = mirror(values)
    made[i, j] = values
    return made


def _values(parts: np.ndarray) -> np.ndarray:
    """Return numbers (k,) from their parts (k, 0), (k, 1) or (k, 2); without parts they are 1."""
    if parts.shape[1] == 2:
        return parts[:, 0] + 1j * parts[:, 1]
    return parts[:, 0] if parts.shape[1] else np.ones(len(parts))
