"""Domains whose shape is a parameter: forms on a mapped mesh as affine terms on the mesh it is mapped from."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from math import gcd, lcm
from typing import Any

import numpy as np

from lowrank.optional import require
from problems.geometry.forms import Assembly
from problems.geometry.formulas import Formula, formula
from problems.geometry.given import by_piece, tensor, vector
from problems.geometry.pieces import Piece, check_fit, check_folds, cross, members, read_pieces, read_vertices
from problems.geometry.sides import facet_numbers, side_ratio, sides
from problems.geometry.terms import MappedTerm
from rbm.errors import ModelError
from rbm.parameters.coefficients import Coefficients
from rbm.parameters.space import ParameterSpace, parameter_space

__all__ = ["MappedBlocks", "mapped_blocks", "mapped_mesh"]


def mapped_blocks(mesh: Any, vertices: Any, blocks: Any, parameters: Any, *, element: Any = None) -> MappedBlocks:
    """A domain of blocks whose corners move with the parameters, x = T(X; mu), affine on triangles.

    mesh : the reference mesh, a ``skfem.MeshTri`` or ``MeshQuad``; its elements do not cross sides of blocks
    vertices : {name: ((X, Y), (x, y))}: a place in the reference domain, numbers or texts such as "1/3", and where it
        goes, numbers or formulas in the parameters
    blocks : {name: (vertex, vertex, vertex)} or four vertices, in their order around the block. The map of three is
        affine; that of four is, too, if it can be (a rectangle that stays one); else the block is split by the diagonal
        from its first vertex
    parameters : an rbm.ParameterSpace, or {name: (low, high)}
    element : of scikit-fem, scalar; linear or bilinear by default

    Places are read as the decimals that are written, and all comparisons are exact. That no map folds an element is
    proved for all parameters of the box, by interval arithmetic with outward rounding.

    Raises ModelError for a map that folds an element, with block and parameter, or cannot be shown not to; for unknown
    names in formulas; for blocks that do not fit at a common vertex, overlap, or hold no element; for elements that are
    in no block, or cross a side. Cost: a proof for each piece, and few assemblies for each form and piece.
    Source: Rozza, Huynh and Patera, Arch. Comput. Methods Eng. 15 (2008) 229-275, for affine maps of blocks; the terms
    of diffusion by cotangents: docs/geometry.md.

    Examples
    --------
    >>> import skfem
    >>> mesh = skfem.MeshTri().refined(2)
    >>> corners = {"a": ((0, 0), (0, 0)), "b": ((1, 0), ("L", 0)), "c": ((1, 1), ("L", 1)), "d": ((0, 1), (0, 1))}
    >>> plate = mapped_blocks(mesh, corners, {"plate": ("a", "b", "c", "d")}, {"L": (1.0, 3.0)})
    >>> from problems.geometry.terms import merged_terms
    >>> [c for c, _ in merged_terms(plate.diffusion("2*L") + plate.mass())]
    [1.0, 'L**2', 'L']
    """
    space, points = parameter_space(parameters), read_vertices(vertices, parameter_space(parameters).names)
    return mapped_mesh(mesh, points, read_pieces(blocks, points), space, element)


def check_mesh(mesh: Any) -> Any:
    """Return the linear or bilinear element of a mesh of scikit-fem; raise ModelError for what is no such mesh."""
    skfem = require("skfem", "scikit-fem", "mapped_blocks")
    linear = {skfem.MeshTri1: skfem.ElementTriP1, skfem.MeshQuad1: skfem.ElementQuad1}
    if type(mesh) not in linear:
        raise ModelError(f"the reference mesh must be a skfem.MeshTri or MeshQuad, got {type(mesh).__name__}")
    return linear[type(mesh)]


def mapped_mesh(
    mesh: Any, vertices: Any, pieces: list[Piece], parameters: ParameterSpace, element: Any
) -> MappedBlocks:
    """Return a mesh with the maps of its pieces, all of it checked."""
    linear = check_mesh(mesh)
    skfem = require("skfem", "scikit-fem", "mapped_blocks")
    from skfem.element import Element, ElementComposite, ElementHcurl, ElementHdiv

    check_fit(pieces, vertices)
    number = members(pieces, mesh.p, mesh.t)
    for n, piece in enumerate(pieces):
        if not np.any(number == n):
            raise ModelError(f"block {piece.block!r} holds no element of the mesh; leave it out, or refine the mesh")
    check_folds(pieces, parameters)
    chosen = linear() if element is None else element
    other = skfem.ElementVector, ElementHdiv, ElementHcurl, ElementComposite
    scalar = isinstance(chosen, Element) and not isinstance(chosen, other)
    if not scalar or chosen.refdom is not mesh.elem.refdom:
        raise ModelError(
            f"the element must be a scalar one of scikit-fem for {type(mesh).__name__}, such as "
            f"{linear.__name__}(), got {getattr(chosen, '__name__', type(chosen).__name__)}"
        )
    return MappedBlocks(mesh, parameters, tuple(pieces), number, chosen)


@dataclass(frozen=True, eq=False)
class MappedBlocks:
    """A mesh of triangles or quadrilaterals with a map x = T(X; mu) that is affine on each of its pieces.

    Its methods return lists of :class:`MappedTerm`, to be added as lists; :func:`problems.merged_terms` makes of them
    the terms of a model, in all unknowns of the finite element space (:func:`rbm.constrain` takes Dirichlet
    conditions). In a piece with the sides t_k of a triangle and their images s_k(mu), a = t_1 x t_2 and m = s_1 x s_2
    are twice the areas, and m / a is the determinant of the map.

    Coefficients c, k, w are numbers, formulas in the parameters, or {block: coefficient}, where blocks that are not
    named have none.
    """

    mesh: Any  #: the reference mesh, of scikit-fem
    parameters: ParameterSpace
    pieces: tuple[Piece, ...]
    number: np.ndarray  #: (E,) the piece of each element
    element: Any  #: the finite element, of scikit-fem

    @property
    def blocks(self) -> tuple[str, ...]:
        """The names of the blocks."""
        return tuple(dict.fromkeys(piece.block for piece in self.pieces))

    @cached_property
    def _assembly(self) -> Assembly:
        return Assembly(self.mesh, self.element, self.number)

    def diffusion(self, k: Any = 1.0) -> list[MappedTerm]:
        """Return the terms of int (k grad u) . grad v dx on the mapped domain, with semi-definite matrices.

        k : a conductivity, or a symmetric tensor ((k_xx, k_xy), (k_xy, k_yy))

        Of each piece there are at most three terms, one for each side of a triangle of its corners,

            int (k grad u) . grad v dx = sum_l g_l(mu) (1 / a) int (t_l . grad u) (t_l . grad v) dX,
            g_l = - (s_i' . k s_j') / m,    i, j, l the three sides, s' = s turned by a right angle.

        For a number k, g_l = k cot(the angle of the image that is opposite to side l): it is positive while that angle
        is acute, and the term is left out where it is right for all parameters. MinTheta bounds the constant of images
        without obtuse angles, SCM that of others. In a block of four vertices the triangle is taken whose smallest
        cotangent in the middle of the ranges is the larger one.
        Raises ModelError for a tensor that is not symmetric.
        """
        made, names = [], self.parameters.names
        for number, piece, given in by_piece(k, self.pieces):
            choices = [_cotangents(piece, first, tensor(given, names)) for first in range(len(piece.corners) - 2)]
            if len(choices) > 1:
                choices.sort(key=lambda choice: min(map(self._in_the_middle, choice[1])), reverse=True)
            directions, weights = choices[0]
            for direction, weight in zip(directions, weights, strict=True):
                if weight:
                    made.append(MappedTerm(weight, self._assembly.along_both(number, direction), True, piece.block))
        return made

    def mass(self, c: Any = 1.0) -> list[MappedTerm]:
        """Return the terms of int c u v dx, which is c m (1 / a) int u v dX."""
        made = []
        for number, piece, given in by_piece(c, self.pieces):
            weight = formula(given, self.parameters.names) * piece.image_area
            made.append(MappedTerm(weight.scaled(1 / piece.area), self._assembly.mass(number), True, piece.block))
        return made

    def convection(self, w: Any) -> list[MappedTerm]:
        """Return the terms of int (w . grad u) v dx for a velocity w = (w_x, w_y) that is constant in each block.

        (w x s_2) (1 / a) int (t_1 . grad u) v dX + (s_1 x w) (1 / a) int (t_2 . grad u) v dX.
        """
        made = []
        for number, piece, given in by_piece(w, self.pieces):
            velocity, (t, s) = vector(given, self.parameters.names), piece.frame()
            for side, weight in ((t[0], cross(velocity, s[1])), (t[1], cross(s[0], velocity))):
                if weight:
                    c, direction = _direction(side)
                    matrix = self._assembly.along(number, direction)
                    made.append(MappedTerm(weight.scaled(c / piece.area), matrix, False, piece.block))
        return made

    def source(self, f: Any = 1.0) -> list[MappedTerm]:
        """Return the terms of int f v dx, vectors; with f = {block: 1} the integral over a block, for outputs."""
        made = []
        for number, piece, given in by_piece(f, self.pieces):
            weight = formula(given, self.parameters.names) * piece.image_area
            made.append(MappedTerm(weight.scaled(1 / piece.area), self._assembly.load(number), False, piece.block))
        return made

    def boundary_mass(self, c: Any = 1.0, facets: Any = None) -> list[MappedTerm]:
        """Return the terms of int c u v ds over the images of facets, as in Robin conditions.

        facets : their numbers, or a name of ``mesh.boundaries``; the whole boundary by default. They lie on sides of
            pieces. A side t with the image s has the weight |s| / |t|, without a square root where s keeps its
            direction. Between two blocks the coefficient is that of the one that scikit-fem names first

        Raises ModelError for facets that are on no side of their piece, or none of the mesh.
        """
        return self._on_sides(c, facets, matrices=True)

    def boundary_source(self, g: Any = 1.0, facets: Any = None) -> list[MappedTerm]:
        """Return the terms of int g v ds over the images of facets, vectors; facets as for :meth:`boundary_mass`."""
        return self._on_sides(g, facets, matrices=False)

    def _on_sides(self, c: Any, facets: Any, matrices: bool) -> list[MappedTerm]:
        made, names = [], self.parameters.names
        given = {number: formula(value, names) for number, _, value in by_piece(c, self.pieces)}
        groups = sides(self.mesh, self.pieces, self.number, facet_numbers(self.mesh, facets))
        for (number, side), mine in groups.items():
            if number not in given:
                continue
            piece = self.pieces[number]
            t, s = piece.side(side)
            weight = given[number] * side_ratio(t, s, self.parameters)
            of_mass, of_load = self._assembly.on_facets(mine)
            made.append(MappedTerm(weight, of_mass() if matrices else of_load(), matrices, piece.block))
        return made

    def nodes(self, mu: Any) -> np.ndarray:
        """Return the nodes (2, n) of the mapped mesh at one parameter point (p,)."""
        point = self._point(mu)
        made = np.full(self.mesh.p.shape, np.nan)
        for number, piece in enumerate(self.pieces):
            mine = np.unique(self.mesh.t[:, self.number == number])
            t, s = piece.frame()
            images = np.array([[self._value(c, point) for c in pair] for pair in (piece.corners[0].image, *s[:2])])
            origin = np.array([float(c) for c in piece.corners[0].reference])
            local = np.linalg.solve(t[:2].astype(float).T, self.mesh.p[:, mine] - origin[:, None])
            made[:, mine] = images[0][:, None] + images[1:].T @ local
        return made

    def mesh_at(self, mu: Any) -> Any:
        """Return the mapped mesh at one parameter point, numbered as the reference mesh, for figures and checks."""
        return type(self.mesh)(self.nodes(mu), self.mesh.t)

    def assemble(self, pairs: list[tuple[str | float, Any]], mu: Any) -> Any:
        """Return sum_q theta_q(mu) A_q of what :func:`problems.merged_terms` returned, at one parameter point."""
        point = self._point(mu)
        values = Coefficients([c for c, _ in pairs], self.parameters)(point)[0]
        return sum((v * a for v, (_, a) in zip(values[1:], pairs[1:], strict=True)), start=values[0] * pairs[0][1])

    def _point(self, mu: Any) -> np.ndarray:
        point = self.parameters.validate(mu)
        if len(point) != 1:
            raise ModelError(f"a mapped mesh is that of one parameter point, got {len(point)}")
        return point

    def _value(self, value: Formula, point: np.ndarray) -> float:
        return float(value.at(point, self.parameters.names)[0])

    def _in_the_middle(self, value: Formula) -> float:
        return self._value(value, self.parameters.bounds.mean(axis=1)[None])


def _cotangents(piece: Piece, first: int, k: list[list[Formula]]) -> tuple[list[np.ndarray], list[Formula]]:
    """Return whole numbers (3, 2) along the sides t of the triangle of three corners from `first` on, and c^2 g / a."""
    t, s = piece.frame(first)
    turned = [(-y, x) for x, y in s]
    area, made = Fraction(t[0][0] * t[1][1] - t[0][1] * t[1][0]), []
    for side in range(3):
        i, j = turned[(side + 1) % 3], turned[(side + 2) % 3]
        flux = [row[0] * j[0] + row[1] * j[1] for row in k]
        weight = -(i[0] * flux[0] + i[1] * flux[1]) / cross(s[0], s[1])
        c, direction = _direction(t[side])
        made.append((direction, weight.scaled(c**2 / area)))
    return [d for d, _ in made], [w for _, w in made]


def _direction(t: np.ndarray) -> tuple[Fraction, np.ndarray]:
    """Return c and a vector of whole numbers with t = c times the vector: forms of it lose nothing to rounding."""
    c = Fraction(gcd(*(x.numerator for x in t)), lcm(*(x.denominator for x in t)))
    return c, (t / c).astype(float)
