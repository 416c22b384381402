"""Rigid body modes of elasticity: what its operator maps to zero but for boundary conditions."""

from __future__ import annotations

from typing import Any

import numpy as np

from rbm.errors import ModelError

__all__ = ["rigid_body_modes"]


def rigid_body_modes(points: Any) -> np.ndarray:
    """Return the rigid body modes at nodes: d translations and d (d - 1) / 2 rotations, (m d, 3) or (m d, 6).

    points : (m, d), d = 2 or 3, coordinates of the nodes whose displacements are unknowns, in the order of the
        unknowns; these are the d components at the first node, then at the second, ... Without nodes that are held

    They are `near_null_space` of :class:`rbm.solvers.AMG`, for elasticity with any moduli: linear strains of rotations
    u = w x (x - c) are zero. Rotations are about the mean c of the points, and as large as translations.

    Raises ModelError for other shapes, and for numbers that are not finite.
    """
    x = np.asarray(points, dtype=float)
    if x.ndim != 2 or x.shape[1] not in (2, 3) or not len(x):
        raise ModelError(f"points of rigid body modes must have the shape (m, 2) or (m, 3), got {x.shape}")
    if not np.all(np.isfinite(x)):
        raise ModelError("points of rigid body modes must be finite numbers")
    m, d = x.shape
    x = x - x.mean(axis=0)
    x = x / (np.abs(x).max() or 1.0)
    pairs = [(i, j) for i in range(d) for j in range(i)]
    modes = np.zeros((m, d, d + len(pairs)))
    modes[:, range(d), range(d)] = 1.0
    for k, (i, j) in enumerate(pairs, d):
        modes[:, i, k], modes[:, j, k] = x[:, j], -x[:, i]
    return modes.reshape(m * d, -1)
