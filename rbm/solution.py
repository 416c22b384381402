"""Answers for a batch of parameter points."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from array_api_compat import device

from lowrank.arrays import beside, namespace
from lowrank.devices import mover
from rbm.estimate import Estimate
from rbm.tables import columns, dataframe, dataset

__all__ = ["Solution", "coefficients_of", "fits", "promoted", "room_for", "spread", "wipe", "write"]


NONE = np.zeros(0, dtype=int)
NONE.setflags(write=False)


@dataclass(frozen=True)
class Solution:
    """Answers of :meth:`ReducedModel.solve` for M parameter points.

    A point that failed, of those asked for with ``on_error="mark"``, has NaN for coefficients and outputs and infinity
    for bounds. The arrays live where the model does (:meth:`rbm.ReducedModel.to`), but for `failed`, which is NumPy's
    everywhere.

    ``solution[i]`` is the Solution of some of the points: i an integer, a slice, a mask (M,) or indices; `failed` then
    counts from the first of them; `reasons`, those about these points, still name rows of the whole. Tables:
    :meth:`to_dict`, :meth:`to_dataframe`, :meth:`to_xarray`.
    """

    coefficients: np.ndarray  #: gamma (M, N): u(mu) ~ Z gamma; (M, 0) if they were not to be kept
    outputs: dict[str, np.ndarray]  #: {name: (M,)}
    estimate: Estimate | None = None  #: error of the solution in the P-norm
    output_bounds: dict[str, np.ndarray] = field(
        default_factory=dict
    )  #: {name: (M,)}: |s(mu) - s_N(mu)| is at most this
    failed: np.ndarray = field(default_factory=lambda: NONE)  #: (k,) rows that failed
    reasons: tuple[str, ...] = ()  #: what went wrong, one sentence for each kind of failure
    mus: Any = None  #: (M, p) the parameter points, a copy of those that were given
    names: tuple[str, ...] = ()  #: of the parameters, the columns of `mus`
    units: Mapping[str, str] = field(default_factory=dict)  #: of parameters and outputs, as far as they were given
    method: str = ""  #: the estimator
    #: (k,) which of the reasons belongs to each row of `failed`; empty if that is not known
    kinds: np.ndarray = field(default_factory=lambda: NONE)
    origin: str = (
        ""  #: which basis the coefficients belong to (:func:`rbm.reduced.origin.mark`); "" if that is not known
    )

    @property
    def bound(self) -> np.ndarray:
        """The upper bound (M,) of ||u(mu) - Z gamma(mu)||_P."""
        if self.estimate is None:
            raise ValueError("this solution was made with estimate=False; call solve(mus) again without it")
        return self.estimate.bound

    def to(self, target: Any, *, device: Any = None) -> Solution:
        """Return the answers on "numpy", "cupy" or an array module, as :meth:`rbm.ReducedModel.to` does.

        The bits are the same, NaN included.
        """
        move = mover(target, device)
        moved = _mapped(self, lambda array, _: move(array))
        return moved if self.mus is None else replace(moved, mus=move(self.mus))

    def to_dict(self) -> dict[str, np.ndarray]:
        """Return {column: array (M,)} with the columns of the command line's CSV.

        These are parameters, outputs with their bounds, error_bound, floor, resolved.

        A complex output s makes two columns, s_re and s_im. Raises ValueError for a solution on a device: move it by
        ``to("numpy")``.
        """
        return columns(self)

    def to_dataframe(self) -> Any:
        """Return a pandas.DataFrame, one row per point, with the columns of :meth:`to_dict`.

        Raises ImportError without pandas.
        """
        return dataframe(self)

    def to_xarray(self) -> Any:
        """Return an xarray.Dataset over the dimension "point".

        Parameters are its coordinates; it has outputs, bounds and coefficients, and units and meaning as attributes.

        Complex outputs stay complex. Raises ImportError without xarray, ValueError for a solution on a device.
        """
        return dataset(self)

    def __getitem__(self, index: Any) -> Solution:
        if isinstance(index, str):
            raise TypeError(
                f"a Solution is indexed by points, got {index!r}; outputs are in solution.outputs, columns in "
                "solution.to_dict()"
            )
        if isinstance(index, bool | np.bool_):
            raise IndexError("a Solution is indexed by an integer, a slice, a mask or indices, got one truth value")
        rows = np.atleast_1d(np.arange(len(self))[index])
        if rows.ndim != 1:
            raise IndexError(f"a Solution is indexed by points, one index, got an index of shape {rows.shape}")
        chosen = index if isinstance(index, slice) else rows

        def take(array: Any, _: Any = None) -> Any:
            if isinstance(array, np.ndarray) or isinstance(chosen, slice):
                return array[chosen, ...]
            return namespace(array).take(array, beside(chosen, array), axis=0)

        failed = np.flatnonzero(np.isin(rows, self.failed))
        reasons, kinds = self.reasons if len(failed) else (), NONE
        if len(failed) and len(self.kinds):
            kept, kinds = np.unique(self.kinds[np.searchsorted(self.failed, rows[failed])], return_inverse=True)
            reasons = tuple(self.reasons[k] for k in kept.tolist())
        return replace(
            _mapped(self, take),
            mus=None if self.mus is None else take(self.mus),
            failed=failed,
            reasons=reasons,
            kinds=kinds,
        )

    def __len__(self) -> int:
        return int(self.coefficients.shape[0])

    def __repr__(self) -> str:
        n = self.coefficients.shape[1]
        size = f", N = {n}" if n else ""
        failed = f", {len(self.failed)} failed" if len(self.failed) else ""
        error = "no error estimate"
        if self.estimate is not None:
            bound = self.bound
            xp = namespace(bound)
            good = bound[xp.isfinite(bound)] if len(self.failed) else bound
            error = f"error bound up to {float(xp.max(good)):.2e}" if good.shape[0] else "no error bound"
        outputs = f", outputs {', '.join(self.outputs)}" if self.outputs else ""
        return f"Solution({len(self)} points{size}{failed}, {error}{outputs})"


def coefficients_of(given: Any) -> Any:
    """Return the coefficients of a Solution; anything else as it is.

    Raises ValueError where none were kept, and for entries behind masks.
    """
    hidden = _masked(given)
    if hidden:
        raise ValueError(f"coefficients hide {hidden} entries behind a mask; fill them or leave these points out")
    if not isinstance(given, Solution):
        return given
    if not given.coefficients.shape[1]:
        raise ValueError(
            "this solution was made with coefficients=False and has none; call solve(mus) again without it"
        )
    return given.coefficients


def _masked(given: Any) -> int:
    """Count entries behind a mask, of an array or of those in lists."""
    if isinstance(given, list | tuple):
        return sum(_masked(item) for item in given if isinstance(item, list | tuple | np.ma.MaskedArray))
    return int(np.ma.count_masked(given)) if isinstance(given, np.ma.MaskedArray) else 0


def room_for(part: Solution, count: int) -> Solution:
    """Return a solution for `count` points with arrays like those of `part`.

    Every point is marked as failed until it is written.
    """

    def room(array: Any, value: Any) -> Any:
        shape = (count, *array.shape[1:])
        if isinstance(array, np.ndarray):
            return np.full(shape, value, dtype=array.dtype)
        return namespace(array).full(shape, value, dtype=array.dtype, device=device(array))

    return _mapped(part, room)


def spread(part: Solution, rows: np.ndarray, count: int) -> Solution:
    """Return a solution for `count` points: `part` at `rows`, all others marked as failed.

    The rows (k,) are in ascending order.
    """
    whole = room_for(part, count)
    if isinstance(part.coefficients, np.ndarray):
        write(whole, rows, part)
        return whole
    # the standard has no assignment to a list of rows: the rows of `part` are drawn to their places, others are filled
    written, source = np.zeros(count, dtype=bool), np.zeros(count, dtype=np.int64)
    written[rows], source[rows] = True, np.arange(len(rows))
    arrays = iter(_arrays(part))

    def draw(empty: Any, _: Any) -> Any:
        xp, array = namespace(empty), next(arrays)
        mask = xp.reshape(beside(written, empty), (count, *(1 for _ in empty.shape[1:])))
        return xp.where(mask, xp.take(array, beside(source, empty), axis=0), empty)

    return _mapped(whole, draw)


def write(target: Solution, rows: slice | np.ndarray, part: Solution) -> None:
    """Put the answers of `part` at `rows` of `target`. The rows are a slice, unless the arrays are NumPy's."""
    for to, array in zip(_arrays(target), _arrays(part), strict=True):
        to[rows, ...] = array


