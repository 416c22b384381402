"""Distributions of parameters: those of scipy.stats whose support is bounded, by name and numbers.

A reduced model is certified on a box, so that a distribution must live on one: its support is the range, or is inside
it. A file holds the name in scipy.stats and the numbers; nothing else is imported, and nothing is executed.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from rbm.errors import ParameterError

__all__ = ["Distribution", "apart", "distribution", "is_distribution", "read_distributions"]

#: What to write in place of the distributions that people ask for most.
BOUNDED = (
    "scipy.stats.truncnorm((low - mean) / sd, (high - mean) / sd, mean, sd) cuts a normal one; uniform, beta, triang, "
    "loguniform and arcsine are bounded"
)
#: A support may leave the range by this share of its ends, as `loc + scale` is rounded.
ROUNDED = 1e-14


@dataclass(frozen=True)
class Distribution:
    """A distribution of one parameter, by its name in scipy.stats and its numbers.

    numbers : shapes, loc and scale, as SciPy calls them and in that order, without a loc of 0 and a scale of 1;
        :func:`distribution` brings them into this form
    """

    name: str
    numbers: tuple[tuple[str, float], ...]

    @cached_property
    def frozen(self) -> Any:
        """The frozen distribution of SciPy."""
        import scipy.stats  # here and not at the top: it takes longer to import than this package

        return getattr(scipy.stats, self.name)(**dict(self.numbers))

    @cached_property
    def support(self) -> tuple[float, float]:
        """The smallest and the largest value, as rounded by SciPy."""
        low, high = self.frozen.support()
        return float(low), float(high)

    def points(self, unit: np.ndarray) -> np.ndarray:
        """Return the quantiles (M,) of probabilities (M,)."""
        return np.asarray(self.frozen.ppf(unit), dtype=float)

    def unit(self, points: np.ndarray) -> np.ndarray:
        """Return the probabilities (M,) below values (M,)."""
        return np.asarray(self.frozen.cdf(points), dtype=float)

    def log_density(self, points: np.ndarray) -> np.ndarray:
        """Return the logarithm (M,) of the density at values (M,); minus infinity outside the support."""
        with np.errstate(divide="ignore"):
            return np.asarray(self.frozen.logpdf(points), dtype=float)

    def described(self) -> dict[str, Any]:
        """Return {"name": .., shape: number, ..}, as files and model files in TOML have it."""
        return {"name": self.name, **dict(self.numbers)}

    def __str__(self) -> str:
        return f"{self.name}({', '.join(f'{key}={number:g}' for key, number in self.numbers)})"

    def __getstate__(self) -> dict[str, Any]:
        """Return the state for pickle, without SciPy's object, which is made again."""
        return {"name": self.name, "numbers": self.numbers}


def is_distribution(given: Any) -> bool:
    """Return whether something is meant as a distribution, of whatever kind."""
    return isinstance(given, Distribution) or any(callable(getattr(given, key, None)) for key in ("ppf", "icdf", "rvs"))


def distribution(parameter: str, given: Any) -> Distribution:
    """Return the distribution of a parameter, from a frozen one of scipy.stats or {"name": .., shape: number, ..}.

    Raises ParameterError, with the reason, for one that is unbounded, discrete, of several dimensions, not in
    scipy.stats under a name, or whose numbers are not allowed.
    """
    if isinstance(given, Distribution):
        given = given.described()
    if isinstance(given, Mapping):
        name, numbers = given.get("name"), {k: v for k, v in given.items() if k != "name"}
        family = _family(parameter, name)
    else:
        name, numbers, family = _frozen(parameter, given)
    allowed = {*_shapes(family), "loc", "scale"}
    if unknown := [k for k in numbers if k not in allowed]:
        raise ParameterError(
            f"the distribution {name} of {parameter} has no {unknown[0]!r}; its numbers are "
            f"{', '.join(sorted(allowed))}"
        )
    if missing := [k for k in _shapes(family) if k not in numbers]:
        raise ParameterError(f"the distribution {name} of {parameter} needs {', '.join(missing)}")
    given_numbers = {k: _number(parameter, name, k, numbers[k]) for k in numbers}
    made = Distribution(str(name), _ordered(family, given_numbers))
    try:
        low, high = made.support
        middle = float(made.frozen.ppf(0.5))
    except (ValueError, TypeError) as error:
        raise ParameterError(f"{parameter} ~ {made}: SciPy refuses these numbers: {error}") from error
    if np.isnan(low) or np.isnan(high) or np.isnan(middle):
        raise ParameterError(f"{parameter} ~ {made}: SciPy allows no such shapes, or no such scale")
    if not (np.isfinite(low) and np.isfinite(high)):
        raise ParameterError(
            f"{parameter} ~ {made} is unbounded, its support is [{low:g}, {high:g}]: error bounds are certified on a "
            f"box and nowhere else. Cut it: {BOUNDED}"
        )
    return made


