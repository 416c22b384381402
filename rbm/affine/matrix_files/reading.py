"""Reads a file of matrices and vectors, whatever its format is."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from lowrank.reading import read_bytes
from rbm.affine.matrix_files.hdf5_files import read_hdf5
from rbm.affine.matrix_files.matlab_files import is_matlab, read_matlab
from rbm.affine.matrix_files.matrix_market import read_matrix_market
from rbm.affine.matrix_files.numpy_files import read_npy, read_npz
from rbm.affine.matrix_files.petsc_files import is_petsc, read_petsc
from rbm.errors import FileFormatError

__all__ = ["read_matrices"]

HDF5 = b"\x89HDF\r\n\x1a\n"
#: What the first bytes of packed files are.
PACKED = {b"\x1f\x8b": "gzip", b"BZh": "bzip2", b"\xfd7zXZ": "xz", b"(\xb5/\xfd": "zstd"}


def read_matrices(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Return the matrices and vectors of a file by their names: sparse ones as csr_array, others as NumPy arrays.

    All are float64 or complex128. The format is told by the first bytes, not by the name:

    - Matrix Market (.mtx): a matrix or array; its name is that of the file, without the ending
    - NumPy (.npy, .npz): plain arrays, packed or not, by their names; a sparse matrix of ``scipy.sparse.save_npz`` by
      the name of the file. Pickled objects are refused
    - MATLAB (.mat): versions 5 to 7; 7.3 with h5py; what is not numeric is left out
    - PETSc's binary format: matrices (sparse and dense), vectors and index sets, which have no names there, in order:
      "matrix0", "vector0", "indices0", "matrix1", ... Real or complex, with indices of 32 or 64 bits, whatever fits the
      whole file
    - HDF5, if h5py is installed: datasets, and groups with data, indices, indptr and an attribute or dataset shape;
      columns first if the attribute format, h5sparse_format or encoding-type begins with "csc"

    Numbers of unknowns, for :func:`rbm.constrain`, come as float64, too; MATLAB counts them from 1.

    Raises
    ------
    FileNotFoundError
        there is no such file.
    FileFormatError
        a file of another format, one that is damaged, cut short or holds NaN, sizes that do not fit each other, and a
        PETSc file that fits neither real nor complex numbers; the message has the name of the file.
    ImportError
        h5py is needed and not there.

    What a file claims is compared with its size before memory is taken; links out of an HDF5 file are not followed.

    Examples
    --------
    >>> import tempfile, numpy as np, pathlib
    >>> path = pathlib.Path(tempfile.mkdtemp()) / "model.npz"
    >>> np.savez(path, K=np.eye(2), f=np.ones(2))
    >>> sorted(read_matrices(path))
    ['K', 'f']
    """
    name, stem = os.fspath(path), Path(path).name.partition(".")[0]
    content = read_bytes(path)
    start = content[:1024]
    if start.startswith(b"%%MatrixMarket"):
        made = read_matrix_market(name, stem, content)
    elif start.startswith(b"\x93NUMPY"):
        made = read_npy(name, stem, content)
    elif start.startswith(b"PK\x03\x04"):
        made = read_npz(name, stem, content)
    elif any(start[at : at + len(HDF5)] == HDF5 for at in (0, 512)):
        made = read_hdf5(name)
    elif is_matlab(start):
        made = read_matlab(name, content)
    elif is_petsc(start):
        made = read_petsc(name, content)
    else:
        raise FileFormatError(f"{name} {_unknown(start, len(content))}")
    if not made:
        raise FileFormatError(f"{name} holds no matrix or vector of numbers")
    return made


def _unknown(start: bytes, size: int) -> str:
    """Return what is wrong with a file of no known format, as the end of a sentence."""
    if not size:
        return "is empty"
    for magic, kind in PACKED.items():
        if start.startswith(magic):
            return f"is packed by {kind}; unpack it first"
    return (
        f"is no file of matrices that is known here, it starts with {start[:8]!r}: Matrix Market, .npy, .npz, .mat "
        "(5 to 7.3), PETSc binary and HDF5 are; it may be damaged"
    )
