"""Where sensors tell a reduced space apart best: interpolation points first, then where the space is seen worst."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np

from eim import deim, qdeim
from rbm.affine.functional_range import FunctionalRange
from rbm.errors import ModelError
from rbm.reduced.model import ReducedModel
from rbm.uses.measurements import sensor_matrix
from rbm.uses.sensor_space import cross_gramian, dense_functionals, inner_product_of

__all__ = ["place_sensors"]


def place_sensors(
    reduced: ReducedModel,
    count: int | None = None,
    *,
    candidates: Any = None,
    method: Literal["qr", "eim"] = "qr",
    product: Any = None,
) -> np.ndarray:
    """Return the sensors (count,) to take of some candidates, in the order in which they were chosen.

    The first N are the points of QR with column pivoting or of empirical interpolation for the basis, as the candidates
    read it (:func:`eim.qdeim`, :func:`eim.deim`). Each further one reads most of z - Pi_U z, z of norm one in the
    reduced space, where that is largest: the direction that the sensors so far see worst. The inf-sup constant cannot
    become smaller by it; :func:`rbm.pbdw` certifies it.

    count : at least N, which is the default
    candidates : numbers of unknowns, from which numbers are returned; or a matrix C (K, n), of which rows are returned;
        all unknowns by default
    product : P (n, n), if the model does not hold it

    Raises ModelError for fewer sensors than basis vectors, fewer candidates than sensors, and candidates that do not
    tell the basis vectors apart. Cost: QR of C Z; a few solves with P for each further sensor, and for each candidate
    that is passed over as it depends on those before.
    Source: Maday, Patera, Penn and Yano (2015) for the further ones.
    """
    inner = inner_product_of(reduced, product)
    basis = np.asarray(reduced.basis)
    n, size = basis.shape
    wanted = size if count is None else count
    if isinstance(wanted, bool) or not isinstance(wanted, int | np.integer) or wanted < size:
        raise ModelError(
            f"count must be a whole number of at least N = {size}, got {count!r}; for fewer sensors take a smaller "
            "space, reduced.truncate"
        )
    if method not in ("qr", "eim"):
        raise ModelError(f'method must be "qr" or "eim", got {method!r}')
    matrix = sensor_matrix(reduced, np.arange(n) if candidates is None else candidates)
    if wanted > matrix.shape[0]:
        raise ModelError(f"{wanted} sensors are asked for, and there are {matrix.shape[0]} candidates")
    try:
        chosen = [int(i) for i in (qdeim if method == "qr" else deim)(np.asarray(matrix @ basis))]
    except ValueError as error:
        raise ModelError(f"these candidates do not tell the {size} basis vectors apart: {error}") from error
    span = FunctionalRange(inner)
    _append(span, matrix[chosen])
    while len(chosen) < wanted:
        cross, _ = cross_gramian(span.functionals, basis, inner)
        _, _, adjoint = np.linalg.svd(cross)
        z = adjoint[-1].conj()
        unseen = np.abs(np.asarray(matrix @ (basis @ z - span.representers @ (cross @ z))))
        unseen[chosen] = -1.0
        before = len(span.factor)
        while len(span.factor) == before:
            best = int(np.argmax(unseen))
            if unseen[best] < 0:
                raise ModelError(
                    f"only {len(chosen)} of the candidates are independent, up to round-off; {wanted} sensors are "
                    "asked for"
                )
            _append(span, matrix[[best]])
            unseen[best] = -1.0
        chosen.append(best)
    rows = np.array(chosen)
    numbered = candidates is not None and np.ndim(candidates) == 1
    return np.asarray(candidates)[rows] if numbered else rows


def _append(span: FunctionalRange, matrix: Any) -> None:
    functionals = dense_functionals(matrix)
    span.append(functionals, np.zeros_like(functionals), np.zeros(functionals.shape))
