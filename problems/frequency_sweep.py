"""Sound in a rectangle over a range of wavenumbers: a duct that is driven at its end, and a cavity."""

from __future__ import annotations

from dataclasses import dataclass
from numbers import Real
from typing import Any, Literal, get_args

import numpy as np
import scipy.sparse as sp

from problems.interval import Interval, on_rectangle
from problems.user_input import whole_number
from rbm.arithmetic.precision import ROUND_OFF
from rbm.errors import ModelError
from rbm.full_order import FullOrderModel
from rbm.parameters.space import ParameterSpace
from rbm.stability.bound import StabilityBound, Unbound
from rbm.stability.natural_norm import NaturalNorm
from rbm.stability.pencil import Pencil

__all__ = ["duct_pressure", "frequency_sweep", "frequency_sweep_grid", "resonant_wavenumbers"]

Shape = Literal["duct", "cavity"]


@dataclass(frozen=True)
class Domain:
    """A rectangle, and the parts of its left and of its right wall that sound and listen, as shares of their height."""

    size: tuple[float, float]
    source: tuple[float, float]
    receiver: tuple[float, float]


#: The duct is driven over its whole end, so that its sound is a plane wave; the cavity in a corner, which excites all.
DOMAINS: dict[str, Domain] = {
    "duct": Domain((4.0, 0.25), (0.0, 1.0), (0.0, 1.0)),
    "cavity": Domain((1.0, 0.8), (0.0, 0.15), (0.85, 1.0)),
}
#: Entries of the matrices are right to this, relative to the sums of absolute values they are made of.
ENTRIES = 32 * ROUND_OFF


def frequency_sweep(
    domain: Shape = "cavity",
    n: int = 15_000,
    damping: float = 0.01,
    admittance: float | tuple[float, float] = 0.0,
    wavenumbers: tuple[float, float] = (2.0, 20.0),
    size: tuple[float, float] | None = None,
    stability: Unbound | StabilityBound | str | float | None = None,
) -> FullOrderModel:
    """Sound pressure, Laplace(p) + k^2 (1 + i damping) p = 0 in a rectangle, driven at its left wall.

    On the driven part of the left wall dp/dn = 1, on the right wall dp/dn = i k admittance p, and dp/dn = 0 elsewhere
    (hard walls); time dependence e^{-i omega t}. All resonances of the rectangle lie near the real axis:
    :func:`resonant_wavenumbers`.

    domain : "duct", 4 x 0.25, driven over its whole end, for which :func:`duct_pressure` is the closed form; "cavity",
        1 x 0.8, driven on the lower 15 % of the wall
    n : about so many unknowns, the nodes of a grid of bilinear elements that are as square as possible
        (:func:`frequency_sweep_grid`)
    damping : hysteretic loss factor, at least 0
    admittance : of the right wall, at least 0: a number, or a range, which makes it the second parameter "admittance";
        0 is a hard wall, 1 lets a plane wave out
    wavenumbers : range of the parameter "k", from above 0
    size : length and height, if not those of the domain
    stability : another bound, if not that of the table

    Affine form A(mu) = K - k^2 (1 + i damping) M - i k admittance B with stiffness K, mass M and the mass B of the
    right wall, f parameter-free; P = K + M, so that ||v||_P is the H1 norm.

    | damping | right wall | stability bound |
    |---|---|---|
    | any | hard | :class:`rbm.stability.Pencil`: the constant itself |
    | positive | admittance | damping k^2 / ((1 + k^2)^2 + (damping k^2)^2)^{1/2} =: beta_0, flat over resonances |
    | none | admittance | :class:`rbm.stability.NaturalNorm`: many anchors, so for narrow ranges and few unknowns |

    beta_0 is the least |lambda - k^2 (1 + i damping)| / (lambda + 1) over all real lambda >= 0. Some e^{i phi},
    0 < phi < pi / 2, turns its minimiser into a positive number, so that |v^H A v| >= Re e^{i phi} v^H A v >= beta_0
    ||v||_P^2; an admittance only adds to that, as Re e^{i phi} (-i) = sin(phi) > 0. The rounding of the matrices is
    subtracted. The true constant is larger between resonances. Natural norms take 65 anchors and 90 CPU seconds for
    k in [2, 6], an admittance in [0.2, 1] and 365 unknowns.

    Outputs "source" and "receiver": mean pressure on the driven part, and on the right wall (cavity: its upper 15 %).
    Projection "least-squares", as A(mu) is not coercive.

    Raises ModelError for an unknown domain and for numbers that are negative or none; StabilityError online at an
    undamped resonance.

    Examples
    --------
    >>> frequency_sweep("duct", n=200)
    FullOrderModel(200 unknowns, complex, 2 operator and 1 right-hand side terms, \
ParameterSpace(k in [2, 20], linear), outputs source, receiver)
    """
    x, y = _sides(domain, n, size)
    chosen = DOMAINS[domain]
    loss = _number("damping", damping)
    absorbing = _admittance(admittance)
    low, high = _pair("wavenumbers", wavenumbers)
    if not low > 0:
        raise ModelError(f"wavenumbers must be positive, got {wavenumbers!r}")

    def on_wall(end: int, part: tuple[float, float]) -> np.ndarray:
        return on_rectangle(x.end(end), y.load(*(share * y.length for share in part)))

    stiffness = on_rectangle(x.stiffness, y.mass) + on_rectangle(x.mass, y.stiffness)
    mass = on_rectangle(x.mass, y.mass)
    operators: list[tuple[Any, Any]] = [(1.0, stiffness), (f"-k**2 * (1 + {loss!r}j)" if loss else "-k**2", mass)]
    ranges = {"k": (low, high)}
    factor = None
    if absorbing is not None:
        if isinstance(absorbing, tuple):
            ranges["admittance"] = absorbing
        factor = "admittance" if isinstance(absorbing, tuple) else repr(absorbing)
        last = sp.csr_array(([1.0], ([x.cells], [x.cells])), shape=(x.cells + 1, x.cells + 1))
        operators.append((f"-1j * k * {factor}", on_rectangle(last, y.mass)))
    source = on_wall(0, chosen.source)
    return FullOrderModel(
        operators=operators,
        rhs=[(1.0, source)],
        product=stiffness + mass,
        parameters=ParameterSpace(ranges),
        stability=_stability(loss, factor, x, y) if stability is None else stability,
        outputs={
            name: wall / wall.sum() for name, wall in (("source", source), ("receiver", on_wall(-1, chosen.receiver)))
        },
        projection="least-squares",
    )