def apart(ranges: Mapping[str, Any], given: Any) -> tuple[dict[str, Any], Any]:
    """Return ranges, and distributions with those that stand in the place of a range; its support is the range then.

    Raises ParameterError as :func:`distribution`, and for a parameter that has two.
    """
    here = {name: distribution(str(name), one) for name, one in ranges.items() if is_distribution(one)}
    if not here or not (given is None or isinstance(given, Mapping)):
        return dict(ranges), given
    more = dict(given or {})
    if twice := here.keys() & more.keys():
        raise ParameterError(f"{min(twice)} has a distribution in place of its range, and another in `distributions`")
    return {name: here[name].support if name in here else limits for name, limits in ranges.items()}, {**here, **more}


def read_distributions(
    given: Any, names: Iterable[str], pairs: Iterable[tuple[float, float]]
) -> dict[str, Distribution]:
    """Return {parameter: distribution}, checked against the ranges.

    Raises ParameterError for other names, and for a support that is not inside the range.
    """
    if given is None:
        return {}
    if not isinstance(given, Mapping):
        raise ParameterError(
            f"distributions must be a dictionary {{'name': scipy.stats.beta(2, 5)}}, one for each parameter, got a "
            f"{type(given).__name__}; parameters are independent"
        )
    ranges = dict(zip(names, pairs, strict=True))
    made = {}
    for name, one in given.items():
        if name not in ranges:
            raise ParameterError(f"distributions name {name!r}, which is no parameter; they are {', '.join(ranges)}")
        made[name] = distribution(name, one)
        (low, high), (a, b) = ranges[name], made[name].support
        slack = ROUNDED * max(abs(low), abs(high))
        if a < low - slack or b > high + slack:
            raise ParameterError(
                f"{name} ~ {made[name]} lives on [{a:g}, {b:g}], which is not inside the range [{low:g}, {high:g}]; "
                "make the range wider, or cut the distribution"
            )
    return {name: made[name] for name in ranges if name in made}


def _family(parameter: str, name: Any) -> Any:
    """Return the distribution of that name in scipy.stats."""
    import scipy.stats

    family = getattr(scipy.stats, name, None) if isinstance(name, str) and not name.startswith("_") else None
    if isinstance(family, scipy.stats.rv_discrete):
        raise ParameterError(f"{parameter} ~ {name} is discrete; a parameter is a real number, and needs a density")
    if not isinstance(family, scipy.stats.rv_continuous):
        raise ParameterError(f"{parameter}: scipy.stats has no continuous distribution {name!r}")
    return family


def _frozen(parameter: str, given: Any) -> tuple[str, dict[str, Any], Any]:
    """Return name, numbers and family of a distribution of SciPy, frozen or without shapes."""
    import scipy.stats

    family = getattr(given, "dist", given)
    name = getattr(family, "name", type(given).__name__)
    if isinstance(family, scipy.stats.rv_discrete):
        raise ParameterError(f"{parameter} ~ {name} is discrete; a parameter is a real number, and needs a density")
    if not isinstance(family, scipy.stats.rv_continuous):
        several = getattr(given, "dim", None) or (getattr(given, "mean", None) is not None and np.ndim(given.mean) > 0)
        why = "is about several variables: give one distribution for each parameter, they are independent"
        if not several:
            why = (
                "is no frozen distribution of scipy.stats, such as scipy.stats.beta(2, 5, loc=0.1, scale=9.9); a file "
                "could not hold it"
            )
        raise ParameterError(f"the distribution of {parameter}, a {type(given).__name__}, {why}")
    if _family(parameter, name) is not family and type(_family(parameter, name)) is not type(family):
        raise ParameterError(
            f"the distribution of {parameter} is one of your own called {name!r}, which no file could hold; those of "
            "scipy.stats are known by name"
        )
    arguments = list(getattr(given, "args", ()))
    numbers = dict(zip((*_shapes(family), "loc", "scale"), arguments, strict=False))
    return name, {**numbers, **getattr(given, "kwds", {})}, family


def _ordered(family: Any, numbers: Mapping[str, float]) -> tuple[tuple[str, float], ...]:
    """Return the numbers in one order, without those that have SciPy's default, so that what is equal compares so."""
    kept = {k: number for k, number in numbers.items() if number != {"loc": 0.0, "scale": 1.0}.get(k)}
    return tuple((k, kept[k] + 0.0) for k in (*_shapes(family), "loc", "scale") if k in kept)  # + 0.0: no minus zero


def _shapes(family: Any) -> tuple[str, ...]:
    return tuple(family.shapes.replace(",", " ").split()) if family.shapes else ()


def _number(parameter: str, name: Any, key: str, given: Any) -> float:
    array = np.asarray(given)
    if array.ndim and array.size != 1:
        raise ParameterError(
            f"{key} of the distribution {name} of {parameter} has shape {array.shape}; a parameter is one number: give "
            "each its own distribution"
        )
    if isinstance(given, bool) or array.dtype.kind not in "iuf" or not np.all(np.isfinite(array)):
        raise ParameterError(f"{key} of the distribution {name} of {parameter} must be a finite number, got {given!r}")
    return float(array.reshape(()))
