"""The exact residual norm, in 300-bit ball arithmetic.

It is the oracle of the tests, independent of the package's own arithmetic.

W = [f_1.., A_1 z_1, .., A_Qa z_1, ..] and G = W^H P^{-1} W are formed without rounding (the entries of A_q, z_n, f_q, P
are taken as the doubles they are), c from the given doubles theta, phi, gamma; then the norm is (c^H G c)^{1/2}, where
the cancellation that ruins the same formula in double precision costs at most 35 of about 90 digits.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import flint
import numpy as np
import scipy.sparse as sp

import rbm
from lowrank import LowRankMatrix

BITS = 300


def _number(x: complex) -> flint.acb:
    return flint.acb(float(np.real(x)), float(np.imag(x)))


def _matrix(a: np.ndarray) -> flint.acb_mat:
    return flint.acb_mat([[_number(x) for x in row] for row in a])


def exact_image(a: Any, x: list[flint.acb]) -> list[flint.acb]:
    """A x without rounding, for a sparse matrix or low-rank factors."""
    flint.ctx.prec = BITS
    if isinstance(a, LowRankMatrix):
        inner = [
            _number(s) * sum((_number(v).conjugate() * y for v, y in zip(column, x, strict=True)), flint.acb(0))
            for s, column in zip(a.s, a.V.T, strict=True)
        ]
        return [sum((_number(u) * y for u, y in zip(row, inner, strict=True)), flint.acb(0)) for row in a.U]
    rows = []
    for i in range(a.shape[0]):
        entries = range(a.indptr[i], a.indptr[i + 1])
        rows.append(sum((_number(a.data[k]) * x[a.indices[k]] for k in entries), flint.acb(0)))
    return rows


def exact_matrix(terms: Sequence[Any], theta: np.ndarray) -> flint.acb_mat:
    """A = sum_q theta_q A_q without rounding; few unknowns."""
    flint.ctx.prec = BITS
    n, total = terms[0].shape[0], None
    for value, term in zip(theta, terms, strict=True):
        a = term if isinstance(term, LowRankMatrix) else sp.csr_array(term)
        unit = [[flint.acb(int(i == j)) for i in range(n)] for j in range(n)]
        columns = [[_number(value) * x for x in exact_image(a, e)] for e in unit]
        part = flint.acb_mat([[columns[j][i] for j in range(n)] for i in range(n)])
        total = part if total is None else total + part
    return total


def exact_solution(model: rbm.FullOrderModel, mu: np.ndarray) -> flint.acb_mat:
    """u(mu) (n, 1) to about eighty digits, for the doubles theta and phi."""
    flint.ctx.prec = BITS
    theta, phi = model.operator_coefficients(mu[None])[0], model.rhs_coefficients(mu[None])[0]
    rhs = _matrix(model.rhs_terms) * _matrix(phi[:, None])
    return exact_matrix(model.operator_terms, theta).solve(rhs)


def exact_error(model: rbm.FullOrderModel, mu: np.ndarray, basis: np.ndarray, gamma: np.ndarray) -> float:
    """||u(mu) - Z gamma||_P for the given doubles, rounded once."""
    error = exact_solution(model, mu) - _matrix(basis) * _matrix(gamma[:, None])
    product = model.product.toarray() if sp.issparse(model.product) else model.product
    square = (error.transpose().conjugate() * _matrix(product) * error)[0, 0].real
    return float(square.mid()) ** 0.5


class Oracle:
    """Exact residual norms for a basis; its first N' vectors serve every smaller basis."""

    def __init__(self, model: rbm.FullOrderModel, basis: np.ndarray) -> None:
        flint.ctx.prec = BITS
        columns = [[_number(x) for x in f] for f in model.rhs_terms.T]
        terms = [a if isinstance(a, LowRankMatrix) else sp.csr_array(a) for a in model.operator_terms]
        for z in basis.T:
            exact = [_number(x) for x in z]
            columns += [exact_image(a, exact) for a in terms]
        self.qf, self.qa = model.rhs_terms.shape[1], len(terms)
        w = flint.acb_mat([[c[i] for c in columns] for i in range(model.dimension)])
        product = model.product.toarray() if sp.issparse(model.product) else model.product
        adjoint = flint.acb_mat([[x.conjugate() for x in c] for c in columns])
        self.gram = adjoint * _matrix(product).solve(w)

    def norm(self, theta: np.ndarray, phi: np.ndarray, gamma: np.ndarray) -> np.ndarray:
        """Exact norms (M,), rounded once to double."""
        flint.ctx.prec = BITS
        m = self.qf + self.qa * gamma.shape[1]
        gram = flint.acb_mat([[self.gram[i, j] for j in range(m)] for i in range(m)])
        norms = np.empty(len(theta))
        for k in range(len(theta)):
            t = [_number(x) for x in theta[k]]
            c = [_number(x) for x in phi[k]] + [-(_number(g) * x) for g in gamma[k] for x in t]
            square = (flint.acb_mat([[x.conjugate() for x in c]]) * gram * flint.acb_mat([[x] for x in c]))[0, 0].real
            assert float(square.rad()) <= 1e-30 * abs(float(square.mid())) + 1e-70
            norms[k] = float(square.mid()) ** 0.5 if float(square.mid()) > 0 else 0.0
        return norms


def exact_combination_norm(factor: np.ndarray, theta: np.ndarray, phi: np.ndarray, gamma: np.ndarray) -> np.ndarray:
    """||F c||_2 (M,) for the given doubles, rounded once to double.

    c is that of :func:`rbm.online.reference.residual_coefficients`.
    """
    flint.ctx.prec = BITS
    exact = _matrix(factor)
    norms = np.empty(len(theta))
    for k in range(len(theta)):
        t = [_number(x) for x in theta[k]]
        c = [_number(x) for x in phi[k]] + [-(_number(g) * x) for g in gamma[k] for x in t]
        product = exact * flint.acb_mat([[x] for x in c])
        total = sum((product[i, 0] * product[i, 0].conjugate() for i in range(len(factor))), flint.acb(0)).real
        norms[k] = float(total.sqrt().mid())
    return norms
