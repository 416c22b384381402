"""An elastic bracket in space: a wall plate and an arm, of three materials, loaded at the end of the arm."""

from __future__ import annotations

from typing import Any

import numpy as np
import scipy.sparse as sp

from lowrank.optional import require
from problems.user_input import whole_number
from rbm.affine.constraints import Constraints
from rbm.full_order import FullOrderModel
from rbm.parameters.space import ParameterSpace
from rbm.stability.bound import MinTheta

__all__ = ["elastic_bracket", "elastic_bracket_basis", "elastic_bracket_mesh"]

#: Poisson's ratio of all materials.
POISSON = 0.3
#: Length of the arm and height of the plate, width of both; their thickness is one.
LENGTH, WIDTH = 4, 2
#: The parts, in the order of their moduli E1 to E3.
PARTS = ("plate", "corner", "arm")


def elastic_bracket(n: int = 2, *, solver: Any = None) -> FullOrderModel:
    """Linear elasticity -div sigma(u) = 0 in an L-shaped bracket, held at the wall and loaded at the end of its arm.

    n : trilinear cubes across the thickness; 3 n (2 n + 1) (7 n + 4) unknowns: 540 for 2, 24 480 for 8, 79 200 for 12
    solver : as for :class:`rbm.FullOrderModel`

    The bracket is the union of a plate, 0 < x < 1, 0 < z < 4, and an arm, 0 < x < 4, 3 < z < 4, both 0 < y < 2. The
    plate is held where it meets the wall, u = 0 at x = 0. Young's moduli E1 of the plate (z < 3), E2 of the corner and
    E3 of the arm (x > 1) are parameters in [0.5, 5], Poisson's ratio is 0.3. At the end of the arm, x = 4, acts a
    force of size one, spread evenly, across the arm: downwards for "angle" = 0, sideways for pi / 2.

    Affine form A(mu) = sum_i E_i A_i, f(mu) = cos(angle) f_1 + sin(angle) f_2; P = sum_i A_i, the energy at moduli of
    one, in which the min-theta bound min_i E_i is rigorous. Outputs: "down" and "sideways", the mean displacement of
    the end of the arm in these directions.

    Raises ModelError for n that is no positive whole number.
    """
    skfem, elasticity = (require(m, "scikit-fem", "elastic_bracket") for m in ("skfem", "skfem.models.elasticity"))
    whole = elastic_bracket_basis(n)
    mesh, element = whole.mesh, whole.elem
    held = whole.get_dofs(lambda x: np.abs(x[0]) < 1e-9).flatten()
    inner = whole.complement_dofs(held)
    stiffness = elasticity.linear_elasticity(*elasticity.lame_parameters(1.0, POISSON))

    @skfem.LinearForm
    def down(v, _):  # type: ignore[no-untyped-def]
        return -v[2] / WIDTH

    @skfem.LinearForm
    def sideways(v, _):  # type: ignore[no-untyped-def]
        return v[1] / WIDTH

    terms = []
    for part in PARTS:
        matrix = stiffness.assemble(skfem.Basis(mesh, element, elements=mesh.subdomains[part]))
        terms.append(sp.csr_array(sp.csr_array(matrix)[inner][:, inner]))
    end = skfem.FacetBasis(mesh, element, facets=mesh.facets_satisfying(lambda x: np.abs(x[0] - LENGTH) < 1e-9))
    forces = [form.assemble(end)[inner] for form in (down, sideways)]
    ranges = dict.fromkeys(("E1", "E2", "E3"), (0.5, 5.0)) | {"angle": (0.0, float(np.pi) / 2)}
    return FullOrderModel(
        operators=list(zip(("E1", "E2", "E3"), terms, strict=True)),
        rhs=[("cos(angle)", forces[0]), ("sin(angle)", forces[1])],
        product=sum(terms[1:], start=terms[0]),
        parameters=ParameterSpace(ranges),
        stability=MinTheta(reference=[1.0, 1.0, 1.0, 0.0]),
        outputs={"down": forces[0], "sideways": forces[1]},
        solver=solver,
        constraints=Constraints(inner, np.sort(held)),
    )


def elastic_bracket_basis(n: int = 2):  # type: ignore[no-untyped-def]
    """The ``skfem.Basis`` of :func:`elastic_bracket`, for fields of its displacements, those at the wall included."""
    skfem = require("skfem", "scikit-fem", "elastic_bracket_basis")
    return skfem.Basis(elastic_bracket_mesh(n), skfem.ElementVector(skfem.ElementHex1()))


def elastic_bracket_mesh(n: int = 2):  # type: ignore[no-untyped-def]
    """The mesh of :func:`elastic_bracket`, a ``skfem.MeshHex`` with its parts as subdomains.

    Unknowns are the three components of the displacement at all nodes that are not at the wall, node by node.
    """
    skfem = require("skfem", "scikit-fem", "elastic_bracket_mesh")
    n = whole_number("n", n, least=1)
    line, width = np.linspace(0, LENGTH, LENGTH * n + 1), np.linspace(0, WIDTH, WIDTH * n + 1)
    block = skfem.MeshHex.init_tensor(line, width, line)
    x, _, z = block.p[:, block.t].mean(axis=1)
    mesh = block.remove_elements(np.flatnonzero((x > 1) & (z < LENGTH - 1)))
    x, _, z = mesh.p[:, mesh.t].mean(axis=1)
    high = z > LENGTH - 1
    where = {"plate": ~high, "corner": high & (x < 1), "arm": high & (x > 1)}
    return mesh.with_subdomains({name: np.flatnonzero(where[name]) for name in PARTS})
