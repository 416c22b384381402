"""Models and training sets for the estimators that interpolate, E3 and E4: what users give them, good or not."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

import rbm
from benchmarks.random_models.case import Case, Term
from benchmarks.random_models.kit import Kit

__all__ = ["TRAINING", "estimator_case", "space_of", "unseen"]

#: Coefficients of one parameter x, for x > 0.
SHAPES = ("{x}", "{x}", "1 / (1 + {x})", "exp(-{x} / {s})", "{x}**2", "cos(3 * {x} / {s})", "sqrt({x})")
RANGES = ((0.5, 2.0), (1.0, 10.0), (1.0, 1000.0), (0.01, 100.0), (3.0, 3.5))


def estimator_case(rng: np.random.Generator) -> tuple[Case, rbm.ParameterSpace]:
    """A real or complex model of one to three parameters.

    Galerkin or least squares, on one to four solutions or random vectors.
    """
    kit = Kit.draw(rng, sizes=(3, 8), complex_share=0.4, decades=3.0)
    p = int(rng.integers(1, 4))
    ranges = {f"mu{j}": RANGES[int(rng.integers(len(RANGES)))] for j in range(p)}
    if p > 1 and rng.uniform() < 0.1:
        ranges["mu0"] = (2.0, 2.0)  # a parameter that is fixed
    operators: list[Term] = [(1.0, kit.given(kit.positive(0.5, 2.0)))]
    for j, (_, high) in enumerate(ranges.values()):
        shape = SHAPES[int(rng.integers(len(SHAPES)))].format(x=f"mu{j}", s=high)
        if kit.complex_valued and rng.uniform() < 0.5:
            shape = f"({shape}) * (1 + 0.5j)"
        # one in six: A(mu) is nearly singular at some points of the space, and solutions are large there
        resonant = rng.uniform() < 1 / 6
        part = kit.indefinite() if resonant else kit.positive(0.0, 1.0, rank=int(rng.integers(1, kit.n + 1)))
        operators.append((shape, part if rng.uniform() < 0.8 else part + kit.any(0.1)))
    rhs: list[Term] = [(1.0, kit.functional())]
    if rng.uniform() < 0.4:
        rhs.append((("exp(2j*mu0)" if kit.complex_valued else "cos(2*mu0)"), kit.functional()))
    scale = "log" if rng.uniform() < 0.3 else "linear"
    space = rbm.ParameterSpace(ranges, scale=scale)  # type: ignore[arg-type]
    size = int(rng.integers(1, min(kit.n, 5)))
    case = Case(
        operators,
        rhs,
        kit.given(kit.product),
        ranges,
        kit.vectors(size) if rng.uniform() < 0.3 else None,
        1.0,
        projection="galerkin" if rng.uniform() < 0.5 else "least-squares",
        snapshots=space.sample(size, "random", rng=rng),
    )
    return case, space


def space_of(low: np.ndarray, high: np.ndarray, unit: np.ndarray) -> np.ndarray:
    """Points of a box from points (M, p) of the unit cube."""
    return np.clip(low * (1 - unit) + high * unit, low, high)


def unseen(
    space: rbm.ParameterSpace, rng: np.random.Generator, count: int, near: np.ndarray | None = None
) -> np.ndarray:
    """Random points, even on either scale.

    Some of them are near an end of a range or at it, or near to points `near` (k, p).
    """
    low, high = space.bounds.T
    unit = rng.random((count, len(low)))
    unit = np.where(rng.random(unit.shape) < 0.1, unit**6, unit)
    unit = np.where(rng.random(unit.shape) < 0.1, np.round(unit), unit)
    made = space_of(low, high, unit)
    made = np.where(rng.random((count, 1)) < 0.3, np.clip(low * (high / low) ** unit, low, high), made)
    if near is None:
        return made
    close = near[rng.integers(0, len(near), count)] * (
        1 + rng.choice([-1, 1], made.shape) * 10 ** rng.uniform(-7, -1, (count, 1))
    )
    return np.where(rng.random((count, 1)) < 0.2, np.clip(close, low, high), made)


Training = Callable[[rbm.ParameterSpace, np.random.Generator], np.ndarray]


def few(space: rbm.ParameterSpace, rng: np.random.Generator) -> np.ndarray:
    """Gives 1 to 12 random points."""
    return space.sample(int(rng.integers(1, 13)), "random", rng=rng)


def repeated(space: rbm.ParameterSpace, rng: np.random.Generator) -> np.ndarray:
    """1 to 40 points many times each, to the last bit or but for that."""
    points = space.sample(int(rng.integers(1, 41)), "random", rng=rng)
    rows = np.repeat(points, int(rng.integers(2, 40)), axis=0)
    if rng.uniform() < 0.3:
        rows = rows * (1 + rng.choice([0.0, 2.0**-52, 1e-13, 1e-9], rows.shape))
    return np.clip(rows[rng.permutation(len(rows))], *space.bounds.T)


def clustered(space: rbm.ParameterSpace, rng: np.random.Generator) -> np.ndarray:
    """200 points in one part of the box, sometimes a few outside it.

    The part is a corner or elsewhere, of a thousandth to a third of the box's width.
    """
    low, high = space.bounds.T
    width = 10 ** rng.uniform(-3, -0.5)
    start = rng.choice([0.0, 1.0, rng.random()], len(low)) * (1 - width)
    made = space_of(low, high, start + width * rng.random((200, len(low))))
    return np.concatenate([made, space.sample(5, "random", rng=rng)]) if rng.uniform() < 0.3 else made


def edges(space: rbm.ParameterSpace, rng: np.random.Generator) -> np.ndarray:
    """200 points, each with a coordinate at an end of its range, or all but the last."""
    low, high = space.bounds.T
    unit = rng.random((200, len(low)))
    unit[np.arange(200), rng.integers(0, len(low), 200)] = rng.integers(0, 2, 200)
    if len(low) == 1:  # two points only: near them as well
        unit = np.where(rng.random(unit.shape) < 0.5, unit, np.abs(unit - 10 ** rng.uniform(-6, -1, unit.shape)))
    return space_of(low, high, unit)


def line(space: rbm.ParameterSpace, rng: np.random.Generator) -> np.ndarray:
    """200 points on a line through the box, or in one plane of it."""
    low, high = space.bounds.T
    ends = rng.random((2, len(low)))
    if rng.uniform() < 0.5:
        ends[1, 1:] = ends[0, 1:]
    t = rng.random((200, 1))
    return space_of(low, high, ends[0] * (1 - t) + ends[1] * t)


def half(space: rbm.ParameterSpace, rng: np.random.Generator) -> np.ndarray:
    """200 points that leave out a part of the box: above some value of one parameter, or a gap in the middle."""
    low, high = space.bounds.T
    unit, j, cut = rng.random((200, len(low))), int(rng.integers(len(low))), rng.uniform(0.3, 0.9)
    unit[:, j] = (
        cut * unit[:, j]
        if rng.uniform() < 0.5
        else np.where(unit[:, j] < 0.5, unit[:, j] * (1 - cut), 1 - unit[:, j] * (1 - cut) / 2)
    )
    return space_of(low, high, unit)


def filling(space: rbm.ParameterSpace, rng: np.random.Generator) -> np.ndarray:
    """300 points that fill the box."""
    return space.sample(300, "sobol", rng=int(rng.integers(10**6)))


TRAINING: dict[str, Training] = {f.__name__: f for f in (few, repeated, clustered, edges, line, half, filling)}
