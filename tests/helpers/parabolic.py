"""Parabolic problems on the unit interval and the unit square, by tensor products of linear elements."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import numpy as np
import scipy.sparse as sp

import rbm

__all__ = ["convection", "exact_march", "heat", "line", "square", "windows"]


def line(cells: int) -> dict[str, Any]:
    """Return stiffness, mass, convection u' v and load of linear elements on (0, 1), for all nodes."""
    h, x = 1.0 / cells, np.linspace(0, 1, cells + 1)
    n = cells + 1
    local = {
        "K": np.array([[1, -1], [-1, 1]]) / h,
        "M": h * np.array([[2, 1], [1, 2]]) / 6,
        "C": np.array([[-1, 1], [-1, 1]]) / 2,
    }
    made: dict[str, Any] = {}
    for name, block in local.items():
        matrix = sp.lil_array((n, n))
        for e in range(cells):
            matrix[e : e + 2, e : e + 2] += block
        made[name] = sp.csr_array(matrix)
    load = np.full(n, h)
    load[[0, -1]] = h / 2
    return {**made, "f": load, "x": x, "h": h}


def square(cells: int) -> dict[str, Any]:
    """Return the matrices of bilinear elements on the unit square, zero on the boundary: K, M, Cx, Cy, f."""
    one = line(cells)
    K, M, C, f = (one[k] for k in "KMCf")
    inner = np.zeros(cells + 1, dtype=bool)
    inner[1:-1] = True
    free = np.flatnonzero(np.kron(inner, inner))

    def kron(a: Any, b: Any) -> Any:
        return sp.csr_array(sp.csr_array(sp.kron(a, b))[free][:, free])

    return {
        "K": sp.csr_array(kron(K, M) + kron(M, K)),
        "M": kron(M, M),
        "Cx": kron(C, M),
        "Cy": kron(M, C),
        "f": np.kron(f, f)[free],
    }


def windows(cells: int, boxes: Any) -> list[np.ndarray]:
    """Return the means over boxes (a, b, c, d), of the cells whose midpoints lie in [a, b] x [c, d]."""
    mid = (np.arange(cells) + 0.5) / cells
    inner = np.zeros(cells + 1, dtype=bool)
    inner[1:-1] = True
    free = np.flatnonzero(np.kron(inner, inner))

    def part(low: float, high: float) -> np.ndarray:
        made = np.zeros(cells + 1)
        for e in np.flatnonzero((low <= mid) & (mid <= high)):
            made[e : e + 2] += 0.5 / cells
        return made

    return [np.kron(part(a, b), part(c, d))[free] / ((b - a) * (d - c)) for a, b, c, d in boxes]


def convection(cells: int = 25, **options: Any) -> rbm.TimeModel:
    """Return example 3 of rbOOmit: -0.05 Lap u + x u_x + y u_y = 1 with u_t, 100 steps of 0.01, four outputs."""
    p = square(cells)
    boxes = ((0.72, 0.88, 0.72, 0.88), (0.12, 0.28, 0.72, 0.88), (0.12, 0.28, 0.12, 0.28), (0.72, 0.88, 0.12, 0.28))
    outputs = {f"s{k}": vector for k, vector in enumerate(windows(cells, boxes))}
    given = {
        "mass": p["M"],
        "operators": [(0.05, p["K"]), ("x", p["Cx"]), ("y", p["Cy"])],
        "rhs": [(1.0, p["f"])],
        "product": p["K"],
        "parameters": {"x": (-2.0, 2.0), "y": (-2.0, 2.0)},
        "stability": 0.05,
        "dt": 0.01,
        "steps": 100,
        "outputs": outputs,
    }
    return rbm.TimeModel(**{**given, **options})


def heat(cells: int = 40, **options: Any) -> rbm.TimeModel:
    """Return u_t - k u_xx + r u = 1 on (0, 1), r on the left half, 50 steps of 0.01, min-theta bound."""
    one = line(cells)
    x = one["x"][1:-1]
    K, M = (sp.csr_array(one[k][1:-1][:, 1:-1]) for k in "KM")
    left = sp.csr_array(sp.diags_array(np.where(x < 0.5, one["h"], 0.0)))
    given = {
        "mass": M,
        "operators": [("k", K), ("r", left)],
        "rhs": [(1.0, one["f"][1:-1])],
        "product": K,
        "parameters": {"k": (0.1, 2.0), "r": (0.0, 5.0)},
        "stability": "k",
        "dt": 0.01,
        "steps": 50,
        "outputs": {"mean": one["f"][1:-1]},
    }
    return rbm.TimeModel(**{**given, **options})


def exact_march(mass: Any, stiffness: Any, source: Any, start: Any, control: Any, dt: float, theta: float) -> list[Any]:
    """Return u^0 .. u^K of the recursion in exact rational arithmetic, lists of fractions; for a few unknowns."""

    def exact(values: Any) -> list[Any]:
        return [Fraction(float(v)) for v in np.ravel(values)]

    n = len(start)
    m, a = (np.array(exact(x), dtype=object).reshape(n, n) for x in (mass, stiffness))
    f, u, g = (np.array(exact(x), dtype=object) for x in (source, start, control))
    step, share = Fraction(dt), Fraction(theta)
    matrix = m + step * share * a
    path = [u]
    for control_k in g:
        rest = step * (control_k * f - a @ u)
        path.append(path[-1] + _solved(matrix, rest))
        u = path[-1]
    return path


def _solved(matrix: Any, rhs: Any) -> Any:
    """Solve by Gaussian elimination without rounding."""
    n = len(rhs)
    work = np.concatenate([matrix, rhs[:, None]], axis=1)
    for j in range(n):
        p = next(i for i in range(j, n) if work[i, j] != 0)
        work[[j, p]] = work[[p, j]]
        work[j] = work[j] / work[j, j]
        for i in range(n):
            if i != j and work[i, j] != 0:
                work[i] = work[i] - work[i, j] * work[j]
    return work[:, n]
