"""An output over one parameter: certified intervals where there is a bound, and enclosed poles where there is none."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from rbm.errors import ModelError
from rbm.reduced.model import ReducedModel
from rbm.reduced.output_rows import check_single, shape_of
from rbm.uses.pencil_path import is_damped, points_of_line
from rbm.uses.poles import Poles, found_poles

__all__ = ["FrequencyResponse", "frequency_response"]


@dataclass(frozen=True)
class FrequencyResponse:
    """An output s(mu) of the full model at M points of one parameter: |s - values| <= bounds where `certified`.

    Between two points nothing is said, but where poles are.
    """

    parameter: str  #: its name
    output: str
    mus: np.ndarray  #: (M,) increasing
    values: np.ndarray  #: (M,) of the reduced model; NaN where there is none
    bounds: np.ndarray  #: (M,) infinite where there is none
    certified: np.ndarray  #: (M,) True where the bound is finite, and small enough if that was asked for
    excluded: np.ndarray  #: (k, 2) open intervals around poles and points that are not certified, disjoint
    poles: Poles | None  #: the poles, or resonances; None where they are not known, as for a model that is no pencil

    @property
    def intervals(self) -> np.ndarray:
        """Intervals (M, 2) of the full model's output, of its modulus if it is complex; infinite where open."""
        complex_valued = self.values.dtype.kind == "c"
        middle = np.abs(self.values) if complex_valued else self.values
        known = np.isfinite(self.bounds) & np.isfinite(middle)
        centre, radius = np.where(known, middle, 0.0), np.where(known, self.bounds, np.inf)
        low, high = np.nextafter(centre - radius, -np.inf), np.nextafter(centre + radius, np.inf)
        return np.stack([np.maximum(low, 0.0) if complex_valued else low, high], axis=1)

    def __len__(self) -> int:
        return len(self.mus)

    def __repr__(self) -> str:
        poles = "poles not known" if self.poles is None else f"{len(self.poles)} poles enclosed"
        return (
            f"FrequencyResponse({self.output} at {len(self)} points of {self.parameter}, {int(self.certified.sum())} "
            f"certified, {len(self.excluded)} intervals excluded, {poles})"
        )


def frequency_response(
    reduced: ReducedModel,
    mus: Any,
    output: str | None = None,
    *,
    rtol: float = np.inf,
    poles: Poles | None = None,
    method: str | None = None,
) -> FrequencyResponse:
    """Return an output at many points of one parameter, certified, and where its poles are.

    Each pole that is known (those of `poles`, its `missing` ones too) is in one of the `excluded` intervals, which
    reach from the last certified point before it to the first one after it, and so are all points without a bound:
    A(mu) is singular there to working precision, or the bound exceeds rtol |value|.

    mus : (M,) or (M, 1), in any order
    output : its name; may be left out if there is one only
    rtol : largest relative bound of a point that counts as certified; any finite one by default
    poles : what :func:`rbm.poles` returned for a range that holds all points; found here by default, if the model is a
        pencil (for a damped one its resonances, which need not be excluded)
    method : the estimator of the bounds

    Raises ModelError for several parameters, an unknown output, a number rtol that is not positive; ParameterError for
    points outside the model's range. Cost: that of :meth:`rbm.ReducedModel.solve`, and of :func:`rbm.poles`.
    """
    if not isinstance(reduced, ReducedModel):
        ways = ": ask each of its leaves" if hasattr(reduced, "leaves") else ""
        raise ModelError(f"frequency_response asks a reduced model, got a {type(reduced).__name__}{ways}")
    space = reduced.parameters
    if len(space) != 1:
        raise ModelError(
            f"a frequency response is about one parameter, and the model has {len(space)}, {', '.join(space.names)}; "
            "solve(mus) answers for several"
        )
    name = _output(reduced, output)
    if isinstance(rtol, bool) or not isinstance(rtol, int | float | np.number) or not rtol > 0:
        raise ModelError(f"rtol must be a positive number, got {rtol!r}")
    points = points_of_line(space, mus)
    solution = reduced.solve(points[:, None], method=method, coefficients=False, on_error="mark").to("numpy")
    values, bounds = np.asarray(solution.outputs[name]), np.asarray(solution.output_bounds[name])
    certified = np.isfinite(bounds) & np.isfinite(values)
    certified[certified] = bounds[certified] <= rtol * np.abs(values[certified])
    if poles is not None:
        _check_poles(poles, space.names[0], points)
    elif len(points) > 1:
        poles = _poles(reduced, (float(points[0]), float(points[-1])))
    around = np.zeros((0, 2))
    if poles is not None and not poles.damped:
        around = np.concatenate([poles.intervals, np.zeros((0, 2)) if poles.missing is None else poles.missing])
    excluded = _excluded(points, certified, around)
    return FrequencyResponse(space.names[0], name, points, values, bounds, certified, excluded, poles)


def _output(reduced: ReducedModel, name: str | None) -> str:
    known = [name for name, output in reduced.outputs.items() if not shape_of(output)]
    if name is None and len(known) == 1:
        return known[0]
    if name in reduced.outputs or (name is None and len(reduced.outputs) == 1):
        check_single(reduced.outputs, name or next(iter(reduced.outputs)), "a frequency response")
    if not isinstance(name, str) or name not in known:
        raise ModelError(
            f"output must be one of {', '.join(map(repr, known)) or 'none: the model has none'}, got {name!r}"
        )
    return name


def _check_poles(poles: Any, name: str, points: np.ndarray) -> None:
    """Raise ModelError for what are no poles, or those of another parameter or of a shorter range."""
    if not isinstance(poles, Poles):
        raise ModelError(f"poles must be what rbm.poles returned, got {type(poles).__name__}")
    low, high = poles.range
    if poles.parameter != name or not (low <= points[0] and points[-1] <= high):
        raise ModelError(
            f"the poles given are those of {poles.parameter} in [{low:g}, {high:g}], and the points are {name} in "
            f"[{points[0]:g}, {points[-1]:g}]"
        )


def _poles(reduced: ReducedModel, range_: tuple[float, float]) -> Poles | None:
    """Return poles, resonances of a damped model, or None where the model is no pencil that is known."""
    try:
        return found_poles(reduced, range_, damped=is_damped(reduced, range_))
    except ModelError:
        return None


def _excluded(mus: np.ndarray, certified: np.ndarray, poles: np.ndarray) -> np.ndarray:
    """Return disjoint intervals (k, 2) from one certified point to the next that hold all poles and other points."""
    good = mus[certified]
    ends = np.concatenate(
        [poles[(poles[:, 1] >= mus[0]) & (poles[:, 0] <= mus[-1])], np.repeat(mus[~certified], 2).reshape(-1, 2)]
    )
    if not len(ends):
        return ends
    before = np.searchsorted(good, ends[:, 0], side="left") - 1
    after = np.searchsorted(good, ends[:, 1], side="right")
    low = np.where(before >= 0, good[np.maximum(before, 0)] if len(good) else -np.inf, np.minimum(ends[:, 0], mus[0]))
    high = np.where(
        after < len(good),
        good[np.minimum(after, len(good) - 1)] if len(good) else np.inf,
        np.maximum(ends[:, 1], mus[-1]),
    )
    order = np.argsort(low, kind="stable")
    merged: list[list[float]] = []
    for a, b in zip(low[order], high[order], strict=True):
        if merged and a < merged[-1][1]:
            merged[-1][1] = max(merged[-1][1], float(b))
        else:
            merged.append([float(a), float(b)])
    return np.array(merged)
