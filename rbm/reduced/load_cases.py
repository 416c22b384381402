"""Load cases: one operator, k right-hand sides, and answers for all of them at each parameter point."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.sparse as sp

from lowrank.arrays import to_numpy
from rbm.affine.entries import entries
from rbm.affine.terms import Terms, term_pairs
from rbm.errors import ModelError, ParameterError
from rbm.parameters.named_points import by_name, refuse_hidden
from rbm.parameters.products import factored, multiplied
from rbm.parameters.space import ParameterSpace
from rbm.solution import Solution

__all__ = ["CaseSolution", "LoadCases"]


@dataclass(frozen=True, init=False)
class LoadCases:
    """k right-hand sides of one operator: A(mu) u_j = f_j(mu), f_j = sum_q phi_q(mu) F_q[:, j].

    Each load has a weight, a parameter in [0, 1] after the model's own: f = sum_j w_j f_j. Load case j is the point
    with w_j = 1 and all other weights zero. So a model with load cases is an ordinary one: all estimators, files and
    uses take it, one basis serves all loads, its greedy picks the worst load at the worst point, and every combination
    of loads in between is certified as well.

    loads : how many, or their names; the weights are called load_0, load_1, ..., or by the names

    Raises ModelError for no loads, names that are no text, and names given twice.

    Examples
    --------
    >>> import numpy as np, rbm
    >>> cases = rbm.LoadCases(2)
    >>> model = rbm.FullOrderModel(
    ...     operators=[(1.0, np.diag([2.0, 3.0, 4.0])), ("mu", np.eye(3))], rhs=cases.terms([(1.0, np.eye(3)[:, :2])]),
    ...     product=np.diag([2.0, 3.0, 4.0]), parameters={"mu": (1.0, 10.0), **cases.ranges}, stability=1.0)
    >>> training = cases.points(np.linspace(1, 10, 20)[:, None])
    >>> reduced = rbm.greedy(model, training, tol=1e-3).reduced_model
    >>> cases.solve(reduced, [[2.0], [5.0], [7.0]]).bound.shape
    (3, 2)
    """

    names: tuple[str, ...]  #: of the weights, (k,)

    def __init__(self, loads: int | Iterable[str]) -> None:
        whole = isinstance(loads, int | np.integer) and not isinstance(loads, bool)
        if not whole and not (isinstance(loads, Iterable) and not isinstance(loads, str)):
            raise ModelError(f"loads must be their number or their names, got {loads!r}")
        names = tuple(f"load_{j}" for j in range(int(loads))) if whole else tuple(loads)  # type: ignore[arg-type]
        if not all(isinstance(name, str) for name in names):
            raise ModelError(f"names of load cases must be text, got {loads!r}")
        if not names or len(set(names)) < len(names):
            raise ModelError(f"load cases need at least one load, each with a name of its own, got {loads!r}")
        object.__setattr__(self, "names", names)

    @property
    def count(self) -> int:
        """The number k of loads."""
        return len(self.names)

    @property
    def ranges(self) -> dict[str, tuple[float, float]]:
        """The ranges of the weights, to be put after those of the model's own parameters."""
        return dict.fromkeys(self.names, (0.0, 1.0))

    def terms(self, rhs: Terms, parameters: ParameterSpace | None = None) -> Terms:
        """Return `rhs` of a :class:`rbm.FullOrderModel` from [(phi_q, F_q), ...], F_q (n, k), one load a column.

        Numbers phi_q are multiplied into the vectors, formulas by the weights. Columns that are zero make no term.

        parameters : the space of the model with the weights, needed where phi_q is a function

        Raises ModelError for another shape, and if no load has an entry.
        """
        made: list[tuple[Any, np.ndarray]] = []
        for q, (phi, given) in enumerate(term_pairs("rhs", rhs)):
            columns = entries(f"load term {q}", given)
            columns = columns.toarray() if sp.issparse(columns) else columns
            if columns.ndim != 2 or columns.shape[1] != self.count:
                expected = f"expected (n, {self.count}), one load a column"
                raise ModelError(f"load term {q} has shape {columns.shape}, {expected}")
            number, symbol = factored(phi)
            for name, column in zip(self.names, columns.T, strict=True):
                if np.any(column):
                    vector = column if number == 1 else number * column
                    made.append((multiplied(symbol, name, parameters), np.ascontiguousarray(vector)))
        if not made:
            raise ModelError("all loads are zero: there is nothing to reduce")
        return made

    def points(self, mus: Any) -> np.ndarray:
        """Return the points (M k, p + k) of all load cases at points mus (M, p), point by point.

        Raises ParameterError for what has names, whose order is that of a model (:meth:`solve` knows it), for another
        shape, and for what are no numbers.
        """
        refuse_hidden(mus)
        try:
            named = isinstance(mus, Mapping) or by_name(mus, ("",)) is not None
        except ParameterError:
            named = True
        if named:
            raise ParameterError(
                "load cases do not know the parameters' names: give an array (M, p) in the model's order, or the table "
                "to solve(reduced, mus)"
            )
        try:
            array = np.asarray(mus)
        except ValueError:
            raise ParameterError("parameters must have shape (M, p); the rows given have different lengths") from None
        if array.ndim != 2 or array.dtype.kind not in "fiu":
            got = f"{array.dtype} of shape {array.shape}"
            raise ParameterError(f"parameters of load cases must be real numbers of shape (M, p), got {got}")
        array = array.astype(float)
        weights = np.tile(np.eye(self.count), (len(array), 1))
        return np.concatenate([np.repeat(array, self.count, axis=0), weights], axis=1)

    def solve(self, reduced: Any, mus: Any, **options: Any) -> CaseSolution:
        """Return the answers of a reduced model for all loads at points mus (M, p), or by name.

        reduced : a model whose last k parameters are the weights; options : those of :meth:`rbm.ReducedModel.solve`

        Rows that errors name are those of :meth:`points`. Raises ModelError for a model without the weights. Cost: that
        of M k points; the reduced system is factorised for each load.
        """
        if tuple(reduced.parameters.names[-self.count :]) != self.names:
            raise ModelError(
                f"the last parameters of this model are {', '.join(reduced.parameters.names[-self.count :])}, not the "
                f"weights {', '.join(self.names)} of these load cases"
            )
        space = reduced.parameters
        own = space.names[: -self.count]
        ranges = dict(zip(own, map(tuple, space.bounds.tolist()), strict=False))
        points = ParameterSpace(ranges, space.scale).points(mus)
        return CaseSolution(self.count, reduced.solve(self.points(to_numpy(points)), **options))


