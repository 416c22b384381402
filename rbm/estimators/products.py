"""X(mu): the entries in which the squared residual norm is linear, and estimates that interpolate it between parameters."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

__all__ = ["Products", "all_products", "deviation", "equilibration", "evaluate_products", "validation_points"]

#: Safety factor on the deviation measured at training parameters that were not selected.
SAFETY = 2.0


class Products(NamedTuple):
    """Which products c_i conj(c_j), i <= j, and whether their imaginary part (1) or real part (0) is meant; each (sigma,)."""

    first: np.ndarray
    second: np.ndarray
    part: np.ndarray

    def select(self, indices: np.ndarray) -> Products:
        """The products with the given indices."""
        return Products(*(field[indices] for field in self))


def all_products(m: int, complex_valued: bool) -> Products:
    """All products that occur in ||W c||^2: m (m + 1) / 2 for real data, m^2 for complex data.

    Each unordered pair once: ordered pairs would repeat equations and make T singular.
    """
    first, second = np.triu_indices(m)
    real = Products(first, second, np.zeros(len(first), dtype=int))
    if not complex_valued:
        return real
    first, second = np.triu_indices(m, 1)
    return Products(
        *(np.concatenate(pair) for pair in zip(real, (first, second, np.ones(len(first), dtype=int)), strict=True))
    )


def equilibration(c: np.ndarray) -> np.ndarray:
    """Weights w (m,) = (max over training of |c_i|)^{-1/2}, applied to c before the products are formed.

    X is linear in neither scale, so any weights are allowed; without them the products of late reduced coefficients, as small
    as the residual itself, drown in the round-off of the early ones. Our measurement on the 1D case, EIM tolerance
    1e-15: raw products stall at 13 terms and err by factors from N = 7 on, these go on to 2 N + 1 and follow E1.
    """
    largest = np.abs(c).max(axis=0, initial=0.0)
    return 1 / np.sqrt(np.where(largest > 0, largest, 1.0))


def evaluate_products(c: np.ndarray, weights: np.ndarray, products: Products) -> np.ndarray:
    """X_p(mu) (M, sigma) of the weighted coefficients, real."""
    c = c * weights
    x = c[:, products.first] * c[:, products.second].conj()
    return np.where(products.part == 0, x.real, x.imag) if np.iscomplexobj(x) else x


def validation_points(count: int, selected: np.ndarray, largest: int = 64) -> np.ndarray:
    """Up to `largest` training indices that were not selected, evenly spread, on which an interpolation is measured."""
    rest = np.setdiff1d(np.arange(count), selected)
    return rest[np.unique(np.linspace(0, len(rest) - 1, min(largest, len(rest))).astype(int))] if len(rest) else rest


def deviation(square: np.ndarray, exact: np.ndarray) -> float:
    """tau: twice the largest deviation of interpolated squares (M,) from exact residual norms (M,), as norms.

    A negative square counts as a deviation by the whole exact norm plus its own size.
    """
    if not len(exact):
        return 0.0
    norm = np.sign(square) * np.sqrt(np.abs(square))
    return SAFETY * float(np.abs(norm - exact).max())
