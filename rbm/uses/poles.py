"""Poles of a reduced model: intervals of its parameter that certainly hold a resonance of the full model."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, TypeGuard

import numpy as np

from rbm.errors import ModelError
from rbm.full_order import FullOrderModel
from rbm.reduced.model import ReducedModel
from rbm.stability.pencil import BoundPencil
from rbm.uses.enclosures import Group, Spectrum, grouped, sharpened
from rbm.uses.known_spectrum import at_least, counted, of_bound, of_groups
from rbm.uses.pencil_path import PencilPath, path_of
from rbm.uses.ritz_pairs import RitzPairs, ritz_pairs

__all__ = ["Poles", "found_poles", "poles"]


@dataclass(frozen=True)
class Poles:
    """Disjoint intervals of a parameter, each with a pole of the full model: ``values, radii = rbm.poles(reduced)``.

    `intervals[i]` holds at least `holds[i]` poles, counted as often as they occur (exactly, where `complete`).
    """

    parameter: str  #: its name
    range: tuple[float, float]  #: where poles were looked for
    intervals: np.ndarray  #: (k, 2) of the parameter, increasing
    holds: np.ndarray  #: (k,) how many poles, at least
    eigenvalues: np.ndarray  #: (k, 2) intervals of lambda, K v = lambda M v, for the same poles
    coefficients: np.ndarray  #: (K, N) of the modes in the reduced basis, of P-norm one
    owner: np.ndarray  #: (K,) the interval that each mode belongs to
    number: int | None  #: how many poles the full model has in the range; None if that was not counted, or is open
    missing: np.ndarray | None  #: (j, 2) intervals of poles that the reduced model does not see; None where not known
    undecided: int  #: reduced eigenvalues in the range that show nothing: residuals too large, or at an end of it
    damped: bool = False  #: True for resonances of a damped model, at which A(mu) is not singular

    @property
    def values(self) -> np.ndarray:
        """The middles (k,) of the intervals."""
        return np.asarray(self.intervals.mean(axis=1))

    @property
    def radii(self) -> np.ndarray:
        """Half the lengths (k,) of the intervals, rounded up."""
        middle = self.values
        return np.asarray(np.nextafter(np.max(np.abs(self.intervals - middle[:, None]), axis=1), np.inf))

    @property
    def complete(self) -> bool:
        """True if it is proved that all poles of the full model in the range lie in these intervals."""
        return self.number is not None and int(self.holds.sum()) == self.number

    def check_complete(self) -> Poles:
        """Return these poles; raise ModelError where it is not proved that they are all."""
        if self.complete:
            return self
        low, high = self.range
        at = f"{self.parameter} in [{low:g}, {high:g}]"
        if self.number is None:
            raise ModelError(
                f"how many poles the full model has for {at} is not known: give full_model=, or make the model with "
                "stability=rbm.stability.Pencil(), with a cut beyond them"
            )
        where = "" if self.missing is None or not len(self.missing) else f", at {_listed(self.missing.mean(axis=1))}"
        raise ModelError(
            f"the full model has {self.number} poles for {at}, of which the reduced model shows {int(self.holds.sum())}"
            f"; missing{where or ' are others'}: their modes are not in its basis, since nothing in f excites them, or "
            "no training point was near"
        )

    def __iter__(self) -> Iterator[np.ndarray]:
        """Yield values and radii."""
        return iter((self.values, self.radii))

    def __len__(self) -> int:
        return len(self.intervals)

    def __repr__(self) -> str:
        known = "number not known" if self.number is None else f"{int(self.holds.sum())} of {self.number} poles"
        widest = f", radii up to {self.radii.max():.2g}" if len(self) else ""
        low, high = self.range
        return f"Poles({len(self)} intervals, {known}, {self.parameter} in [{low:g}, {high:g}]{widest})"


def poles(
    reduced: ReducedModel,
    range: Any = None,
    *,
    full_model: FullOrderModel | None = None,
    stiffness: int = 0,
    mass: int = 1,
    damped: bool = False,
) -> Poles:
    """Return intervals of the parameter in which the full model A(mu) = a(mu) K + b(mu) M is certainly singular.

    From eigenpairs (t, v) of the pencil on the reduced basis: some eigenvalue of B v = t P v is within
    ||(B - t P) v||_{P'} / ||v||_P of t, and within its square over the distance from all others, where these are known.

    reduced : of one parameter, real K, M or Hermitian ones, P = p K + q M, with the estimator "orthonormal"
    range : (low, high) of the parameter, inside that of the model, which is the default
    full_model : the model it was made from, for counts of its eigenvalues; not needed where its stability bound is
        :class:`rbm.stability.Pencil`, whose eigenvalues come with the reduced model
    stiffness, mass : the numbers of the operator terms K and M
    damped : for complex a and b, the resonances: where the real part of -b / a is an eigenvalue of K v = lambda M v.
        A(mu) is not singular there; the poles themselves are complex

    Raises ModelError for several parameters, a model that is no pencil, one that is damped, a path -b / a that turns
    back within the range, a range without poles; ParameterError for a range outside the model's. Formulas, proofs, what
    is measured: docs/poles.md. Cost: N^3, and two factorisations of the full model if it is given.

    Examples
    --------
    >>> import numpy as np, rbm
    >>> k, m = np.diag([1.0, 4.0, 9.0, 400.0]), np.eye(4)
    >>> model = rbm.FullOrderModel([(1.0, k), ("-w**2", m)], [(1.0, np.ones(4))], k + m, {"w": (0.5, 3.5)},
    ...     rbm.stability.Pencil(), projection="least-squares")
    >>> reduced = rbm.greedy(model, [[0.6], [1.5], [2.5], [3.4]], tol=1e-9).reduced_model
    >>> values, radii = rbm.poles(reduced)
    >>> values.round(6), bool(radii.max() < 1e-6)
    (array([1., 2., 3.]), True)
    """
    made = found_poles(reduced, range, full_model=full_model, stiffness=stiffness, mass=mass, damped=damped)
    if len(made):
        return made
    low, high = made.range
    at = f"{made.parameter} in [{low:g}, {high:g}]"
    if made.number == 0:
        raise ModelError(f"there is no pole for {at}: the full model has no eigenvalue there, which is proved")
    known = "" if made.number is None else f"; the full model has {made.number} there, whose modes are not in the basis"
    unsure = f"; {made.undecided} reduced eigenvalues there show nothing" if made.undecided else ""
    raise ModelError(f"the reduced model shows no pole for {at}{known}{unsure}")


def found_poles(
    reduced: ReducedModel,
    range_: Any = None,
    *,
    full_model: FullOrderModel | None = None,
    stiffness: int = 0,
    mass: int = 1,
    damped: bool = False,
) -> Poles:
    """Return what :func:`poles` does, also where there is none."""
    if not isinstance(reduced, ReducedModel):
        ways = "each of its leaves has its own" if hasattr(reduced, "leaves") else "rbm.greedy makes one"
        raise ModelError(f"poles asks a reduced model, got a {type(reduced).__name__}; {ways}")
    if full_model is not None and not isinstance(full_model, FullOrderModel):
        raise ModelError(f"full_model must be a rbm.FullOrderModel, got a {type(full_model).__name__}")
    if not isinstance(reduced.operators, np.ndarray):
        reduced = reduced.to("numpy")
    path, terms = path_of(reduced, range_, full_model, stiffness, mass, damped)
    low, high = path.ends
    pairs = ritz_pairs(reduced, path)
    wanted = np.flatnonzero((pairs.values > low) & (pairs.values < high))
    groups = grouped(pairs, wanted)
    spectrum = of_bound(reduced.stability, low, high) if _is_of(reduced.stability, path) else None
    number: int | None = None
    if spectrum is None and terms is not None:
        assert full_model is not None
        count = counted(terms, full_model.inner_product, *path.outer_ends)
        spectrum, number = of_groups(count, groups), count.number
    groups = sharpened(groups, pairs, spectrum)
    inside = [g for g in groups if low < g.low and g.high < high]
    if number and terms is not None and full_model is not None and number != sum(g.holds for g in inside):
        # an eigenvalue that was counted may lie between the end of the range and the shifted one
        number = number if at_least(terms, full_model.inner_product, low, high) == number else None
    missing = None
    if spectrum is not None and np.isinf([spectrum.low, spectrum.high]).any():  # of the stability bound: for all ranges
        number, missing = _within(spectrum, path), _missing(spectrum, inside, low, high)
    return _poles(path, pairs, inside, number, missing, len(wanted) - sum(g.holds for g in inside))


def _is_of(bound: Any, path: PencilPath) -> TypeGuard[BoundPencil]:
    """Return whether a stability bound is that of the same pencil: its eigenvalues are those of the path."""
    return (
        isinstance(bound, BoundPencil)
        and np.array_equal(bound.alphas, path.alphas)
        and np.array_equal(bound.kappas, path.kappas)
    )


def _within(spectrum: Spectrum, path: PencilPath) -> int | None:
    """Return the number of eigenvalues that the range meets, None if one of them may be at an end."""
    first, last = spectrum.intervals.T
    (low, high), (lowest, highest) = path.ends, path.outer_ends
    if np.any((first <= low) & (lowest <= last)) or np.any((first <= highest) & (high <= last)):
        return None
    return int(spectrum.numbers[(first > low) & (last < high)].sum())


def _missing(spectrum: Spectrum, groups: list[Group], low: float, high: float) -> np.ndarray:
    """Return the intervals of eigenvalues (j, 2) of which the groups do not hold as many as there are."""
    ends = np.array([[g.low, g.high] for g in groups]).reshape(-1, 2)
    holds = np.array([g.holds for g in groups], dtype=int)
    left: list[np.ndarray] = []
    for (a, b), number in zip(spectrum.intervals, spectrum.numbers, strict=True):
        if not (low < a and b < high):
            continue
        here = (ends[:, 0] <= b) & (ends[:, 1] >= a)
        of_groups_here = np.any(
            (spectrum.intervals[:, None, 0] <= ends[here][:, 1]) & (spectrum.intervals[:, None, 1] >= ends[here][:, 0]),
            axis=1,
        )
        known = int(spectrum.numbers[of_groups_here].sum()) if np.any(here) else int(number)
        if holds[here].sum() < known:
            left.append(np.array([a, b]))
    return np.array(left).reshape(-1, 2)


def _poles(
    path: PencilPath, pairs: RitzPairs, groups: list[Group], number: int | None, missing: np.ndarray | None, left: int
) -> Poles:
    """Return the groups of eigenvalues t as poles of the parameter, in its order."""
    ends = np.array([[g.low, g.high] for g in groups]).reshape(-1, 2)
    intervals = path.parameters(ends)
    order = np.argsort(intervals[:, 0], kind="stable")
    members = [(i, j) for i, g in enumerate(order) for j in groups[g].members]
    return Poles(
        parameter=path.space.names[0],
        range=path.range,
        intervals=intervals[order],
        holds=np.array([groups[g].holds for g in order], dtype=int),
        eigenvalues=path.eigenvalues(ends)[order],
        coefficients=pairs.coefficients[[j for _, j in members]].reshape(-1, pairs.coefficients.shape[1]),
        owner=np.array([i for i, _ in members], dtype=int),
        number=number,
        missing=None if missing is None else np.sort(path.parameters(missing), axis=0),
        undecided=left,
        damped=path.damped,
    )


def _listed(values: np.ndarray) -> str:
    some = ", ".join(f"{v:.6g}" for v in values[:5])
    return some + (f" and {len(values) - 5} more" if len(values) > 5 else "")
