"""Answers as tables: columns by name, data frames, and datasets with units and meanings."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Protocol

import numpy as np

from lowrank.arrays import namespace
from lowrank.optional import require
from rbm.errors import ModelError
from rbm.estimate import Estimate

__all__ = ["check_output_names", "columns", "dataframe", "dataset"]

#: Columns and dimensions that every table has.
OWN = ("error_bound", "floor", "resolved", "coefficients", "point", "basis")


class Answers(Protocol):
    """The attributes of a :class:`rbm.Solution` that a table is made from."""

    @property
    def coefficients(self) -> Any:
        """Reduced coefficients (M, N)."""

    @property
    def outputs(self) -> Mapping[str, Any]:
        """Values {name: (M,)} of the outputs."""

    @property
    def output_bounds(self) -> Mapping[str, Any]:
        """Bounds {name: (M,)} of their errors."""

    @property
    def estimate(self) -> Estimate | None:
        """Error estimates (M,)."""

    @property
    def mus(self) -> Any:
        """Parameter points (M, p), or None."""

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the parameters."""

    @property
    def units(self) -> Mapping[str, str]:
        """Units of parameters and outputs."""

    @property
    def method(self) -> str:
        """Name of the estimator."""

    @property
    def reasons(self) -> tuple[str, ...]:
        """What went wrong, one sentence for each kind of failure."""


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


def columns(solution: Answers) -> dict[str, np.ndarray]:
    """Return {column: (M,)}; see :meth:`rbm.Solution.to_dict`."""
    _on_host(solution)
    made = _parameters(solution)
    for name, values in solution.outputs.items():
        complex_valued = values.dtype.kind == "c"
        made |= {f"{name}_re": values.real, f"{name}_im": values.imag} if complex_valued else {name: values}
        if name in solution.output_bounds:
            made[f"{name}_bound"] = solution.output_bounds[name]
    if solution.estimate is not None:
        estimate = solution.estimate
        made |= {"error_bound": estimate.bound, "floor": estimate.floor, "resolved": estimate.resolved}
    return made


def dataframe(solution: Answers) -> Any:
    """Return a pandas.DataFrame; see :meth:`rbm.Solution.to_dataframe`."""
    made = columns(solution)  # what is wrong with the solution comes before what is missing here
    return require("pandas", "pandas", "Solution.to_dataframe()").DataFrame(made)


def dataset(solution: Answers) -> Any:
    """Return an xarray.Dataset; see :meth:`rbm.Solution.to_xarray`."""
    _on_host(solution)
    xarray = require("xarray", "xarray", "Solution.to_xarray()")
    variables: dict[str, Any] = {}
    for name, values in solution.outputs.items():
        variables[name] = ("point", values, _unit(solution, name))
        if name in solution.output_bounds:
            meaning = {"long_name": f"bound of the error of {name}: |s(mu) - s_N(mu)| is at most this"}
            variables[f"{name}_bound"] = ("point", solution.output_bounds[name], meaning | _unit(solution, name))
    attributes = {}
    if solution.estimate is not None:
        estimate = solution.estimate
        exact = (
            "the model that the affine one interpolates"
            if estimate.interpolation is not None
            else "the full-order model"
        )
        covers = (
            f"error ||u(mu) - Z gamma(mu)||_P of the reduced solution against the exact solution u of {exact}, "
            "round-off included; the error of the discretisation is not"
        )
        attributes = {"estimator": solution.method, "error_bound": covers}
        variables |= {
            "error_bound": ("point", estimate.bound, {"long_name": f"bound of the {covers}"}),
            "floor": (
                "point",
                estimate.floor,
                {"long_name": "share of error_bound that is due to round-off and what was neglected"},
            ),
            "resolved": ("point", estimate.resolved, {"long_name": "true where error_bound is well above floor"}),
        }
    if solution.coefficients.shape[1]:
        variables["coefficients"] = (("point", "basis"), solution.coefficients, {"long_name": "gamma: u(mu) ~ Z gamma"})
    if solution.reasons:
        attributes["failed"] = "; ".join(solution.reasons)
    coordinates = {
        head: ("point", values, _unit(solution, name))
        for name, (head, values) in zip(solution.names, _parameters(solution).items(), strict=False)
    }
    return xarray.Dataset(variables, coords=coordinates, attrs=attributes)


def _parameters(solution: Answers) -> dict[str, np.ndarray]:
    if solution.mus is None:
        return {}
    # models of older files may have a parameter called "floor": its column must not be overwritten by the answer's
    heads = (f"parameter_{name}" if name in OWN else name for name in solution.names)
    return {head: solution.mus[:, j] for j, head in enumerate(heads)}


def _unit(solution: Answers, name: str) -> dict[str, str]:
    return {"units": solution.units[name]} if name in solution.units else {}


def _on_host(solution: Answers) -> None:
    if not isinstance(solution.coefficients, np.ndarray):
        where = namespace(solution.coefficients).__name__.rpartition(".")[2]
        raise ValueError(f'this solution is on a device (arrays of {where}): take solution.to("numpy") for a table')
