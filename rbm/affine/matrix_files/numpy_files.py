"""NumPy's files, .npy and .npz, and sparse matrices in them as SciPy writes them; never pickles."""

from __future__ import annotations

import io
import zipfile
from typing import Any

import numpy as np
import scipy.sparse as sp

from lowrank.reading import array_from
from rbm.affine.matrix_files.claims import INFLATION, check_rows, numbers
from rbm.errors import FileFormatError

__all__ = ["read_npy", "read_npz"]

#: The member of scipy.sparse.save_npz that says how the matrix is stored, and the arrays of each way.
FORMAT = "format"
PARTS = {
    "csr": ("data", "indices", "indptr"),
    "csc": ("data", "indices", "indptr"),
    "bsr": ("data", "indices", "indptr"),
    "coo": ("data", "row", "col"),
    "dia": ("data", "offsets"),
}


def read_npy(name: str, stem: str, content: bytes) -> dict[str, Any]:
    """Return the one array of a file, under the name `stem`."""
    return {stem: numbers(f"{name}: {stem}", array_from(name, stem, content))}


def read_npz(name: str, stem: str, content: bytes) -> dict[str, Any]:
    """Return the arrays of an archive by their names, or its sparse matrix under the name `stem`."""
    blobs = _members(name, content)
    layout = _layout(name, blobs)
    arrays = {key: array_from(name, key, blob) for key, blob in blobs.items()}
    if layout is None:
        return {key: numbers(f"{name}: {key}", array) for key, array in arrays.items()}
    return {stem: numbers(f"{name}: {stem}", _sparse(name, layout, arrays, len(content)))}


def _members(name: str, content: bytes) -> dict[str, bytes]:
    """Return the members of a zip archive by name, without the ending .npy.

    Raises FileFormatError before anything is unpacked that claims more than packing can have saved.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            members = archive.infolist()
            names = [m.filename.removesuffix(".npy") for m in members]
            if len(set(names)) < len(names) or not all(m.filename.endswith(".npy") for m in members):
                raise FileFormatError(
                    f"{name} is not a NumPy archive: it holds {', '.join(m.filename for m in members)}"
                )
            if sum(m.compress_size for m in members) > len(content):
                raise FileFormatError(f"{name} is damaged: its members overlap")
            for m in members:
                if m.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED) or m.flag_bits & 1:
                    raise FileFormatError(f"{name}: {m.filename} is packed in a way that NumPy does not use")
                if m.file_size > INFLATION * m.compress_size:
                    raise FileFormatError(
                        f"{name} is damaged: {m.filename} claims {m.file_size} bytes, packed in {m.compress_size}"
                    )
            return {key: archive.read(m) for key, m in zip(names, members, strict=True)}
    except FileFormatError:
        raise
    except Exception as error:  # zipfile raises many kinds
        raise FileFormatError(f"{name} is not a whole NumPy archive ({error}); copy it anew") from error


def _layout(name: str, blobs: dict[str, bytes]) -> str | None:
    """Return how the sparse matrix of an archive is stored, and drop what is no number; None for plain arrays."""
    if FORMAT not in blobs or not any({"shape", *parts} <= blobs.keys() for parts in PARTS.values()):
        return None
    blob = blobs.pop(FORMAT)
    blobs.pop("_is_array", None)
    try:
        given = np.lib.format.read_array(io.BytesIO(blob[:1000]), allow_pickle=False).item()
        layout = given.decode() if isinstance(given, bytes) else str(given)
    except Exception as error:
        raise FileFormatError(f"{name} does not say how its matrix is stored ({error})") from error
    if layout not in PARTS or not {"shape", *PARTS[layout]} <= blobs.keys():
        raise FileFormatError(f"{name} has a sparse matrix of the format {layout!r} without all its arrays")
    return layout


def _sparse(name: str, layout: str, arrays: dict[str, np.ndarray], size: int) -> Any:
    """Return a sparse matrix of the arrays that save_npz writes; their entries are checked by the caller."""
    shape = tuple(arrays["shape"].ravel().tolist())
    if len(shape) != 2 or arrays["shape"].dtype.kind not in "iu":
        raise FileFormatError(f"{name} has a sparse matrix of shape {shape}; a matrix has two axes")
    check_rows(name, shape, size)
    data, *indices = (arrays[part] for part in PARTS[layout])
    try:
        if any(part.dtype.kind not in "iu" or part.ndim != 1 for part in indices):
            raise ValueError("its indices are no whole numbers")
        if layout == "coo":
            return sp.coo_array((data, tuple(indices)), shape=shape)
        if layout == "dia":
            return sp.dia_array((data, indices[0]), shape=shape).tocoo()
        made = {"csr": sp.csr_array, "csc": sp.csc_array, "bsr": sp.bsr_array}[layout]((data, *indices), shape=shape)
        made.check_format(full_check=True)  # before the conversion, which trusts the indices
        return made
    except Exception as error:
        raise FileFormatError(f"{name} has a sparse matrix whose arrays do not fit each other: {error}") from error
