"""Solutions of the full model that several greedy runs share: each point is solved once."""

from __future__ import annotations

import numpy as np

from rbm.arithmetic.columns import Columns, Store
from rbm.full_order import FullOrderModel
from rbm.workers.crew import Crew

__all__ = ["Snapshots"]


class Snapshots:
    """Solutions u(mu) of a full model at the points asked for so far.

    A point is known by its coordinates, bit for bit. What is solved together is solved by the workers of the crew.
    ``mu in snapshots`` is True for points that were asked for, not for those that were given: so that a run takes the
    same points whether it was given some solutions or none.

    parameters : (K, p) points whose solutions are given, vectors (n, K)
    store : where the vectors are kept (:class:`rbm.storage.workspace.Workspace`); memory by default
    """

    def __init__(
        self, model: FullOrderModel, crew: Crew, store: Store | None, parameters: np.ndarray, vectors: np.ndarray
    ) -> None:
        self._model, self._crew = model, crew
        self._columns = Columns(model.dimension, store)
        self._columns.append(vectors)
        self._points = list(parameters)
        self._places = {point.tobytes(): k for k, point in enumerate(parameters)}
        self._asked: set[bytes] = set()
        self.solved = 0  #: how many points the full model was solved at, those that were given not counted

    def __call__(self, mus: np.ndarray) -> np.ndarray:
        """Return the solutions (k, n) at points mus (k, p); those that are not known are solved, and kept."""
        new = [mu for mu in {mu.tobytes(): mu for mu in mus}.values() if mu.tobytes() not in self._places]
        if new:
            made = self._model.solve(np.array(new), extrapolate=True, executor=self._crew)
            self._columns.cut(len(self._points))  # what Ctrl-C has left behind
            self._columns.append(np.ascontiguousarray(made.T))
            for mu in new:
                self._places[mu.tobytes()] = len(self._points)
                self._points.append(mu)
            self.solved += len(new)
        self._asked.update(mu.tobytes() for mu in mus)
        return np.array([self._column(self._places[mu.tobytes()]) for mu in mus])

    def __contains__(self, mu: np.ndarray) -> bool:
        return mu.tobytes() in self._asked

    def _column(self, place: int) -> np.ndarray:
        for piece in self._columns.pieces:
            if place < piece.shape[1]:
                return piece[:, place]
            place -= piece.shape[1]
        raise IndexError(place)

    @property
    def parameters(self) -> np.ndarray:
        """The points (K, p), in the order in which they were solved."""
        return np.array(self._points).reshape(-1, len(self._model.parameters))

    @property
    def pieces(self) -> list[np.ndarray]:
        """The vectors (n, K), in pieces that lie side by side."""
        self._columns.cut(len(self._points))
        return self._columns.pieces

    @property
    def vectors(self) -> np.ndarray:
        """The vectors (n, K) as one array in memory."""
        self._columns.cut(len(self._points))
        return self._columns.array
