"""The parameter space: names, ranges, sampling, and the check that every parameter value passes."""

from __future__ import annotations

import keyword
from collections.abc import Iterable, Mapping
from itertools import groupby
from typing import Any, Literal

import numpy as np
from array_api_compat import array_namespace, is_array_api_obj

from lowrank.arrays import all_true, beside, namespace, to_numpy
from lowrank.renamed import renamed
from rbm.errors import ParameterError, refused
from rbm.parameters.distributions import Distribution, apart, read_distributions
from rbm.parameters.expressions import RESERVED, identifier
from rbm.parameters.named_points import by_name, conversion_hint, refuse_answers, refuse_hidden
from rbm.parameters.prior import Prior
from rbm.parameters.ranges import interval, told_apart, widened

__all__ = ["ParameterSpace", "checked_units", "parameter_space"]

#: Types of the items of a list that needs no closer look.
NUMBERS = frozenset((float, int))


class ParameterSpace:
    """A box of real parameters, each with a name and a range, on a linear or a logarithmic scale.

    Parameters
    ----------
    ranges : {"mu": (1.0, 100.0), ...}; the order of the names is the order of the columns of every `mus` (M, p). In
        place of a range a frozen distribution of scipy.stats, whose support is the range
    scale : "linear" or "log": how :meth:`sample` fills the ranges of parameters that have no distribution
    units : {"mu": "W/m/K", ...}, texts for tables and plots; nothing is converted. Parameters may be left out
    distributions : {"mu": scipy.stats.beta(2, 5, loc=1, scale=50), ...}, on a support inside the range

    Complex coefficients come from expressions ("mu_re + 1j*mu_im"), the parameters themselves are real.

    Raises ParameterError for ranges that are none, names that formulas cannot read, a scale of another name, a
    logarithmic range that does not begin above 0, units of parameters that are not there, and distributions whose
    support is not bounded.

    Examples
    --------
    >>> space = ParameterSpace({"mu": (1.0, 100.0)}, scale="log")
    >>> space
    ParameterSpace(mu in [1, 100], log)
    >>> space.sample(3, method="grid")[:, 0]
    array([  1.,  10., 100.])
    """

    def __init__(
        self,
        ranges: Mapping[str, Any],
        scale: Literal["linear", "log"] = "linear",
        units: Mapping[str, str] | None = None,
        distributions: Mapping[str, Any] | None = None,
    ) -> None:
        if not isinstance(ranges, Mapping):
            raise ParameterError(f"ranges must be a dictionary {{'name': (low, high)}}, got {type(ranges).__name__}")
        if not ranges:
            raise ParameterError("a parameter space needs at least one parameter, {'name': (low, high)}")
        if scale not in ("linear", "log"):
            raise ParameterError(f"scale must be 'linear' or 'log', got {scale!r}")
        ranges, distributions = apart(ranges, distributions)
        bounds = []
        for name, limits in ranges.items():
            if not (isinstance(name, str) and name.isidentifier()):
                raise ParameterError(
                    f"parameter name {name!r} is not an identifier; use letters, digits and underscores"
                )
            if keyword.iskeyword(identifier(name)) or identifier(name) in RESERVED:
                raise ParameterError(f"parameter name {name!r} has a meaning in formulas; choose another one")
            low, high = interval(name, limits)
            if scale == "log" and low <= 0:
                raise ParameterError(f"range of {name} starts at {low}: a logarithmic scale needs low > 0")
            bounds.append((low, high))
        self.names: tuple[str, ...] = tuple(ranges)
        read = {identifier(name): name for name in self.names}
        for name in self.names:
            if read[identifier(name)] != name:
                raise ParameterError(
                    f"parameter names {name!a} and {read[identifier(name)]!a} are one name, {identifier(name)!a}, in "
                    "formulas; choose another one"
                )
        self.bounds: np.ndarray = np.array(bounds)  #: (p, 2)
        self.bounds.setflags(write=False)
        self._pairs = bounds
        self._limits = np.ascontiguousarray(self.bounds.T)
        self._almost = widened(self._limits)
        self.scale = scale
        self.units: dict[str, str] = checked_units(units, self.names, "parameter")
        #: how probable points are; :meth:`sample` follows it
        self.prior = Prior(self.names, self.bounds, scale, read_distributions(distributions, self.names, bounds))

    @property
    def distributions(self) -> Mapping[str, Distribution]:
        """The distributions that were given, by name."""
        return self.prior.distributions

    def __len__(self) -> int:
        return len(self.names)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, ParameterSpace):
            return False
        same = (self.names, self.scale, self.units) == (other.names, other.scale, other.units)
        same = same and self.distributions == other.distributions
        return same and np.array_equal(self.bounds, other.bounds)

    def __hash__(self) -> int:
        return hash((self.names, self.scale, self.bounds.tobytes()))

    def __repr__(self) -> str:
        units = {name: f" {unit}" for name, unit in self.units.items()}
        ranges = [f"[{a:g}, {b:g}]{units.get(n, '')}" for n, (a, b) in zip(self.names, self._pairs, strict=True)]
        known = self.distributions
        ranges = [f"{r} ~ {known[n]}" if n in known else r for n, r in zip(self.names, ranges, strict=True)]
        box = []
        for where, run in groupby(zip(self.names, ranges, strict=True), key=lambda pair: pair[1]):
            names = [name for name, _ in run]
            # nine parameters k1 to k9 with one range fill two lines of a terminal otherwise
            box += [f"{', '.join(names)} in {where}"] if len(names) > 2 else [f"{name} in {where}" for name in names]
        return f"ParameterSpace({', '.join(box)}, {self.scale})"

    @renamed(seed="rng")
    def sample(
        self,
        count: int,
        method: Literal["random", "grid", "sobol"] = "sobol",
        rng: int | np.random.Generator | None = 0,
    ) -> np.ndarray:
        """Return parameter points (M, p) that fill the box, or follow the distributions that were given.

        method "random": M independent points; "sobol": M points of a scrambled low-discrepancy sequence; "grid": the
        tensor grid with the largest number of points per direction, ends included, that has at most M points; of a
        distribution these are quantiles at equal steps of the probability.
        The same `rng`, a seed, gives the same points, bit for bit.

        Raises ParameterError for a number of points below 1, and another method.
        """
        if not (isinstance(count, int | np.integer) and count >= 1):
            raise ParameterError(f"the number of sample points must be an integer of at least 1, got {count!r}")
        p = len(self)
        if method == "random":
            unit = np.random.default_rng(rng).random((count, p))
        elif method == "sobol":
            from scipy.stats import qmc  # here and not at the top, as it takes half of the import time of this package

            power = max(int(np.ceil(np.log2(count))), 0)
            unit = qmc.Sobol(p, scramble=True, rng=np.random.default_rng(rng)).random_base2(power)[:count]
        elif method == "grid":
            per_side = int(np.floor(count ** (1 / p) + 1e-9))
            axis = np.linspace(0, 1, per_side) if per_side > 1 else np.array([0.5])
            unit = np.stack(np.meshgrid(*[axis] * p, indexing="ij"), axis=-1).reshape(-1, p)
        else:
            raise ParameterError(f"method must be 'random', 'grid' or 'sobol', got {method!r}")
        return self.prior.points(unit)

    def validate(self, mus: object, extrapolate: bool | None = None) -> np.ndarray:
        """Return `mus` as a float64 array (M, p) of NumPy, after checking names, shape, finiteness and range.

        Whatever :meth:`points` takes is taken. With ``extrapolate=True`` values outside the ranges are let through; the
        estimate then holds only as far as the stability bound does, and E3 and E4 resolve nothing there. None is as
        False, for callers that offer no extrapolation: the message does not speak of it. A value outside by at most
        four floating-point numbers, which rounding explains, is the end of the range.

        Raises
        ------
        ParameterError
            wrong shape, type or names, NaN or infinite values, values outside the range (with name, value, index and
            range).
        """
        return self.check(to_numpy(self.points(mus)).astype(np.float64), extrapolate)

    def points(self, mus: Any) -> Any:
        """Return `mus` as an array (M, p) of numbers, copied only if it must be converted.

        Its values are not looked at. By position: an array (M, p), one row per point, or (p,) for one point.
        By name, in any order: {"mu": 1.2, "k": [1.0, 2.0]}, whose values are broadcast; a list of such dictionaries; a
        data frame (pandas, polars, pyarrow); a structured array; an xarray dataset, whose variables are broadcast by
        dimension. Names that are missing or are no parameters are refused.

        Raises ParameterError for a wrong shape, type or name, and for containers that hide entries (masked arrays,
        missing values).
        """
        p = len(self)
        if type(mus) is np.ndarray:
            plain = mus.dtype.names is None and mus.dtype.kind != "O"
        else:
            plain = type(mus) is list and NUMBERS.issuperset(map(type, mus))
        if not plain:
            refuse_hidden(mus)
            refuse_answers(mus)
            named = by_name(mus, self.names)
            mus = mus if named is None else named
        if not isinstance(mus, np.ndarray) and is_array_api_obj(mus):
            if mus.ndim == 1 and mus.shape[0] == p:
                mus = mus[None, :]
            xp = array_namespace(mus)
            if mus.ndim != 2 or mus.shape[1] != p or mus.shape[0] == 0 or not xp.isdtype(mus.dtype, "real floating"):
                raise ParameterError(
                    f"parameters must be real numbers of shape (M, {p}) for ({', '.join(self.names)}), got {mus.dtype} "
                    f"of shape {tuple(mus.shape)}"
                )
            return xp.astype(mus, xp.float64, copy=False)
        try:
            array = np.asarray(mus)
        except ValueError:
            raise ParameterError(
                f"parameters must have shape (M, {p}); the rows given have different lengths"
            ) from None
        if array.dtype.kind == "c":
            raise ParameterError(
                "parameters are real numbers, got complex ones: declare real and imaginary part as two parameters and "
                "write the coefficient as an expression, 'mu_re + 1j*mu_im'"
            )
        if array.dtype.kind not in "biuf":
            shown, hint = str(mus)[:60], conversion_hint(mus, array)
            raise ParameterError(f"parameters must be numbers, got {shown!r} of dtype {array.dtype}{hint}")
        if array.shape == (p,):
            array = array[None, :]
        if array.ndim != 2 or array.shape[1] != p or array.shape[0] == 0:
            raise ParameterError(
                f"parameters must have shape (M, {p}) for ({', '.join(self.names)}), one row a point, or ({p},) for "
                f"one point; got shape {array.shape}{self._remedy(array)}"
            )
        return array.astype(np.float64, copy=False)

    def _remedy(self, array: np.ndarray) -> str:
        """Return what was meant, perhaps, by an array of a wrong shape; the end of a sentence."""
        p = len(self)
        if array.ndim == 0:
            point = f"[{array}]" if p == 1 else f"[{', '.join(self.names)}]"
            count = array.dtype.kind in "iu" and array > 0
            many = f", or parameters.sample({array}) for {array} points" if count else ""
            return f": the number {array}; write {point} for one point{many}"
        if array.ndim == 1 and p == 1 and len(array):
            return f"; did you mean mus[:, None] or reshape(-1, {p})?"
        if array.ndim == 2 and array.shape[0] == p and array.shape[1]:
            return "; did you mean mus.T?"
        return ""

    def inside(self, array: Any) -> Any:
        """Return (M,) which rows of the array (M, p), wherever it is, are inside the ranges."""
        low, high = (beside(limit, array) for limit in self._limits)
        return namespace(array).all((array >= low) & (array <= high), axis=1)

    def check(self, array: Any, extrapolate: bool | None = None) -> Any:
        """Return the array (M, p) itself if its values are finite and inside the ranges, wherever it is.

        Else it raises as :meth:`validate` does.
        """
        low, high = self._limits
        if not isinstance(array, np.ndarray):
            low, high = beside(low, array), beside(high, array)
        elif len(array) == 1:  # for one point, Python's numbers are faster than arrays
            for (low_j, high_j), x in zip(self._pairs, array[0].tolist(), strict=True):
                if not low_j <= x <= high_j:
                    break
            else:
                return array
        if all_true((array >= low) & (array <= high)):
            return array
        array = self.snapped(array)
        inside = (array >= low) & (array <= high)
        if all_true(inside):
            return array
        bad = ~namespace(array).isfinite(array)
        some = not all_true(~bad)
        if extrapolate and not some:
            return array
        values, bad, inside = to_numpy(array), to_numpy(bad), to_numpy(inside)
        wrong = bad if some else ~inside
        # the first parameter that is wrong in the first row that is
        j = int(np.argmax(wrong[np.argmax(wrong.any(axis=1))]))
        name = self.names[j]
        remedy = "pass extrapolate=True to allow it"
        if extrapolate is None:
            remedy = "leave such points out, or make the range of the parameter wider"

        def message(i: int, where: str) -> str:
            if some:
                return f"{name} = {values[i, j]} ({where}) is not a finite number"
            value, lowest, highest = told_apart(float(values[i, j]), *self._pairs[j])
            return f"{name} = {value} ({where}) is outside [{lowest}, {highest}]; {remedy}"

        raise refused(ParameterError, wrong[:, j], message, about=(name, some))

    def snapped(self, array: Any) -> Any:
        """Return the array (M, p) with values that rounding moved outside replaced by the end of the range.

        Those are outside by at most four floating-point numbers.
        """
        (low, high), (lowest, highest) = self._limits, self._almost
        if not isinstance(array, np.ndarray):
            low, high, lowest, highest = (beside(np.array(x), array) for x in (low, high, lowest, highest))
        xp = namespace(array)
        array = xp.where((array < low) & (array >= lowest), low, array)
        return xp.where((array > high) & (array <= highest), high, array)

    def describe(self, mu: np.ndarray) -> str:
        """Return one point (p,) as text, 'mu = 3.5, k = 2', for messages."""
        return ", ".join(f"{n} = {x:.6g}" for n, x in zip(self.names, np.atleast_1d(mu), strict=True))