@dataclass(frozen=True)
class CaseSolution:
    """Answers for k load cases at M points; `flat` has them one after the other, point by point."""

    count: int  #: k
    flat: Solution  #: of M k points

    @property
    def coefficients(self) -> np.ndarray:
        """Coefficients (M, k, N): u_j(mu) ~ Z gamma_j."""
        return self._by_load(self.flat.coefficients)

    @property
    def bound(self) -> np.ndarray:
        """Bounds (M, k) of ||u_j(mu) - Z gamma_j(mu)||_P."""
        return self._by_load(self.flat.bound)

    @property
    def outputs(self) -> dict[str, np.ndarray]:
        """{name: (M, k)}, the outputs of each load case; (M, k, rows) for array-valued ones."""
        return {name: self._by_load(values) for name, values in self.flat.outputs.items()}

    @property
    def output_bounds(self) -> dict[str, np.ndarray]:
        """{name: (M, k)}, bounds of their errors."""
        return {name: self._by_load(values) for name, values in self.flat.output_bounds.items()}

    def reconstruct(self, reduced: Any) -> np.ndarray:
        """Return Z gamma (M, k, n), by the model that made the answers."""
        return self._by_load(reduced.reconstruct(self.flat))

    def __len__(self) -> int:
        return len(self.flat) // self.count

    def _by_load(self, array: Any) -> Any:
        return array.reshape(len(array) // self.count, self.count, *array.shape[1:])
