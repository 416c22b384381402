"""The products X(mu) of residual coefficients; the squared residual norm is linear in them."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from lowrank.arrays import beside, is_complex, namespace

__all__ = ["Products", "all_products", "equilibration", "evaluate_products"]


class Products(NamedTuple):
    """A selection of sigma products c_i conj(c_j), i <= j; each field has the shape (sigma,).

    first : i; second : j; part : 0 for the real part of the product, 1 for its imaginary part
    """

    first: np.ndarray
    second: np.ndarray
    part: np.ndarray

    def select(self, indices: np.ndarray) -> Products:
        """Return the products with the given indices."""
        return Products(*(field[indices] for field in self))


def all_products(m: int, complex_valued: bool) -> Products:
    """Return all products that occur in ||W c||^2: m (m + 1) / 2 for real data, m^2 for complex data.

    Each unordered pair occurs once: ordered pairs would repeat equations and make T singular.
    """
    first, second = np.triu_indices(m)
    real = Products(first, second, np.zeros(len(first), dtype=int))
    if not complex_valued:
        return real
    first, second = np.triu_indices(m, 1)
    imaginary = Products(first, second, np.ones(len(first), dtype=int))
    return Products(*(np.concatenate(pair) for pair in zip(real, imaginary, strict=True)))


def equilibration(c: np.ndarray) -> np.ndarray:
    """Return weights w (m,) = (max over training of |c_i|)^{-1/2}, by which c is multiplied before products are formed.

    X is linear in neither scale, so any weights are allowed; without them the products of late reduced coefficients, as
    small as the residual itself, drown in the round-off of the early ones. Our measurement on the 1D case, EIM
    tolerance 1e-15: raw products stall at 13 terms and err by factors from N = 7 on; weighted ones go on to 2 N + 1 and
    follow E1.
    """
    largest = np.abs(c).max(axis=0, initial=0.0)
    return 1 / np.sqrt(np.where(largest > 0, largest, 1.0))


def evaluate_products(c: Any, weights: np.ndarray, products: Products) -> Any:
    """Return the real products X_p(mu) (M, sigma) of the weighted coefficients."""
    xp = namespace(c)
    c = c * beside(weights, c)
    first, second, part = (beside(p, c) for p in products)
    x = xp.take(c, first, axis=1) * xp.conj(xp.take(c, second, axis=1))
    return xp.where(part == 0, xp.real(x), xp.imag(x)) if is_complex(x) else x
