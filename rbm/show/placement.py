"""Where the unknowns of a reduced model are on a mesh, and the messages about meshes that do not fit."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any

import numpy as np

from lowrank.arrays import to_numpy
from rbm.affine.constraints import Constraints
from rbm.errors import ModelError
from rbm.reduced.model import ReducedModel
from rbm.reduced.partitioned import PartitionedModel
from rbm.show.meshes import FieldMesh, field_mesh
from rbm.time.reduced import ReducedTimeModel

__all__ = ["Placement", "checked_reduced", "placed_on"]


@dataclass(frozen=True, eq=False)
class Placement:
    """Where the unknowns of a reduced model are on a mesh."""

    mesh: FieldMesh
    constraints: Constraints | None

    def values(self, u: Any, mus: Any) -> np.ndarray:
        """Return the values at the nodes, (M, P) or (M, P, c), of vectors u (M, m), fixed unknowns put in."""
        u = np.atleast_2d(to_numpy(u))
        if self.constraints is not None:
            u = self.constraints.expand(u, mus)
        return u[:, self.mesh.unknowns]


def checked_reduced(given: Any) -> None:
    """Raise ModelError for anything but a reduced model, with how to get one."""
    if isinstance(given, ReducedModel | PartitionedModel | ReducedTimeModel):
        return
    if isinstance(given, str | os.PathLike):
        way = f"rbm.load({os.fspath(given)!r}) reads one"
    else:
        way = "give its .reduced_model" if hasattr(given, "reduced_model") else "rbm.greedy and rbm.load return one"
    raise ModelError(f"fields and curves are those of a reduced model, got a {type(given).__name__}; {way}")


def placed_on(reduced: Any, mesh: Any, unknowns: Any = None, free: Any = None) -> Placement:
    """Return where the unknowns of a reduced model, in time or not, are on a mesh, as :func:`rbm.fields` takes it.

    Raises ModelError for what is no reduced model, one without its basis, and one that does not fit the mesh.
    """
    checked_reduced(reduced)
    model = reduced.terms if isinstance(reduced, ReducedTimeModel) else reduced
    m, known = model.unknowns, model.constraints
    if m is None:
        raise ModelError("this reduced model does not hold its basis; save it with basis=True for full vectors")
    made = field_mesh(mesh, unknowns)
    if free is not None:
        if known is not None:
            raise ModelError("this model knows its free unknowns; leave out free=")
        known = _given_free(free, m, made.count)
    whole = m if known is None else known.dimension
    if (made.count > whole) if made.kind == "unknowns" else (made.count != whole):
        raise ModelError(_unfit(made, m, known))
    return Placement(made, known)


def _given_free(free: Any, m: int, whole: int) -> Constraints:
    numbers = np.asarray(free)
    if numbers.dtype == bool and numbers.shape == (whole,):
        numbers = np.flatnonzero(numbers)
    if numbers.shape != (m,) or numbers.dtype.kind not in "iu":
        raise ModelError(
            f"free must hold the numbers of the {m} unknowns of the model, got {numbers.dtype} {numbers.shape}"
        )
    if len(np.unique(numbers)) != m or numbers.min() < 0 or numbers.max() >= whole:
        raise ModelError(f"free must hold different numbers from 0 to {whole - 1}, one an unknown of the model")
    if np.any(np.diff(numbers) < 0):
        raise ModelError("free must be in ascending order, that of the unknowns of the model")
    return Constraints(numbers.astype(np.int64), np.setdiff1d(np.arange(whole), numbers))


def _unfit(mesh: FieldMesh, m: int, known: Constraints | None) -> str:
    """Return the message about a mesh with another number of unknowns than the model."""
    whole, nodes = (m if known is None else known.dimension), len(mesh.points)
    has = f"the model has {whole} unknowns" + ("" if known is None else f", {len(known.fixed)} of them fixed")
    if mesh.kind == "unknowns":
        return f"unknowns= goes up to number {mesh.count - 1}, but {has}; they are counted from 0"
    kind = "degrees of freedom in its basis" if mesh.kind == "basis" else "points"
    said = f"the mesh has {mesh.count} {kind}, {has}"
    if known is None and whole < mesh.count:
        return (
            f"{said}. If {mesh.count - whole} were eliminated, give the numbers of the others, free=, or make the "
            "model with rbm.constrain, which knows them"
        )
    if whole % mesh.count == 0:
        c = whole // mesh.count
        return (
            f"{said}, {c} for each. Give the Basis of its elements, of skfem.ElementVector(...) for instance, or "
            f"the numbers of the unknowns at each node, unknowns= ({nodes}, {c})"
        )
    return (
        f"{said}: it is for another mesh, or elements of another degree; give the Basis of the matrices, or unknowns="
    )
