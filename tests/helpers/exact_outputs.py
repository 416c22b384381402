"""The exact outputs of small models, in 300-bit ball arithmetic, and small models with linear outputs."""

from __future__ import annotations

from typing import Any

import flint
import numpy as np
import scipy.sparse as sp

import rbm

BITS = 300


def output_errors(model: rbm.FullOrderModel, mus: np.ndarray, values: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Return |l^T A^{-1} f - value| (M,) for each linear output, right to many digits however small it is.

    Matrices, vectors and coefficients count as the doubles that they are.
    """
    flint.ctx.prec = BITS
    terms = [exact_matrix(a.toarray() if sp.issparse(a) else a) for a in model.operator_terms]
    loads = [exact_matrix(f[:, None]) for f in model.rhs_terms.T]
    theta, phi = model.operator_coefficients(mus), model.rhs_coefficients(mus)
    functionals = {name: [exact_matrix(t[None]) for t in model.outputs[name].terms] for name in values}
    psi = {name: model.outputs[name].coefficients(mus) for name in values}
    errors = {name: np.empty(len(mus)) for name in values}
    for k in range(len(mus)):
        u = exact_sum(theta[k], terms).solve(exact_sum(phi[k], loads))
        for name, value in values.items():
            exact = (exact_sum(psi[name][k], functionals[name]) * u)[0, 0]
            error = abs(exact - exact_number(value[k]))
            assert float(error.rad()) <= 1e-12 * float(error.mid()) + 1e-60
            errors[name][k] = float(error.mid())
    return errors


def exact_corrections(
    model: rbm.FullOrderModel,
    mus: np.ndarray,
    vectors: tuple[np.ndarray, np.ndarray],
    gamma: np.ndarray,
    dual: np.ndarray,
) -> list[flint.acb]:
    """Return z_N^H (f - A u_N) at M points, u_N = Z gamma and z_N = Z* dual, for vectors = (Z, Z*)."""
    flint.ctx.prec = BITS
    terms = [exact_matrix(a.toarray()) for a in model.operator_terms]
    loads = [exact_matrix(f[:, None]) for f in model.rhs_terms.T]
    basis, adjoint = exact_matrix(vectors[0]), exact_matrix(vectors[1].conj().T)
    theta, phi = model.operator_coefficients(mus), model.rhs_coefficients(mus)
    found = []
    for k in range(len(mus)):
        r = exact_sum(phi[k], loads) - exact_sum(theta[k], terms) * (basis * exact_matrix(gamma[k][:, None]))
        found.append((exact_matrix(dual[k].conj()[None]) * (adjoint * r))[0, 0])
    return found


def exact_number(x: complex) -> flint.acb:
    return flint.acb(float(np.real(x)), float(np.imag(x)))


def exact_matrix(a: np.ndarray) -> flint.acb_mat:
    return flint.acb_mat([[exact_number(x) for x in row] for row in np.asarray(a)])


def exact_sum(coefficients: np.ndarray, terms: list[flint.acb_mat]) -> flint.acb_mat:
    total = terms[0] * exact_number(coefficients[0])
    for c, a in zip(coefficients[1:], terms[1:], strict=True):
        total = total + a * exact_number(c)
    return total


def line(n: int) -> tuple[sp.csr_array, sp.csr_array, np.ndarray]:
    """Return stiffness, mass and a load of n unknowns on the unit interval."""
    one, h = np.ones(n), 1 / (n + 1)
    stiffness = sp.diags_array([-one[1:], 2 * one, -one[1:]], offsets=[-1, 0, 1], format="csr") / h
    mass = sp.diags_array([one[1:], 4 * one, one[1:]], offsets=[-1, 0, 1], format="csr") * (h / 6)
    return sp.csr_array(stiffness), sp.csr_array(mass), h * (1 + np.arange(1, n + 1) * h)


def compliant_model(kind: str, n: int = 14, **options: Any) -> rbm.FullOrderModel:
    """K + a M with a load that is its own output: "real", "complex", or "indefinite" (K - a M between resonances)."""
    stiffness, mass, load = line(n)
    if kind == "complex":
        turn = sp.diags_array(np.exp(1.3j * np.arange(n)), format="csr")
        stiffness, mass = (sp.csr_array(turn @ a @ turn.conj()) for a in (stiffness, mass))
        load = turn @ load
    sign, ranges, beta = ("-a", (16.0, 30.0), 0.2) if kind == "indefinite" else ("a", (0.5, 200.0), 1.0)
    made: dict[str, Any] = {"outputs": {"s": load.conj(), "other": np.cos(np.arange(n)) * load}, **options}
    return rbm.FullOrderModel(
        [(1.0, stiffness), (sign, mass)],
        [(1.0, load)],
        (stiffness + stiffness.conj().T) / 2,
        {"a": ranges},
        beta,
        **made,
    )


def convection_model(n: int = 5, kind: str = "real", **options: Any) -> rbm.FullOrderModel:
    """-0.05 Lap u + x u_x + y u_y on the unit square, n x n unknowns; "complex" has complex terms, load and output."""
    one, h = np.ones(n), 1 / (n + 1)
    second = sp.diags_array([-one[1:], 2 * one, -one[1:]], offsets=[-1, 0, 1])
    first = sp.diags_array([-one[1:], one[1:]], offsets=[-1, 1]) * (h / 2)
    same, at = sp.eye_array(n), np.arange(1, n + 1) * h
    stiffness = sp.csr_array(sp.kron(second, same) + sp.kron(same, second))
    x, y = (part.ravel() for part in np.meshgrid(at, at, indexing="ij"))
    load, window = h * h * np.ones(n * n), h * h * ((x > 0.6) & (y < 0.5)).astype(float)
    terms: list[Any] = [
        (0.05, stiffness), ("x", sp.csr_array(sp.kron(first, same))), ("y", sp.csr_array(sp.kron(same, first)))
    ]  # fmt: skip
    if kind == "complex":
        load, window = load * np.exp(2j * x), window * np.exp(3j * y) * (1 + x)
        terms.append(("0.3j * x", sp.csr_array(sp.diags_array(h * h * (1 + x)))))
        terms.append(("(x + 2) * 1j", sp.csr_array(sp.diags_array(0.05 * h * h * np.exp(1j * y)))))
    weight = "1 + x" if kind == "real" else "1 + 1j * x"
    made: dict[str, Any] = {"outputs": {"window": window, "mixed": [(weight, window), (0.5, load * x)]}, **options}
    return rbm.FullOrderModel(
        terms, [(1.0, load)], stiffness, {"x": (-2.0, 2.0), "y": (-2.0, 2.0)}, 0.05 if kind == "real" else 0.03, **made
    )
