"""Files on the command line that stand for one array."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from rbm.affine.matrix_files import read_matrices
from rbm.errors import ParameterError

__all__ = ["add_unknowns", "only_array", "unknowns_of"]


def only_array(path: Path, option: str) -> Any:
    """Return the one array of a file that was given for an option, such as --product.

    Raises ParameterError, which names the arrays, where there is not just one, and as :func:`rbm.read_matrices`.
    """
    held = read_matrices(path)
    if len(held) != 1:
        raise ParameterError(f"{path} holds {', '.join(held) or 'nothing'}; {option} needs a file with one array")
    return next(iter(held.values()))


def add_unknowns(command: argparse.ArgumentParser) -> None:
    """Give a command that draws fields on a mesh the option --unknowns."""
    command.add_argument(
        "--unknowns",
        type=Path,
        metavar="FILE",
        help="numbers of the unknown at each point of the mesh, from 0 (default: point i has unknown i)",
    )


def unknowns_of(options: argparse.Namespace) -> Any:
    """Return the numbers of unknowns (P,) that --unknowns names, None without; raise as :func:`only_array`."""
    return None if options.unknowns is None else only_array(options.unknowns, "--unknowns").ravel()
