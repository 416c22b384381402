"""Files of greedy runs: what is needed to go on."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from rbm.errors import FileFormatError
from rbm.storage.archive import SideBySide, read_archive, write_archive
from rbm.storage.versions import making

__all__ = ["load_greedy", "save_greedy"]


def save_greedy(
    basis: np.ndarray | Sequence[np.ndarray],
    parameters: np.ndarray,
    rows: np.ndarray,
    fingerprint: str,
    path: str | os.PathLike[str],
    projection: str,
    relative: bool,
) -> None:
    """Write what :func:`rbm.greedy` needs to go on.

    basis : Z (n, N), or pieces of it that lie side by side, which are written without being joined
    rows : (k, 6 + p) history, as :func:`load_greedy` returns it
    """
    of_run = {"fingerprint": fingerprint, "projection": projection, "relative": relative}
    header = {"kind": "greedy run", **of_run, "record": making()}
    history, effectivity = np.delete(rows, 5, axis=1), rows[:, 5]
    whole = basis if isinstance(basis, np.ndarray) else SideBySide(basis)
    arrays = {"basis": whole, "parameters": parameters, "history": history, "effectivity": effectivity}
    write_archive(Path(path), header, arrays)


def load_greedy(path: str | os.PathLike[str]) -> tuple[np.ndarray, np.ndarray, np.ndarray, str, str, bool]:
    """Return basis (n, N), parameters (N, p), history (k, 6 + p), fingerprint, projection and relative.

    A row of the history holds size, bound, floor, resolved, seconds, effectivity and the parameter.
    """
    header, arrays = read_archive(path, "greedy run")
    file = os.fspath(path)
    try:
        of_run = str(header.get("projection", "galerkin")), bool(header.get("relative", False))
        rows = arrays["history"]
        effectivity = arrays.get("effectivity", np.full(len(rows), np.nan))  # older files have none
        basis, parameters = arrays["basis"], arrays["parameters"]
        if basis.ndim != 2 or parameters.ndim != 2 or basis.shape[1] != len(parameters):
            raise ValueError(f"basis {basis.shape}, parameters {parameters.shape}")
        if rows.ndim != 2 or rows.shape[1] != 5 + parameters.shape[1] or not np.all(np.isfinite(rows[:, [0, 3]])):
            raise ValueError(f"history {rows.shape} of {parameters.shape[1]} parameters")
        rows = np.column_stack([rows[:, :5], effectivity, rows[:, 5:]])
        return basis, parameters, rows, str(header["fingerprint"]), *of_run
    except KeyError as error:
        raise FileFormatError(f"{file} is not a complete greedy run: {error} is missing") from error
    except (ValueError, IndexError) as error:
        raise FileFormatError(f"{file} is not a greedy run: its arrays do not fit each other ({error})") from error
