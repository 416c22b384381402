"""The products X(mu) on the training set, from which E3 and E4 select."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import scipy.linalg

from rbm.estimators.coefficient_products import Products, all_products, equilibration, evaluate_products
from rbm.estimators.validation import Validation, distinct
from rbm.online.reference import residual_coefficients
from rbm.reduction.projected_system import Reduction

__all__ = ["TrainingProducts"]

#: Pivots of X that are below this many u of the first are round-off of an exact zero.
ZERO_PIVOT = 32.0
#: Largest number of entries of X on the training set (512 MiB); of larger training sets a random choice is used.
LARGEST = 2**26
#: Largest number of operations for counting the independent columns of X for a message (a few seconds). Beyond it the
#: message gives the number of products.
RANK_OPERATIONS = 2e9
#: Number of validation points whose columns of X are counted, too.
COUNTED = 1024


class TrainingProducts(NamedTuple):
    """The products X(mu) on the training set, with the data they were made from."""

    reduction: Reduction
    parameters: np.ndarray  #: (M, p), different rows
    rows: int  #: rows of the training set as it was given
    gamma: np.ndarray  #: (M, N)
    c: np.ndarray  #: (M, m)
    weights: np.ndarray  #: (m,)
    products: Products
    values: np.ndarray  #: X (sigma, M)

    @classmethod
    def of(cls, reduction: Reduction, training: np.ndarray) -> TrainingProducts:
        """Solve the reduced model on the different rows of the training set and form all products."""
        model = reduction.model
        m = model.rhs_terms.shape[1] + len(model.operator_terms) * reduction.size
        parameters = distinct(training, max(1024, LARGEST // m**2))
        theta, phi, gamma = reduction.solve(parameters)
        c = residual_coefficients(theta, phi, gamma)
        weights = equilibration(c)
        products = all_products(c.shape[1], np.iscomplexobj(c))
        values = evaluate_products(c, weights, products).T
        return cls(reduction, parameters, len(training), gamma, c, weights, products, values)

    def rank(self, known: Validation) -> int | None:
        """Return the number of independent columns of X on the training set and at validation points together.

        It says how many selected parameters the parameter space needs.
        Returns None where the pivoted QR would take more than RANK_OPERATIONS.
        """
        c = known.c[:: max(1, len(known.c) // COUNTED)]
        sigma, count = len(self.values), self.values.shape[1] + len(c)
        if 2.0 * min(sigma, count) ** 2 * max(sigma, count) > RANK_OPERATIONS:
            return None
        values = np.concatenate([self.values, evaluate_products(c, self.weights, self.products).T], axis=1)
        values = values[:, np.all(np.isfinite(values), axis=0)]
        pivots = np.abs(np.diag(scipy.linalg.qr(values, mode="r", pivoting=True)[0]))
        return int(np.sum(pivots > ZERO_PIVOT * np.finfo(pivots.dtype).eps / 2 * pivots.max(initial=0.0)))
