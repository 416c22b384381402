"""Blocks of boundary element matrices between separated parts of a surface: rows, columns and entries on demand."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import scipy.sparse as sp
from scipy.spatial.distance import cdist

from lowrank import LowRankMatrix
from problems.acoustics.star_quadrature import TALL, Side, StarQuadrature
from problems.acoustics.surfaces import SurfaceMesh
from problems.user_input import as_array
from rbm.errors import ModelError

__all__ = ["OPERATORS", "KernelBlock", "SurfaceKernel", "green", "kernel_block"]

OPERATORS = ("single_layer", "double_layer", "adjoint_double_layer", "hypersingular")
#: Entries that :meth:`KernelBlock.entries` computes at a time, from about 1300 kernel values each.
BATCH = 256
SLOPES = ("double_layer", "adjoint_double_layer")

Reader = Callable[..., np.ndarray]


def green(r: np.ndarray, wavenumber: float, slope: np.ndarray | None = None) -> np.ndarray:
    """The kernel G = exp(ikr) / (4 pi r), or its normal derivative, at distances r > 0 of any shape.

    The derivative is G (ikr - 1) / r^2 slope. Both are real for k = 0.

    slope : of r's shape: (y - x).n_y for dG/dn_y, (x - y).n_x for dG/dn_x

    exp(ip) is computed as (1 + it)^2 / (1 + t^2), t = tan(p / 2): as accurate as cosine and sine (a few u), and
    several times faster where NumPy has a vectorised tangent, but cosine and sine in single precision only.

    >>> green(np.array([1.0, 2.0]), 0.0) * 4 * np.pi
    array([1. , 0.5])
    """
    if wavenumber == 0:
        plain = (0.25 / np.pi) / r
        return plain if slope is None else -plain / (r * r) * slope
    phase = wavenumber * r
    t = np.tan(0.5 * phase)
    square = t * t
    scale = (0.25 / np.pi) / (r * (1 + square))
    real, imag = (1 - square) * scale, 2 * t * scale
    if slope is not None:
        factor = slope / (r * r)
        real, imag = -(real + imag * phase) * factor, (real * phase - imag) * factor
    result = np.empty(r.shape, dtype=complex)
    result.real, result.imag = real, imag
    return result


@dataclass(frozen=True, eq=False)
class SurfaceKernel:
    """One of the operators of :func:`kernel_block` on one mesh, with what its blocks share. Raises ModelError."""

    mesh: SurfaceMesh
    operator: str
    wavenumber: float

    def __post_init__(self) -> None:
        if not isinstance(self.mesh, SurfaceMesh):
            raise ModelError(f"mesh must be a SurfaceMesh, got {type(self.mesh).__name__}")
        if self.operator not in OPERATORS:
            raise ModelError(f"unknown operator {self.operator!r}; the operators are {', '.join(OPERATORS)}")
        k = self.wavenumber
        if isinstance(k, bool) or not (isinstance(k, int | float | np.integer | np.floating) and 0 <= k < np.inf):
            raise ModelError(f"the wavenumber must be a number >= 0 (0 for the Laplace equation), got {k!r}")

    @property
    def dtype(self) -> np.dtype:
        """Type of the entries: real for wavenumber 0."""
        return np.dtype(complex if self.wavenumber else float)

    @cached_property
    def quadrature(self) -> StarQuadrature:
        """Quadrature points and weights."""
        return StarQuadrature(self.mesh, curls=self.operator == "hypersingular")

    def integrate(self, left: Side, right: Side) -> np.ndarray:
        """The sum of L_c^T G(X, Y) R_c (m, n) over the components c of the weights, tile by tile."""
        c, m = len(left.weights), len(left.vertices)
        result = np.zeros((len(right.vertices), m), dtype=self.dtype)
        for y in right.wide:
            half = np.zeros((c, m, len(y.points)), dtype=self.dtype)
            for x in left.wide if len(y.points) <= TALL else left.tall:
                half[:, x.place] += _times(x.beneath, self._values(x, y)).reshape(c, len(x.place), len(y.points))
            half[3:] *= -(self.wavenumber**2)  # n_x.n_y phi phi of the hypersingular operator
            result[y.place] += _times(y.beside, half.transpose(0, 2, 1).reshape(c * len(y.points), m))
        return np.ascontiguousarray(result.T)

    def pairs(self, i: np.ndarray, j: np.ndarray) -> np.ndarray:
        """Entries (p,) between vertices i (p,) and j (p,), each integrated by itself."""
        rule, normals = self.quadrature, self.mesh.normals.T
        (own_i, star_i, corner_i), (own_j, star_j, corner_j) = rule.star(i), rule.star(j)
        # every triangle around i_p, number a, meets every triangle around j_p, number b
        sizes = np.bincount(own_j, minlength=len(j))
        meets = sizes[own_i]
        a = np.repeat(np.arange(len(own_i)), meets)
        b = np.arange(len(a)) + np.repeat((np.cumsum(sizes) - sizes)[own_i] - np.cumsum(meets) + meets, meets)
        x, y = rule.points[star_i[a]][:, :, None], rule.points[star_j[b]][:, None]
        values = self._between(y - x, normals[star_i[a], None, None], normals[star_j[b], None, None])
        left, right = rule.values[star_i[a], corner_i[a]], rule.values[star_j[b], corner_j[b]]
        left[:, :, 3:] *= -(self.wavenumber**2)
        result = np.zeros(len(i), dtype=self.dtype)
        np.add.at(result, own_i[a], np.einsum("pqc,pqr,prc->p", left, values, right, optimize=True))
        return result

    def point_entries(self, left: Side, right: Side) -> tuple[Reader, Reader, Reader]:
        """Rows, columns and entries of D G(X, Y) D' (q, q'), D = diag(w)^{1/2}: the kernel as it is in L2 x L2.

        As functions that :func:`lowrank.cross_approximation` takes.
        """

        def values(x: Side, y: Side) -> np.ndarray:
            result = self._values(x, y)
            result *= x.root[:, None]
            result *= y.root
            return result

        def entries(i: np.ndarray, j: np.ndarray) -> np.ndarray:
            x, y = left.at(i), right.at(j)
            return self._between(y.points - x.points, x.normals, y.normals) * (x.root * y.root)

        return (lambda i: values(left.at(i), right)), (lambda j: values(left, right.at(j))), entries

    def from_points(self, columns: np.ndarray, rows: np.ndarray, left: Side, right: Side) -> LowRankMatrix:
        """The Galerkin block (m, n) of a kernel of low rank, D G(X, Y) D' = columns (q, r) @ rows (r, q').

        It has r terms, and c r where the functions have c components.
        """
        m, n, c, r = len(left.vertices), len(right.vertices), len(left.weights), columns.shape[1]
        u = _times(left.beneath, columns / left.root[:, None]).reshape(c, m, r)
        u[3:] *= -(self.wavenumber**2)
        v = _times(right.beneath, np.conj(rows / right.root).T).reshape(c, n, r)
        u, v = u.transpose(1, 0, 2), v.transpose(1, 0, 2)
        return LowRankMatrix(u.reshape(m, c * r), np.ones(c * r), v.reshape(n, c * r))

    def size(self, side: Side) -> float:
        """A bound of how much an error E of D G D' grows in A, the share of this side.

        ||sum_c B_c^T D^-1 E D'^-1 B'_c||_F <= size size' ||E||_F.

        size^2 = sum_c ||D^-1 B_c||_2^2, each norm bounded by the largest row sum of the Gram matrix B_c^T D^-2 B_c;
        for hat functions that is the largest int phi_i.
        """
        total, inverse = 0.0, sp.diags_array(1 / side.root)
        for c, weights in enumerate(side.weights):
            scaled = inverse @ sp.csr_array(weights)
            rows = abs(scaled.T @ scaled).sum(axis=1).max(initial=0.0)
            total += rows * (self.wavenumber**2 if c >= 3 else 1.0)
        return float(np.sqrt(total))

    def _values(self, x: Side, y: Side) -> np.ndarray:
        """The kernel (q, q') between all points of two tiles."""
        slope = None
        if self.operator in SLOPES:
            origin = y.points.mean(axis=0)  # so that a surface far from zero loses no digits
            a, b = x.points - origin, y.points - origin
            if self.operator == "double_layer":
                slope = np.sum(b * y.normals, axis=1) - a @ y.normals.T
            else:
                slope = np.sum(a * x.normals, axis=1)[:, None] - x.normals @ b.T
        return green(cdist(x.points, y.points), self.wavenumber, slope)

    def _between(self, difference: np.ndarray, x_normals: np.ndarray, y_normals: np.ndarray) -> np.ndarray:
        """The kernel at differences y - x (..., 3) of pairs of points."""
        slope = None
        if self.operator in SLOPES:
            slope = np.sum(difference * (y_normals if self.operator == "double_layer" else -x_normals), axis=-1)
        return green(np.sqrt(np.sum(difference * difference, axis=-1)), self.wavenumber, slope)


@dataclass(frozen=True, eq=False)
class KernelBlock:
    """A block A[I, J] that integrates only the rows, columns and entries it is asked for; see :func:`kernel_block`."""

    kernel: SurfaceKernel
    row_side: Side
    column_side: Side

    @property
    def shape(self) -> tuple[int, int]:
        """Numbers of rows and columns (m, n)."""
        return len(self.row_side.vertices), len(self.column_side.vertices)

    @property
    def dtype(self) -> np.dtype:
        """Type of the entries: real for wavenumber 0."""
        return self.kernel.dtype

    def rows(self, i: Any) -> np.ndarray:
        """Rows (k, n), for indices (k,) that count within the block."""
        return self.kernel.integrate(self.kernel.quadrature.side(_chosen(self.row_side, i, "row")), self.column_side)

    def columns(self, j: Any) -> np.ndarray:
        """Columns (m, k), for indices (k,) that count within the block."""
        return self.kernel.integrate(self.row_side, self.kernel.quadrature.side(_chosen(self.column_side, j, "column")))

    def entries(self, i: Any, j: Any) -> np.ndarray:
        """Entries A[i_p, j_p] (p,), for indices (p,) that count within the block."""
        a, b = _chosen(self.row_side, i, "row"), _chosen(self.column_side, j, "column")
        if len(a) != len(b):
            raise ModelError(f"row and column indices must be as many, got {len(a)} and {len(b)}")
        parts = [self.kernel.pairs(a[s : s + BATCH], b[s : s + BATCH]) for s in range(0, len(a), BATCH)]
        return np.concatenate([np.zeros(0, dtype=self.dtype), *parts])

    def to_dense(self) -> np.ndarray:
        """The whole block, a dense array (m, n)."""
        return self.kernel.integrate(self.row_side, self.column_side)

    def __repr__(self) -> str:
        k = self.kernel
        return f"KernelBlock({self.shape[0]} x {self.shape[1]}, {k.operator}, k = {k.wavenumber:g}, {self.dtype})"


def kernel_block(mesh: SurfaceMesh, operator: str, wavenumber: float, rows: Any, columns: Any) -> KernelBlock:
    """The block A[I, J] of a Galerkin matrix between two sets of vertices; nothing is computed yet.

    The triangles around the one set must not touch those around the other.

        single_layer          int int phi_i(x) G(x, y) phi_l(y),  G = exp(ikr) / (4 pi r), r = |x - y|
        double_layer          int int phi_i(x) dG/dn_y phi_l(y)
        adjoint_double_layer  int int phi_i(x) dG/dn_x phi_l(y)
        hypersingular         int int G (curl phi_i . curl phi_l - k^2 n_x.n_y phi_i phi_l),  curl phi = n x grad phi

    as in :class:`problems.acoustics.boundary_elements.BoundaryOperators`. On triangles that do not touch the
    integrands are smooth. With X, Y the points of a rule of order 4 (six per triangle) and B_I, B_J the sparse matrices
    of weighted functions at them,

        A[I, J] = B_I^T G(X_I, Y_J) B_J,

    which is what bempp-cl computes there, to round-off.

    Parameters
    ----------
    mesh : the surface
    operator : one of the names above
    wavenumber : k >= 0; 0 is the Laplace equation, with real entries
    rows, columns : I (m,), J (n,), numbers of vertices

    Raises
    ------
    ModelError
        unknown operator, negative or infinite wavenumber, vertices that the mesh does not have, or sets whose
        triangles touch: the integrals are singular there.

    Cost: one row takes 36 kernel values (six triangles of six points) for each of the 12 n points of the columns, 432
    per entry. The whole block takes 144 per entry, since three unknowns share a triangle. So reading rows and columns
    pays below a third of the block.

    Examples
    --------
    >>> from problems import surface
    >>> mesh = surface("sphere", level=3)
    >>> top, bottom = (np.flatnonzero(sign * mesh.vertices[2] > 0.5) for sign in (1, -1))
    >>> block = kernel_block(mesh, "single_layer", 2.0, top, bottom)
    >>> block
    KernelBlock(61 x 61, single_layer, k = 2, complex128)
    """
    kernel = SurfaceKernel(mesh, operator, wavenumber)
    chosen = [_indices(v, mesh.vertices.shape[1], name) for name, v in (("rows", rows), ("columns", columns))]
    touched = [mesh.triangles[:, kernel.quadrature.star(v)[1]] for v in chosen]
    shared = np.intersect1d(touched[0], touched[1])
    if len(shared):
        raise ModelError(
            f"the triangles around the rows and around the columns meet in {len(shared)} vertices, the first is "
            f"vertex {shared[0]}: the integrals are singular there; choose vertices further apart"
        )
    return KernelBlock(kernel, *(kernel.quadrature.side(v) for v in chosen))


def _times(weights: Any, values: np.ndarray) -> np.ndarray:
    """A real matrix times a real or complex one, without making the first complex."""
    if values.dtype == complex:
        return (weights @ np.ascontiguousarray(values).view(float)).view(complex)
    return weights @ values


def _chosen(side: Side, indices: Any, what: str) -> np.ndarray:
    return side.vertices[_indices(indices, len(side.vertices), f"{what} indices")]


def _indices(given: Any, size: int, what: str) -> np.ndarray:
    array = np.atleast_1d(as_array(f"{what} must be whole numbers (k,)", given, dtype=None))
    if array.size == 0:
        return np.zeros(0, dtype=int)
    if array.ndim != 1 or array.dtype.kind not in "iu":
        raise ModelError(f"{what} must be whole numbers (k,), got {array.dtype} {array.shape}")
    if array.min() < 0 or array.max() >= size:
        bad = array[(array < 0) | (array >= size)][0]
        raise ModelError(f"{what} must lie between 0 and {size - 1}, got {bad}")
    return array.astype(int)
