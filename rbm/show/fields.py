"""Solutions as fields on the user's mesh, each with its error bound: figures, films, and files for ParaView."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from lowrank.arrays import to_numpy
from rbm.errors import ModelError
from rbm.show.digits import rounded_up
from rbm.show.field_pictures import figure_of, film_of
from rbm.show.field_series import SERIES, write_series
from rbm.show.field_values import check_part, file_data, shown
from rbm.show.mesh_fields import checked_name, write_fields
from rbm.show.meshes import FieldMesh
from rbm.show.placement import Placement, placed_on
from rbm.show.volumes import grid_of
from rbm.solution import Solution
from rbm.time.reduced import ReducedTimeModel
from rbm.time.solution import TimeSolution

__all__ = ["Fields", "fields"]


def fields(
    reduced: Any,
    mus: Any,
    mesh: Any,
    *,
    unknowns: Any = None,
    free: Any = None,
    control: Any = None,
    name: str = "u",
    extrapolate: bool = False,
) -> Fields:
    """Return the solutions at parameter points as fields on the user's mesh, with their error bounds.

    Fixed unknowns are put in, with their values at each point, if the model was made by :func:`rbm.constrain`.

    Parameters
    ----------
    reduced : an :class:`rbm.ReducedModel`, :class:`rbm.PartitionedModel` or :class:`rbm.ReducedTimeModel` with basis
    mus : points (M, p), one field for each; in time one point, one field for each time. Or the Solution, or the
        TimeSolution of one point, that the model has given
    mesh : a skfem.Basis, that of the matrices, whose elements have nodal values (Lagrange elements, also vectors of
        them) or a skfem mesh, for its linear elements; a meshio.Mesh, or the path of a mesh file; or (points, cells),
        points (P, d), cells (C, k) numbers of points, or a list of (meshio's name, cells)
    unknowns : (P,), or (P, c) for c components, the number of the unknown at each node, counted over free and fixed
        ones; by default that of the node. Of a Basis: (n,) the unknown of each of its degrees of freedom
    free : (m,) numbers of the unknowns that are solved for; all others are zero. Only for models that do not know it
    control : in time, as for :meth:`rbm.ReducedTimeModel.solve`
    name : of the field, in figures and files: letters, digits, _ - . and spaces
    extrapolate : allow parameters outside the parameter space; this and control are refused with a solution that is
        there already

    Raises ModelError for a mesh that does not fit, with the numbers on both sides and what to do, for elements without
    nodal values, and a model without its basis; what `solve` raises for points. Cost: that of `solve`, and n N per
    field.

    Examples
    --------
    >>> import rbm
    >>> from problems import reaction_diffusion_1d
    >>> model = reaction_diffusion_1d(4)
    >>> reduced = rbm.greedy(model, model.parameters.sample(8), tol=1e-6).reduced_model
    >>> points, cells = np.linspace(0, 1, 5), [[0, 1], [1, 2], [2, 3], [3, 4]]
    >>> made = fields(reduced, [[1.0], [100.0]], (points, cells), free=[1, 2, 3])
    >>> made  # doctest: +ELLIPSIS
    Fields(u: 2 on 5 nodes, 4 cells; errors up to ... in the P-norm)
    >>> made.labels, made.values.shape, bool(made.values[:, 0].any())
    (('mu = 1', 'mu = 100'), (2, 5), False)
    """
    placement = placed_on(reduced, mesh, unknowns, free)
    checked_name(name)
    if isinstance(mus, Solution | TimeSolution) and (control is not None or extrapolate):
        given = "control" if control is not None else "extrapolate"
        raise ModelError(f"{given}= is for points; this solution is there already, give it to solve")
    if isinstance(reduced, ReducedTimeModel):
        return _in_time(reduced, mus, placement, control, name, extrapolate)
    if control is not None:
        raise ModelError("control= is for models in time")
    solution = mus if isinstance(mus, Solution) else reduced.solve(mus, extrapolate=extrapolate)
    if len(solution.failed):
        raise ModelError(f"row {solution.failed[0]} of this solution failed and is no field: {solution.reasons[0]}")
    if solution.mus is None or solution.estimate is None:
        raise ModelError("this solution lacks its points or its estimate; take one of solve(mus)")
    points = to_numpy(solution.mus)
    values = placement.values(reduced.reconstruct(solution), points)
    moving = np.flatnonzero(np.ptp(points, axis=0) > 0) if len(points) > 1 else np.arange(points.shape[1])
    still = np.setdiff1d(np.arange(points.shape[1]), moving)
    space = reduced.parameters
    one = len(moving) == 1 and len(points) > 1
    return Fields(
        mesh=placement.mesh,
        values=values,
        bounds=to_numpy(solution.bound),
        norm="P",
        labels=tuple(_described(space, row, moving) for row in points),
        steps=points[:, moving[0]] if one else np.arange(len(points), dtype=float),
        step=space.names[moving[0]] if one else "",
        common=_described(space, points[0], still),
        name=name,
    )


def _in_time(
    reduced: ReducedTimeModel, mus: Any, placement: Placement, control: Any, name: str, extrapolate: bool
) -> Fields:
    made = mus if isinstance(mus, TimeSolution) else reduced.solve(mus, control, extrapolate=extrapolate)
    if len(made) != 1:
        raise ModelError(f"fields of a model in time are those of one parameter point, at all times; got {len(made)}")
    u = reduced.reconstruct(made)[0]
    return Fields(
        mesh=placement.mesh,
        values=placement.values(u, made.mus),
        bounds=made.bound_l2[0],
        norm="M",
        labels=tuple(f"t = {t:.6g}" for t in made.times),
        steps=made.times,
        step="t",
        common=_described(reduced.parameters, made.mus[0], np.arange(made.mus.shape[1])),
        name=name,
    )


@dataclass(frozen=True, eq=False, repr=False)
class Fields:
    """Fields on a mesh, each with the bound of its error; made by :func:`rbm.fields`.

    ``fields[k]`` is one of them, ``fields[a:b]`` some, again as Fields; ``len(fields)`` is their number M.
    """

    mesh: FieldMesh
    values: np.ndarray  #: at the nodes (M, P), or (M, P, c) for c components
    bounds: np.ndarray  #: (M,) of ||u - u_N|| over all unknowns, in the norm `norm`
    norm: str  #: "P", that of the model's inner product; "M", that of the mass, for models in time
    labels: tuple[str, ...]  #: (M,) what tells the fields apart
    steps: np.ndarray  #: (M,) the parameter that is swept, the time, or 0, 1, ..
    step: str = ""  #: the name of that parameter, "t", or "" for numbers
    common: str = ""  #: the parameters that all have in common
    name: str = "u"

    def __len__(self) -> int:
        return len(self.values)

    def __getitem__(self, index: Any) -> Fields:
        rows = np.atleast_1d(np.arange(len(self))[index])
        labels = tuple(self.labels[k] for k in rows)
        return replace(self, values=self.values[rows], bounds=self.bounds[rows], steps=self.steps[rows], labels=labels)

    def __repr__(self) -> str:
        cells = sum(len(nodes) for _, nodes in self.mesh.cells)
        parts = "" if self.values.ndim == 2 else f", {self.values.shape[2]} components"
        many = f"{len(self)} on {len(self.mesh.points)} nodes, {cells} cells{parts}"
        worst = f"errors up to {rounded_up(self.bounds.max())} in the {self.norm}-norm" if len(self) else "none"
        return f"Fields({self.name}: {many}; {worst})"

    def title(self, k: int) -> str:
        """Return what a figure says of the k-th field: its parameters or time, and the bound of its error."""
        bound = rf"error $\leq$ {rounded_up(self.bounds[k])} in the {self.norm}-norm"
        label = _plain(self.labels[k])
        return f"{label}\n{bound}" if label else bound

    def write(self, path: str | os.PathLike[str]) -> Path:
        """Write the fields with their mesh, whole or not at all, and return the path.

        path : one field, or several as u_0, u_1, .. in one file: .vtu, .vtk, .ply or another of
            `rbm.show.mesh_fields.KEEPING`, formats that keep values at points. A series over
            `steps`: .pvd, with a .vtu for each beside it, or .xdmf

        Complex fields are u_re, u_im and u_abs; vectors of one or two components get zeros up to three. The bound
        stands in .vtu as field data, u_error_bound_P_norm (1,) for the norm "P", with the steps and, in .xdmf, as an
        Information of the grid; other formats have no place for it.

        Raises ModelError for another ending and cells that the format does not know, OSError; ImportError without
        meshio.
        """
        target = Path(path)
        self._some("write")
        if target.suffix.lower() in SERIES:
            made = (file_data(self.name, u) for u in self.values)
            write_series(
                target, self.mesh.grid, np.arange(len(self)), self.steps, made, list(map(self._facts, range(len(self))))
            )
            return target
        names = [self.name] if len(self) == 1 else [f"{self.name}_{k}" for k in range(len(self))]
        data: dict[str, np.ndarray] = {}
        facts: dict[str, float] = {}
        for k, (one, u) in enumerate(zip(names, self.values, strict=True)):
            data |= file_data(one, u)
            facts |= self._facts(k, one)
        write_fields(target, self.mesh.grid, data, facts)
        return target

    def plot(
        self, part: str = "real", component: int | None = None, deform: float = 0.0, columns: int | None = None
    ) -> Any:
        """Return a figure of matplotlib with all fields on one scale of colours, each titled with its bound.

        part : of complex fields "real", "imag", "modulus" or "phase"
        component : of vector fields; by default their length is drawn
        deform : vector fields move the nodes by so many times their real part
        columns : of panels, by default up to three

        Lines in one dimension, colours in two; in three, and on surfaces in space, pyvista renders off the screen
        (extra `view3d`). Raises ModelError for more than 12 panels, and parts that are not there; ImportError without
        matplotlib or pyvista. :func:`rbm.plots.save` writes the figure.
        """
        self._some("plot")
        whole = isinstance(columns, int | np.integer) and not isinstance(columns, bool)
        if columns is not None and not (whole and columns > 0):
            raise ModelError(f"columns must be a whole number of panels, at least 1, got {columns!r}")
        if len(self) > 12 and self.mesh.dimension > 1:
            raise ModelError(
                f"a figure has at most 12 panels, these are {len(self)} fields: take some, "
                f"fields[::{-(-len(self) // 12)}], or a film"
            )
        return figure_of(self.mesh, self._drawn(part, component, deform), self._titles(), self._head(), columns)

    def film(
        self,
        path: str | os.PathLike[str],
        part: str = "real",
        component: int | None = None,
        deform: float = 0.0,
        fps: float = 20.0,
        turn: int | None = None,
    ) -> Path:
        """Write a film, a picture for each field, as .gif, or as .mp4 where ffmpeg is; return its path.

        part, component, deform : as for :meth:`plot`
        fps : pictures a second
        turn : for one complex field: so many pictures of Re(u e^{-i phi}), phi from 0 to 2 pi: a wave that travels

        One scale of colours holds for all pictures. Raises ModelError as :meth:`plot`, for another ending, and `turn`
        for more than one field.
        """
        self._some("film")
        fields, titles = self, self._titles()
        if turn is not None:
            if isinstance(turn, bool) or not isinstance(turn, int | np.integer) or turn < 2:
                raise ModelError(f"turn must be a whole number of pictures, at least 2, got {turn!r}")
            if len(self) != 1 or not np.iscomplexobj(self.values) or part != "real":
                raise ModelError(
                    f"a wave is turned from one complex field by its real part; these are {len(self)} "
                    f"{'complex' if np.iscomplexobj(self.values) else 'real'} fields, part {part!r}"
                )
            phases = np.exp(-2j * np.pi * np.arange(turn) / turn)
            turned = phases.reshape((-1,) + (1,) * (self.values.ndim - 1)) * self.values
            fields, titles = replace(self, values=turned, bounds=np.repeat(self.bounds, turn)), titles * turn
        return film_of(path, self.mesh, fields._drawn(part, component, deform), titles, self._head(), fps)

    def grid(self, k: int = 0) -> Any:
        """Return the k-th field as a pyvista.UnstructuredGrid, to be turned, cut and plotted there.

        Raises ImportError without pyvista.
        """
        return grid_of(self.mesh, file_data(self.name, self.values[k]), self._facts(k))

    def _some(self, what: str) -> None:
        if not len(self):
            raise ModelError(f"there is no field here to {what}")

    def _titles(self) -> list[str]:
        return [self.title(k) for k in range(len(self))]

    def _head(self) -> str:
        return _plain(self.common)

    def _drawn(self, part: str, component: int | None, deform: float) -> Any:
        check_part(self.values, part, component, deform, self.mesh)
        return shown(self.values, self.name, part, component, deform)

    def _facts(self, k: int, name: str | None = None) -> dict[str, float]:
        facts = {f"{name or self.name}_error_bound_{self.norm}_norm": float(self.bounds[k])}
        return facts | ({self.step: float(self.steps[k])} if self.step and name in (None, self.name) else {})


def _plain(text: str) -> str:
    """Return a text in which matplotlib takes no dollar, that of a unit, for the start of a formula."""
    return text.replace("$", r"\$")


def _described(space: Any, point: np.ndarray, columns: np.ndarray) -> str:
    digits = 6 if len(columns) < 3 else 4

    def one(j: int) -> str:
        unit = space.units.get(space.names[j], "")
        return f"{space.names[j]} = {point[j]:.{digits}g}{' ' if unit else ''}{unit}"

    return ", ".join(one(j) for j in columns)
