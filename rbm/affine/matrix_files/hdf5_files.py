"""HDF5 files: datasets, and groups that hold a sparse matrix; MATLAB's files of version 7.3 among them."""

from __future__ import annotations

from typing import Any

import numpy as np
import scipy.sparse as sp

from lowrank.optional import require
from rbm.affine.matrix_files.claims import INFLATION, check_rows, numbers
from rbm.errors import FileFormatError

__all__ = ["read_hdf5"]

#: The arrays of a compressed matrix, as SciPy and as MATLAB call them.
SCIPY, MATLAB = ("data", "indices", "indptr"), ("data", "ir", "jc")
#: Bytes that a chunked dataset may claim beyond what its chunks can hold.
SLACK = 1 << 16


def read_hdf5(path: str) -> dict[str, Any]:
    """Return datasets and sparse matrices by their names, "group/K" for one inside a group.

    Links are not followed, and data outside the file is refused.
    """
    h5py = require("h5py", "h5py", f"reading {path}, an HDF5 file,", "hdf5")
    groups: dict[str, Any] = {}
    datasets: dict[str, Any] = {}

    def visit(key: str, item: Any) -> None:
        if isinstance(item, h5py.Dataset):
            datasets[key] = item
        elif _parts(item) is not None:
            groups[key] = item

    try:
        with h5py.File(path, "r") as file:
            if _parts(file) is not None:
                groups["matrix"] = file
            file.visititems(visit)
            size = file.id.get_filesize()
            made = {key: numbers(f"{path}: {key}", _sparse(path, key, group, size)) for key, group in groups.items()}
            inside = tuple("" if key == "matrix" and groups[key] == file else f"{key}/" for key in groups)
            for key, dataset in datasets.items():
                if key.startswith("#") or any(key.startswith(prefix) for prefix in inside):
                    continue
                array = _array(path, key, dataset)
                if array is not None:
                    made[key] = numbers(f"{path}: {key}", array)
            return made
    except FileFormatError:
        raise
    except Exception as error:  # h5py raises many kinds
        raise FileFormatError(f"{path} is not a whole HDF5 file ({type(error).__name__}: {error})") from error


def _parts(group: Any) -> tuple[str, ...] | None:
    """Return the names of the arrays if a group holds a compressed matrix."""
    return next((names for names in (SCIPY, MATLAB) if set(names) <= set(group.keys())), None)


def _sparse(path: str, key: str, group: Any, size: int) -> Any:
    parts = _parts(group)
    assert parts is not None
    data, indices, pointers = (_array(path, f"{key}/{part}", group[part], plain=True) for part in parts)
    if data is None or indices is None or pointers is None:
        raise FileFormatError(f"{path}: {key} is no sparse matrix of numbers")
    if parts == MATLAB:
        shape, layout = (int(group.attrs["MATLAB_sparse"]), len(pointers) - 1), "csc"
    else:
        shape, layout = _shape(path, key, group), _layout(group)
    check_rows(f"{path}: {key}", shape, size)
    try:
        made = (sp.csc_array if layout.startswith("csc") else sp.csr_array)(
            (data, indices.astype(np.int64, casting="same_kind"), pointers.astype(np.int64, casting="same_kind")),
            shape=shape,
        )
        made.check_format(full_check=True)
        return made
    except Exception as error:
        raise FileFormatError(
            f"{path}: {key} is a sparse matrix whose arrays do not fit each other: {error}"
        ) from error


def _shape(path: str, key: str, group: Any) -> tuple[int, int]:
    given = next((group.attrs[name] for name in ("shape", "h5sparse_shape") if name in group.attrs), None)
    if given is None and "shape" in group:
        given = _array(path, f"{key}/shape", group["shape"], plain=True)
    if given is None or np.shape(given) != (2,):
        raise FileFormatError(f"{path}: {key} is a sparse matrix without a shape: give the group an attribute shape")
    rows, columns = (int(x) for x in given)
    return rows, columns


def _layout(group: Any) -> str:
    names = ("format", "h5sparse_format", "encoding-type")
    given = next((group.attrs[name] for name in names if name in group.attrs), "csr")
    return given.decode() if isinstance(given, bytes) else str(given)


def _array(path: str, key: str, dataset: Any, plain: bool = False) -> np.ndarray | None:
    """Return the numbers of a dataset; None for anything else.

    plain : do not turn the axes of MATLAB's arrays, which it stores by columns
    """
    dtype = dataset.dtype
    if dataset.shape is None or not (dtype.kind in "biufc" or dtype.names == ("real", "imag")):
        return None
    if dataset.is_virtual or dataset.external:
        raise FileFormatError(f"{path}: {key} has its data in other files; they are not read")
    stored, claimed = dataset.id.get_storage_size(), dataset.size * dtype.itemsize
    if claimed > (stored if dataset.chunks is None else INFLATION * stored + SLACK):
        raise FileFormatError(f"{path}: {key} claims {claimed} bytes, {stored} are stored; it was not written in full")
    array = np.asarray(dataset[()])
    if dtype.names:
        array = array["real"] + 1j * array["imag"]
    return array.T if "MATLAB_class" in dataset.attrs and not plain else array
