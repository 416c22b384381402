"""Matrices of problems on grids, for tests of solvers."""

from __future__ import annotations

from typing import Any

import numpy as np
import scipy.sparse as sp

__all__ = ["laplacian"]


def laplacian(count: int, dimensions: int = 2) -> Any:
    """Return the five or seven point stencil on count^d inner points, with eigenvalues sum 2 - 2 cos."""
    one = np.ones(count)
    line = sp.diags_array([-one[1:], 2 * one, -one[1:]], offsets=[-1, 0, 1], format="csr")
    total, eye = line, sp.eye_array(count, format="csr")
    for _ in range(dimensions - 1):
        total = sp.kron(total, eye) + sp.kron(sp.eye_array(total.shape[0]), line)
    return sp.csr_array(total)