def parameter_space(given: Any) -> ParameterSpace:
    """Return the parameter space itself, or one made from a dictionary of ranges {"mu": (1.0, 100.0)}.

    Raises ParameterError for anything else.
    """
    if isinstance(given, ParameterSpace):
        return given
    if isinstance(given, Mapping):
        return ParameterSpace(given)
    raise ParameterError(
        f"parameters must be an rbm.ParameterSpace or a dictionary {{'name': (low, high)}}, got {type(given).__name__}"
    )


def checked_units(units: Any, names: Iterable[str], what: str) -> dict[str, str]:
    """Return units by name, each a text; `what` they are the units of.

    Raises ParameterError for other names and other values.
    """
    if units is None:
        return {}
    if not isinstance(units, Mapping):
        raise ParameterError(f"units must be a dictionary {{'name': 'unit'}}, got {type(units).__name__}")
    names, given = tuple(names), {}
    read = {identifier(name): name for name in names}
    for name, unit in units.items():
        own = name if name in names else read.get(identifier(name))
        if own is None:
            raise ParameterError(f"units name {name!r}, which is no {what}; the names are {', '.join(names) or 'none'}")
        if not isinstance(unit, str):
            raise ParameterError(f"the unit of {name} must be a text such as 'W/m/K', got {unit!r}")
        given[own] = unit
    return {name: given[name] for name in names if name in given}
