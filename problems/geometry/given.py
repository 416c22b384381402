"""Coefficients of forms as users give them, for all blocks or block by block."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from problems.geometry.formulas import Formula, formula
from problems.geometry.pieces import Piece
from rbm.errors import ModelError

__all__ = ["by_piece", "tensor", "vector"]


def by_piece(given: Any, pieces: tuple[Piece, ...]) -> Iterator[tuple[int, Piece, Any]]:
    """Yield number, piece and what is given for it, one for all or {block: coefficient}.

    Blocks that are not named are left out. Raises ModelError for a name that is none of a block.
    """
    if isinstance(given, Mapping):
        blocks = tuple(dict.fromkeys(piece.block for piece in pieces))
        for name in given:
            if name not in blocks:
                raise ModelError(f"a coefficient is for block {name!r}, which is none of {', '.join(blocks)}")
    for number, piece in enumerate(pieces):
        if not isinstance(given, Mapping):
            yield number, piece, given
        elif piece.block in given:
            yield number, piece, given[piece.block]


def vector(given: Any, names: tuple[str, ...]) -> tuple[Formula, Formula]:
    """Return a velocity (w_x, w_y). Raises ModelError for anything else."""
    if isinstance(given, str) or np.shape(given) != (2,):
        raise ModelError(f"a velocity is a pair (w_x, w_y) of coefficients, got {given!r}")
    x, y = (formula(c, names) for c in given)
    return x, y


def tensor(given: Any, names: tuple[str, ...]) -> list[list[Formula]]:
    """Return a conductivity as a tensor (2, 2). Raises ModelError for one that is not symmetric, and other shapes."""
    zero = Formula.number(0)
    if np.shape(given) == ():
        value = formula(given, names)
        return [[value, zero], [zero, value]]
    if np.shape(given) != (2, 2):
        raise ModelError(f"a conductivity is a coefficient, or a tensor of shape (2, 2), got {given!r}")
    made = [[formula(c, names) for c in row] for row in given]
    if made[0][1] - made[1][0]:
        raise ModelError(f"a conductivity must be a symmetric tensor, got {given!r}")
    return made
