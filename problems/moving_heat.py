"""A source of heat that moves over a plate, seen from the source."""

from __future__ import annotations

from typing import Any

import numpy as np

from problems.interval import Interval, on_rectangle
from problems.user_input import whole_number
from rbm.parameters.space import ParameterSpace
from rbm.time.model import TimeModel

__all__ = ["moving_heat", "moving_heat_nodes"]

LENGTH, WIDTH = 2.0, 1.0
#: The source: the intervals in x and in y of the rectangle that is heated.
SOURCE = ((0.4, 0.6), (0.4, 0.6))
#: Rectangles over which the temperature is averaged.
SENSORS = {
    "ahead": ((0.2, 0.3), (0.45, 0.55)),
    "below": SOURCE,
    "behind": ((1.2, 1.3), (0.45, 0.55)),
    "beside": ((0.45, 0.55), (0.8, 0.9)),
}


def moving_heat(
    n: int = 30, *, dt: float = 0.02, steps: int = 100, control: Any = None, theta: float = 1.0, periodic: bool = False
) -> TimeModel:
    """Heat u_t - k Laplace(u) + v u_x = g(t) f of a source that moves along a plate 2 x 1, u = 0 at first.

    n : bilinear squares across the plate, at least 2; the 2 n (n + 1) unknowns are the values at the nodes, x first,
        without those of the front edge x = 0
    dt, steps, theta : length of a step, their number K, and the scheme, as for :class:`rbm.TimeModel`
    control : power g (K,) of the source, ones by default
    periodic : the state that returns after K steps, under a source whose power does, in place of a start from zero;
        ``moving_heat(8, steps=20, control=g, periodic=True).space_time("k")`` is its model, for :func:`rbm.greedy`

    The frame is that of the source, which rests on (0.4, 0.6)^2 and moves over the plate in the direction of -x with
    the speed v: the plate comes in cold at x = 0, where u = 0, and leaves at x = 2, where u_x = 0, as on the sides
    u_y = 0. f is one over the area of the source, on it, and its integral is 1.

    Parameters: diffusivity k in [0.05, 0.5] and speed v in [0, 2]. A(mu) = k K + v C with P = K; from
    (C w, w) = (w, w)_{x = 2} / 2 >= 0 follows (A w, w) >= k ||w||_P^2, so that k bounds the coercivity constant.

    Outputs: means of the temperature "below" the source, "ahead" of it, "behind" it (where the plate was heated about
    0.75 / v before) and "beside" it.

    Raises ModelError for fewer than two squares, and what :class:`rbm.TimeModel` raises.

    Examples
    --------
    >>> moving_heat(4)
    TimeModel(100 steps of 0.02, implicit Euler, of FullOrderModel(40 unknowns, real, 2 operator and 1 right-hand side \
terms, ParameterSpace(k in [0.05, 0.5], v in [0, 2], linear), outputs ahead, below, behind, beside))
    """
    across = Interval(whole_number("n", n, least=2), WIDTH)
    along = Interval(2 * across.cells, LENGTH)
    inner = slice(1, None)
    stiffness, mass, transport = (a[inner, inner] for a in (along.stiffness, along.mass, along.transport))

    def mean(rectangle: tuple[tuple[float, float], tuple[float, float]]) -> np.ndarray:
        (left, right), (low, high) = rectangle
        parts = along.load(left, right)[inner] / (right - left), across.load(low, high) / (high - low)
        made: np.ndarray = on_rectangle(*parts)
        return made

    product = on_rectangle(stiffness, across.mass) + on_rectangle(mass, across.stiffness)
    return TimeModel(
        mass=on_rectangle(mass, across.mass),
        operators=[("k", product), ("v", on_rectangle(transport, across.mass))],
        rhs=[(1.0, mean(SOURCE))],
        product=product,
        parameters=ParameterSpace({"k": (0.05, 0.5), "v": (0.0, 2.0)}),
        stability="k",
        dt=dt,
        steps=steps,
        control=control,
        theta=theta,
        periodic=periodic,
        outputs={name: mean(window) for name, window in SENSORS.items()},
    )


def moving_heat_nodes(n: int = 30) -> np.ndarray:
    """The nodes (2, 2 n (n + 1)) of :func:`moving_heat`, one an unknown, for figures and films.

    >>> moving_heat_nodes(2)[:, :5]
    array([[0.5, 1. , 1.5, 2. , 0.5],
           [0. , 0. , 0. , 0. , 0.5]])
    """
    n = whole_number("n", n, least=2)
    x, y = np.meshgrid(Interval(2 * n, LENGTH).nodes[1:], Interval(n, WIDTH).nodes)
    return np.array([x.ravel(), y.ravel()])