def wipe(target: Solution, rows: slice | np.ndarray) -> None:
    """Mark `rows` of `target` as failed, whatever was there. The rows are a slice, unless the arrays are NumPy's."""

    def clear(array: Any, value: Any) -> Any:
        array[rows, ...] = value
        return array

    _mapped(target, clear)


def fits(target: Solution, part: Solution) -> bool:
    """Return False if arrays of `part` are complex where those of `target` are real.

    A callable coefficient may be either, piece by piece.
    """
    pairs = zip(_arrays(target), _arrays(part), strict=True)
    return all(to.dtype == array.dtype or _common(to, array) == to.dtype for to, array in pairs)


def promoted(target: Solution, part: Solution) -> Solution:
    """Return `target` with arrays that can hold `part`."""
    arrays = iter(_arrays(part))
    return _mapped(target, lambda to, _: namespace(to).astype(to, _common(to, next(arrays)), copy=False))


def _common(a: Any, b: Any) -> Any:
    return a.dtype if a.dtype == b.dtype else namespace(a).result_type(a.dtype, b.dtype)


def _arrays(solution: Solution) -> Iterator[Any]:
    """Yield all arrays with one row per point, always in the same order."""
    found: list[Any] = []
    _mapped(solution, lambda array, _: found.append(array))
    yield from found


def _mapped(solution: Solution, function: Callable[..., Any]) -> Solution:
    """Return the solution with function(array, mark) for all arrays with one row per point.

    The mark is the value of a failed point. The order is always the same.
    """
    e = solution.estimate
    return replace(
        solution,
        coefficients=function(solution.coefficients, np.nan),
        outputs={name: function(a, np.nan) for name, a in solution.outputs.items()},
        estimate=None
        if e is None
        else Estimate(
            function(e.value, np.inf),
            function(e.floor, np.inf),
            function(e.resolved, False),
            None if e.interpolation is None else function(e.interpolation, np.inf),
        ),
        output_bounds={name: function(a, np.inf) for name, a in solution.output_bounds.items()},
    )