def _stability(loss: float, admittance: str | None, x: Interval, y: Interval) -> Unbound | str:
    """Return the bound of the table.

    What rounding takes is counted in units of the smallest eigenvalue of P, at least x.h y.h / 36, that of M: of the
    norms 4 y.h / x.h + 4 x.h / y.h of K, x.h y.h of M, and y.h of B, all at most.
    """
    if admittance is None:
        return Pencil()
    if not loss:
        return NaturalNorm()
    of_stiffness, of_wall = 144 * (x.h**-2 + y.h**-2), 36 / x.h
    rounding = f"{ENTRIES!r} * ({of_stiffness!r} + 36 * k**2 + {of_wall!r} * k * {admittance})"
    return f"{loss!r} * k**2 / sqrt((1 + k**2)**2 + ({loss!r} * k**2)**2) - {rounding}"


def frequency_sweep_grid(
    domain: Shape = "cavity", n: int = 15_000, size: tuple[float, float] | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Return the coordinates x (I,) and y (J,) of the grid of :func:`frequency_sweep`, from the same arguments.

    Its unknowns are the values at the nodes (x_i, y_j), x first: ``u.reshape(J, I)[j, i]``.

    Raises ModelError for an unknown domain, and a size that is not positive.
    """
    x, y = _sides(domain, n, size)
    return x.nodes, y.nodes


def _sides(domain: Any, n: Any, size: Any) -> tuple[Interval, Interval]:
    """Return the sides of a grid with about n nodes: (a / h + 1) (b / h + 1) = n, solved for 1 / h."""
    if domain not in get_args(Shape):
        raise ModelError(f"domain must be one of {', '.join(map(repr, get_args(Shape)))}, got {domain!r}")
    n = whole_number("n", n, least=4)
    a, b = _pair("size", DOMAINS[domain].size if size is None else size)
    if not min(a, b) > 0:
        raise ModelError(f"size must be positive, got {size!r}")
    per_unit = 2 * (n - 1) / (a + b + np.sqrt((a + b) ** 2 + 4 * a * b * (n - 1)))
    x, y = (Interval(max(1, round(side * per_unit)), side) for side in (a, b))
    return x, y


def _number(name: str, value: Any) -> float:
    if not isinstance(value, Real) or isinstance(value, bool) or not 0 <= float(value) < np.inf:
        raise ModelError(f"{name} must be a number of at least 0, got {value!r}")
    return float(value)


def _pair(name: str, value: Any) -> tuple[float, float]:
    if not (isinstance(value, tuple | list) and len(value) == 2):
        raise ModelError(f"{name} must be a pair of numbers, got {value!r}")
    return _number(name, value[0]), _number(name, value[1])


def _admittance(value: Any) -> float | tuple[float, float] | None:
    """Return a number, a range, or None for a hard wall."""
    if isinstance(value, tuple | list):
        return _pair("admittance", value)
    return _number("admittance", value) or None


def resonant_wavenumbers(size: tuple[float, float], highest: float) -> np.ndarray:
    """Return the wavenumbers (K,) up to `highest` at which an undamped rectangle with hard walls resonates, sorted.

    They are pi (i^2 / a^2 + j^2 / b^2)^{1/2} for i, j = 0, 1, 2, ..; 0, the constant pressure, is the first. Those of
    :func:`frequency_sweep` are larger, by a share of at most (k h)^2 / 24 with the length h of its elements.
    """
    a, b = size
    i, j = (np.arange(int(highest * side / np.pi) + 2) for side in size)
    found = np.pi * np.hypot(i[:, None] / a, j / b).ravel()
    return np.sort(found[found <= highest])


def duct_pressure(
    x: Any, k: Any, damping: float = 0.01, admittance: float = 0.0, length: float = DOMAINS["duct"].size[0]
) -> np.ndarray:
    """Return the pressure p(x) in a duct that is driven over its whole end x = 0: the closed form.

    p'' + kappa^2 p = 0 with kappa = k (1 + i damping)^{1/2}, -p'(0) = 1 and p'(length) = i k admittance p(length):
    p = -(cos(kappa q) - i (k admittance / kappa) sin(kappa q)) / (kappa sin(kappa length) + i k admittance cos(kappa
    length)), q = length - x.

    x, k : arrays or numbers, combined as NumPy does, x (J,) and k (K, 1) to (K, J); k > 0
    """
    k = np.asarray(k, dtype=float)
    kappa = k * np.sqrt(1 + 1j * damping)
    q = length - np.asarray(x, dtype=float)
    below = kappa * np.sin(kappa * length) + 1j * k * admittance * np.cos(kappa * length)
    return -(np.cos(kappa * q) - 1j * (k * admittance / kappa) * np.sin(kappa * q)) / below
