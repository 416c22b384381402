"""The exact log-likelihood of small models in 300-bit ball arithmetic, and small models to ask it of."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import flint
import numpy as np

import rbm
from helpers.exact_outputs import BITS, exact_matrix, exact_number, exact_sum, line


def beam(n: int = 12, complex_valued: bool = False, parameters: Any = None) -> rbm.FullOrderModel:
    """Diffusion with a reaction, (K + k M) u = (1 + v) f; complex: M is multiplied by i + k."""
    stiffness, mass, load = line(n)
    factor = "k + 1j" if complex_valued else "k"
    space = parameters or rbm.ParameterSpace({"k": (1.0, 60.0), "v": (0.0, 2.0)})
    first = np.zeros(n)
    first[n // 3] = 1.0
    return rbm.FullOrderModel(
        [(1.0, stiffness), (factor, mass)], [("1 + v", load)], stiffness, space, 1.0,
        outputs={"mean": np.full(n, 1 / (n + 1)), "at": [("1 + k / 9", first)]},
    )  # fmt: skip


def exact_log_likelihood_errors(
    model: rbm.FullOrderModel, data: Mapping[str, Any], mus: np.ndarray, value: np.ndarray, whole: bool
) -> np.ndarray:
    """Return |log L - value| (M,), log L that of the exact solution for data {output: (y (m,), sigma (m,))}.

    whole : outputs are complex, so that real and imaginary part have noise of standard deviation sigma each
    """
    flint.ctx.prec = BITS
    terms = [exact_matrix(a.toarray()) for a in model.operator_terms]
    loads = [exact_matrix(f[:, None]) for f in model.rhs_terms.T]
    theta, phi = model.operator_coefficients(mus), model.rhs_coefficients(mus)
    psi = {name: model.outputs[name].coefficients(mus) for name in data}
    rows = {name: [exact_matrix(t[None]) for t in model.outputs[name].terms] for name in data}
    errors = np.empty(len(mus))
    for k in range(len(mus)):
        u = exact_sum(theta[k], terms).solve(exact_sum(phi[k], loads))
        total = flint.arb(0)
        for name, (y, sigma) in data.items():
            s = (exact_sum(psi[name][k], rows[name]) * u)[0, 0]
            for one, noise in zip(np.atleast_1d(y), np.broadcast_to(sigma, np.shape(np.atleast_1d(y))), strict=True):
                away, size = exact_number(one) - s, flint.arb(float(noise))
                total -= (away.real**2 + away.imag**2) / (2 * size**2)
                total -= (2 if whole else 1) * (size.log() + (2 * flint.arb.pi()).log() / 2)
        error = abs(total - flint.arb(float(value[k])))
        assert float(error.rad()) <= 1e-12 * float(error.mid()) + 1e-60
        errors[k] = float(error.mid())
    return errors
