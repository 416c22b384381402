"""Fields on bodies and on surfaces in space, rendered by pyvista off the screen."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from lowrank.optional import require
from rbm.show.cells import dimension_of
from rbm.show.field_values import Drawn
from rbm.show.mesh_fields import three_coordinates
from rbm.show.meshes import FieldMesh

__all__ = ["Scene", "grid_of"]

#: Of VTK, by meshio's names.
CODES = {
    "line": 3, "triangle": 5, "quad": 9, "tetra": 10, "hexahedron": 12, "wedge": 13, "line3": 21, "triangle6": 22,
    "quad8": 23, "tetra10": 24, "hexahedron20": 25, "quad9": 28, "hexahedron27": 29,
}  # fmt: skip
#: Pixels of a picture.
SIZE = (900, 675)


def grid_of(mesh: FieldMesh, data: Mapping[str, np.ndarray], facts: Mapping[str, float] | None = None) -> Any:
    """Return the mesh as a pyvista.UnstructuredGrid with point data (P,) or (P, c) and numbers as field data.

    Raises ImportError without pyvista.
    """
    pyvista = require("pyvista", "pyvista", "a picture of a body in space", "view3d")
    kept = {CODES[name]: nodes for name, nodes in mesh.cells if name in CODES and dimension_of(name) == mesh.dimension}
    for name, _ in mesh.cells:  # cells of one kind may stand in several blocks
        if name in CODES and dimension_of(name) == mesh.dimension:
            kept[CODES[name]] = np.concatenate([nodes for other, nodes in mesh.cells if other == name])
    grid = pyvista.UnstructuredGrid(kept, three_coordinates(mesh))
    for name, values in data.items():
        grid.point_data[name] = values
    for name, number in (facts or {}).items():
        grid.field_data[name] = np.array([number])
    return grid


class Scene:
    """A body under one light and one camera, of which pictures are taken field after field."""

    def __init__(self, mesh: FieldMesh, drawn: Drawn) -> None:
        self._pyvista = require("pyvista", "pyvista", "a picture of a body in space", "view3d")
        self._mesh, self._drawn = mesh, drawn
        self._rest = three_coordinates(mesh)

    def picture(self, k: int) -> np.ndarray:
        """Return the picture (height, width, 3) of the k-th field.

        Raises RuntimeError where VTK can draw neither on a screen nor without one.
        """
        grid = grid_of(self._mesh, {"u": self._drawn.values[k]})
        if self._drawn.shifts is not None:
            grid.points = self._rest + np.pad(self._drawn.shifts[k], ((0, 0), (0, 3 - self._drawn.shifts.shape[2])))
        with self._pyvista.vtk_verbosity("off"):  # without a screen VTK says so, and draws without one
            plotter = self._pyvista.Plotter(off_screen=True, window_size=SIZE)
            try:
                self._add(plotter, grid, k)
                self._aim(plotter)
                return np.asarray(plotter.screenshot(return_img=True))[:, :, :3]
            finally:
                plotter.close()

    def _add(self, plotter: Any, grid: Any, k: int) -> None:
        """Add the surface of the k-th body with its colours and edges, and the edges of the body at rest."""
        plotter.set_background("white")
        options = {
            "scalars": "u",
            "cmap": self._drawn.cmap,
            "clim": self._drawn.limits,
            "ambient": 0.45,
            "diffuse": 0.65,
        }
        skin = self._surface(grid)
        plotter.add_mesh(skin, show_scalar_bar=False, smooth_shading=False, **options)
        shapes = [(skin, "#444444", 1.5)]
        if self._drawn.shifts is not None:
            rest = grid.copy()
            rest.points = self._rest
            shapes.append((self._surface(rest), "#999999", 1.0))
        for shape, color, width in shapes:
            edges = shape.extract_feature_edges(30, manifold_edges=False, non_manifold_edges=False)
            if edges.n_points:
                plotter.add_mesh(edges, color=color, line_width=width, show_scalar_bar=False, scalars=None)
        plotter.add_axes(line_width=3, color="black")

    def _surface(self, grid: Any) -> Any:
        curved = any(name not in STRAIGHT for name, _ in self._mesh.cells)
        return grid.extract_surface(algorithm="dataset_surface", nonlinear_subdivision=2 if curved else 0)

    def _aim(self, plotter: Any) -> None:
        """Look from the front, above and the right, at all that any of the fields reaches."""
        points = self._rest
        if self._drawn.shifts is not None:
            moved = self._rest + np.pad(self._drawn.shifts, ((0, 0), (0, 0), (0, 3 - self._drawn.shifts.shape[2])))
            points = np.concatenate([points, moved.reshape(-1, 3)])
        back = np.array([0.47, -0.75, 0.47]) / np.linalg.norm([0.47, -0.75, 0.47])  # from the body to the camera
        right = np.cross([0.0, 0.0, 1.0], back)
        right /= np.linalg.norm(right)
        up = np.cross(back, right)
        seen = points @ np.stack([right, up, back], axis=1)
        low, high = seen.min(axis=0), seen.max(axis=0)
        middle = np.stack([right, up, back], axis=1) @ ((low + high) / 2)
        far = 2 * float(np.linalg.norm(high - low)) or 1.0
        plotter.camera_position = [middle + far * back, middle, (0, 0, 1)]
        plotter.enable_parallel_projection()
        plotter.camera.parallel_scale = 0.58 * max(high[1] - low[1], (high[0] - low[0]) * SIZE[1] / SIZE[0]) or 1.0
        plotter.camera.clipping_range = (0.05 * far, 4 * far)


#: Cells whose surfaces are flat pieces already.
STRAIGHT = {"line", "triangle", "quad", "tetra", "hexahedron", "wedge"}
