"""Files on the command line that stand for one array."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from rbm.affine.matrix_files import read_matrices
from rbm.errors import ParameterError

__all__ = ["only_array"]


def only_array(path: Path, option: str) -> Any:
    """Return the one array of a file that was given for an option, such as --product.

    Raises ParameterError, which names the arrays, where there is not just one, and as :func:`rbm.read_matrices`.
    """
    held = read_matrices(path)
    if len(held) != 1:
        raise ParameterError(f"{path} holds {', '.join(held) or 'nothing'}; {option} needs a file with one array")
    return next(iter(held.values()))
