"""Answers for a batch of parameter points, and tables of them: columns, data frames, datasets with units."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from lowrank.arrays import beside, namespace
from lowrank.devices import mover
from lowrank.optional import require
from rbm.errors import ModelError
from rbm.estimate import Estimate

__all__ = ["Solution", "check_output_names", "coefficients_of", "mapped"]

#: Columns and dimensions that every table has.
OWN = ("error_bound", "floor", "quantization_error", "resolved", "coefficients", "point", "basis")
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
    outputs: dict[str, np.ndarray]  #: {name: (M,)}, (M, k) for an array-valued output
    estimate: Estimate | None = None  #: error of the solution in the P-norm
    #: {name: (M,)}: |s(mu) - s_N(mu)| is at most this
    output_bounds: dict[str, np.ndarray] = field(default_factory=dict)
    failed: np.ndarray = field(default_factory=lambda: NONE)  #: (k,) rows that failed
    reasons: tuple[str, ...] = ()  #: what went wrong, one sentence for each kind of failure
    mus: Any = None  #: (M, p) the parameter points, a copy of those that were given
    names: tuple[str, ...] = ()  #: of the parameters, the columns of `mus`
    units: Mapping[str, str] = field(default_factory=dict)  #: of parameters and outputs, as far as they were given
    method: str = ""  #: the estimator
    #: (k,) which of the reasons belongs to each row of `failed`; empty if that is not known
    kinds: np.ndarray = field(default_factory=lambda: NONE)
    #: which basis the coefficients belong to (:func:`rbm.reduced.origin.mark`); "" if that is not known
    origin: str = ""

    @property
    def bound(self) -> np.ndarray:
        """The upper bound (M,) of ||u(mu) - Z gamma(mu)||_P; for a model in few bits, of what it reconstructs.

        Raises ValueError for a solution made with ``estimate=False``.
        """
        if self.estimate is None:
            raise ValueError("this solution was made with estimate=False; call solve(mus) again without it")
        return self.estimate.bound

    @property
    def quantization_error(self) -> np.ndarray:
        """The share (M,) of the bound that is due to few bits per number; zero where nothing is quantised.

        Of a model in few bits (:meth:`rbm.ReducedModel.quantize`) it is the P-norm of the difference between what
        :meth:`rbm.ReducedModel.reconstruct` returns and Z gamma.

        Raises ValueError for a solution made with ``estimate=False``.
        """
        if self.estimate is None:
            raise ValueError("this solution was made with estimate=False; call solve(mus) again without it")
        made = self.estimate.quantization
        return namespace(self.bound).zeros_like(self.bound) if made is None else made

    def to(self, target: Any, *, device: Any = None) -> Solution:
        """Return the answers on "numpy", "cupy" or an array module, as :meth:`rbm.ReducedModel.to` does.

        The bits are the same, NaN included.
        """
        move = mover(target, device)
        moved = mapped(self, lambda array, _: move(array))
        return moved if self.mus is None else replace(moved, mus=move(self.mus))

    def to_dict(self) -> dict[str, np.ndarray]:
        """Return {column: array (M,)} with the columns of the command line's CSV.

        These are parameters, outputs with their bounds, error_bound, floor, resolved; for a model in few bits
        quantization_error stands after the floor.

        A complex output s makes two columns, s_re and s_im, an array-valued one the columns s[0], s[1], ...
        Raises ValueError for a solution on a device: move it by ``to("numpy")``.
        """
        self._check_host()
        made = self._parameters()
        for output, whole in self.outputs.items():
            bounds = dict(_single(output, self.output_bounds[output])) if output in self.output_bounds else {}
            for name, values in _single(output, whole):
                complex_valued = values.dtype.kind == "c"
                made |= {f"{name}_re": values.real, f"{name}_im": values.imag} if complex_valued else {name: values}
                if name in bounds:
                    made[f"{name}_bound"] = bounds[name]
        if self.estimate is not None:
            e = self.estimate
            made |= {"error_bound": e.bound, "floor": e.floor}
            made |= {} if e.quantization is None else {"quantization_error": e.quantization}
            made["resolved"] = e.resolved
        return made

    def to_dataframe(self) -> Any:
        """Return a pandas.DataFrame, one row per point, with the columns of :meth:`to_dict`.

        Raises ImportError without pandas.
        """
        made = self.to_dict()  # what is wrong with the solution comes before what is missing here
        return require("pandas", "pandas", "Solution.to_dataframe()").DataFrame(made)

    def to_xarray(self) -> Any:
        """Return an xarray.Dataset over the dimension "point".

        Parameters are its coordinates; it has outputs, bounds and coefficients, and units and meaning as attributes.

        Complex outputs stay complex. Raises ImportError without xarray, ValueError for a solution on a device.
        """
        self._check_host()
        xarray = require("xarray", "xarray", "Solution.to_xarray()")
        variables: dict[str, Any] = {}
        for name, values in self.outputs.items():
            over: Any = "point" if values.ndim == 1 else ("point", f"{name}_row")
            variables[name] = (over, values, self._unit(name))
            if name in self.output_bounds:
                meaning = {"long_name": f"bound of the error of {name}: |s(mu) - s_N(mu)| is at most this"}
                variables[f"{name}_bound"] = (over, self.output_bounds[name], meaning | self._unit(name))
        attributes = {}
        if self.estimate is not None:
            estimate, exact = self.estimate, "the full-order model"
            if estimate.interpolation is not None:
                exact = "the model that the affine one interpolates"
            covers = (
                f"error ||u(mu) - Z gamma(mu)||_P of the reduced solution against the exact solution u of {exact}, "
                "round-off included; the error of the discretisation is not"
            )
            attributes = {"estimator": self.method, "error_bound": covers}
            share = "share of error_bound that is due to round-off and what was neglected"
            variables |= {
                "error_bound": ("point", estimate.bound, {"long_name": f"bound of the {covers}"}),
                "floor": ("point", estimate.floor, {"long_name": share}),
                "resolved": ("point", estimate.resolved, {"long_name": "true where error_bound is well above floor"}),
            }
            if estimate.quantization is not None:
                bits = {"long_name": "share of error_bound that is due to few bits per number"}
                variables["quantization_error"] = ("point", estimate.quantization, bits)
        if self.coefficients.shape[1]:
            variables["coefficients"] = (("point", "basis"), self.coefficients, {"long_name": "gamma: u(mu) ~ Z gamma"})
        if self.reasons:
            attributes["failed"] = "; ".join(self.reasons)
        columns = zip(self.names, self._parameters().items(), strict=False)
        coordinates = {head: ("point", values, self._unit(name)) for name, (head, values) in columns}
        return xarray.Dataset(variables, coords=coordinates, attrs=attributes)

    def _parameters(self) -> dict[str, np.ndarray]:
        if self.mus is None:
            return {}
        # models of older files may have a parameter called "floor": its column must not be overwritten by the answer's
        heads = (f"parameter_{name}" if name in OWN else name for name in self.names)
        return {head: self.mus[:, j] for j, head in enumerate(heads)}

    def _unit(self, name: str) -> dict[str, str]:
        return {"units": self.units[name]} if name in self.units else {}

    def _check_host(self) -> None:
        if not isinstance(self.coefficients, np.ndarray):
            where = namespace(self.coefficients).__name__.rpartition(".")[2]
            raise ValueError(f'this solution is on a device (arrays of {where}): take solution.to("numpy") for a table')

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
        mus = None if self.mus is None else take(self.mus)
        return replace(mapped(self, take), mus=mus, failed=failed, reasons=reasons, kinds=kinds)

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


def _single(name: str, values: Any) -> Iterator[tuple[str, Any]]:
    """Yield the columns (M,) of an output, those of an array-valued one (M, k) by their rows, with their names."""
    if values.ndim == 1:
        yield name, values
        return
    for i in range(values.shape[1]):
        yield f"{name}[{i}]", values[:, i]


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


def check_output_names(outputs: Iterable[Any], parameters: Sequence[str]) -> None:
    """Raise ModelError for outputs whose columns would collide with others.

    Others are those of outputs, of parameters, and the columns of every table.

    An output s may need the columns s, or s_re and s_im, and s_bound; a name is a text without control characters.
    Parameters called like a column of every table are refused as well.
    """
    for name in parameters:
        if name in OWN:
            raise ModelError(
                f"parameter {name!r} would need the column {name!r}, which every table has; choose another name"
            )
    owner = dict.fromkeys(OWN, "every table") | {name: f"the parameter {name}" for name in parameters}
    for name in outputs:
        if not isinstance(name, str):
            raise ModelError(f"the name of an output must be a text, got {name!r}; write {str(name)!r}")
        if not name.strip() or name != name.strip() or not name.isprintable():
            raise ModelError(
                f"output name {name!r} cannot head a column: it is empty, or has spaces around it or characters that "
                "do not print"
            )
        for column in (name, f"{name}_re", f"{name}_im", f"{name}_bound"):
            if column in owner:
                raise ModelError(
                    f"output {name!r} may need the column {column!r}, which {owner[column]} has; choose another name "
                    "(an output s stands in the columns s, or s_re and s_im, and s_bound)"
                )
        owner |= {f"{name}{end}": f"the output {name!r}" for end in ("", "_re", "_im", "_bound")}


def mapped(solution: Solution, function: Callable[..., Any]) -> Solution:
    """Return the solution with function(array, mark) for all arrays with one row per point.

    The mark is the value of a failed point. The order is always the same.
    """
    e = solution.estimate
    if e is not None:
        e = e.mapped(lambda array, name: function(array, False if name == "resolved" else np.inf))
    return replace(
        solution,
        coefficients=function(solution.coefficients, np.nan),
        outputs={name: function(a, np.nan) for name, a in solution.outputs.items()},
        estimate=e,
        output_bounds={name: function(a, np.inf) for name, a in solution.output_bounds.items()},
    )
