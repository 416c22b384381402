"""The exact derivatives of outputs of small models, in 300-bit ball arithmetic, and models to take them of.

Matrices, vectors, coefficients and the derivatives of these count as the doubles that they are.
"""

from __future__ import annotations

from typing import Any

import flint
import numpy as np
import scipy.sparse as sp

import rbm
from helpers.exact_outputs import BITS, exact_matrix, exact_number, exact_sum, line
from rbm.affine.terms import Output
from rbm.parameters.expressions import COLUMN, NUMBER, Expression
from rbm.solvers.definite import dense


def gradient_errors(model: rbm.FullOrderModel, mus: np.ndarray, values: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Return |ds/dmu_j - value_j| (M, p) for each output, right to many digits however small it is."""
    return {name: np.abs(found) for name, found in differences(model, mus, values).items()}


def differences(model: rbm.FullOrderModel, mus: np.ndarray, values: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Return ds/dmu_j - value_j (M, p), each rounded once."""
    flint.ctx.prec = BITS
    terms = [exact_matrix(dense(a)) for a in model.operator_terms]
    loads = [exact_matrix(f[:, None]) for f in model.rhs_terms.T]
    forms = {name: [_form(t, model.outputs[name]) for t in model.outputs[name].terms] for name in values}
    theta, of_theta = _with_slopes(model.operator_coefficients, mus)
    phi, of_phi = _with_slopes(model.rhs_coefficients, mus)
    psi = {name: _with_slopes(model.outputs[name].coefficients, mus) for name in values}
    made = {name: np.empty(mus.shape, dtype=complex) for name in values}
    for k in range(len(mus)):
        a = exact_sum(theta[k], terms)
        u = a.solve(exact_sum(phi[k], loads))
        slopes = [
            exact_sum(of_phi[k, :, j], loads) - exact_sum(of_theta[k, :, j], terms) * u for j in range(mus.shape[1])
        ]
        together = a.solve(flint.acb_mat([[s[i, 0] for s in slopes] for i in range(a.nrows())]))
        for j in range(mus.shape[1]):
            du = flint.acb_mat([[together[i, j]] for i in range(a.nrows())])
            for name, value in values.items():
                exact = _derivative(model.outputs[name], forms[name], psi[name], (k, j), mus, (u, du))
                error = exact - exact_number(value[k, j])
                assert float(abs(error).rad()) <= 1e-12 * float(abs(error).mid()) + 1e-60
                made[name][k, j] = complex(float(error.real.mid()), float(error.imag.mid()))
    return made


def _derivative(output: Output, forms: list[Any], psi: Any, at: tuple[int, int], mus: np.ndarray, pair: Any) -> Any:
    (values, slopes), (k, j), (u, du) = psi, at, pair
    total = flint.acb(0)
    for q, form in enumerate(forms):
        if output.quadratic:
            left = _adjoint(u)
            of_u, of_du = (left * form * u)[0, 0].real, 2 * (left * form * du)[0, 0].real
        else:
            of_u, of_du = (form * u)[0, 0], (form * du)[0, 0]
        total = total + exact_number(slopes[k, q, j]) * of_u + exact_number(values[k, q]) * of_du
    if output.offset is not None:
        of_c = output.offset.coefficients.derivative(mus[k : k + 1])[0, :, j]
        for c, b in zip(of_c, output.offset.numbers, strict=True):
            total = total + exact_number(c) * exact_number(b)
    return total


def _with_slopes(coefficients: Any, mus: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return coefficients(mus), coefficients.derivative(mus)


def _form(term: Any, output: Output) -> flint.acb_mat:
    dense = term.toarray() if sp.issparse(term) else np.asarray(term)
    return exact_matrix(dense if output.quadratic else dense[None])


def _adjoint(u: flint.acb_mat) -> flint.acb_mat:
    return flint.acb_mat([[u[i, 0].conjugate() for i in range(u.nrows())]])


#: What formulas are made of, in ball arithmetic.
BALLS: dict[Any, Any] = {
    np.add: lambda a, b: a + b,
    np.subtract: lambda a, b: a - b,
    np.multiply: lambda a, b: a * b,
    np.divide: lambda a, b: a / b,
    np.power: lambda a, b: a**b,
    np.positive: lambda a: a,
    np.negative: lambda a: -a,
    np.abs: lambda a: flint.acb(abs(a)),
    np.real: lambda a: flint.acb(a.real),
    np.imag: lambda a: flint.acb(a.imag),
    np.conj: lambda a: a.conjugate(),
    **{
        getattr(np, f): lambda a, f=f: getattr(a, f)()
        for f in ("exp", "log", "sqrt", "sin", "cos", "tan", "sinh", "cosh", "tanh")
    },
}  # fmt: skip


def exact_formula(text: str, names: tuple[str, ...], mu: list[flint.acb]) -> flint.acb:
    """Return the value of a formula at a point that is known to 300 bits."""
    flint.ctx.prec = BITS
    stack: list[flint.acb] = []
    for arity, item in Expression(text, names)._program:
        if arity == COLUMN:
            stack.append(mu[item])
        elif arity == NUMBER:
            stack.append(exact_number(item))
        else:
            arguments = stack[-arity:]
            del stack[-arity:]
            stack.append(BALLS.get(item, item)(*arguments))  # integer powers are products of whatever is given
    return stack[0]


def quotients(model: rbm.FullOrderModel, mus: np.ndarray, name: str) -> np.ndarray:
    """Return central difference quotients (M, p) of an output of the full model, step 1e-25 in 300 bits.

    All coefficients are formulas or numbers, and are evaluated in 300 bits, too: the quotients are the derivatives, to
    more digits than doubles have.
    """
    flint.ctx.prec = BITS
    step = flint.acb(1) / flint.acb(10) ** 25
    made = np.empty(mus.shape, dtype=complex)
    for k, j in np.ndindex(*mus.shape):
        ends = []
        for sign in (1, -1):
            mu = [flint.acb(float(x)) for x in mus[k]]
            mu[j] = mu[j] + sign * step
            ends.append(_output_at(model, mu, model.outputs[name]))
        made[k, j] = complex(*(float(part.mid()) for part in _parts((ends[0] - ends[1]) / (2 * step))))
    return made


def _parts(x: flint.acb) -> tuple[Any, Any]:
    return x.real, x.imag


def _output_at(model: rbm.FullOrderModel, mu: list[flint.acb], output: Output) -> flint.acb:
    def values(coefficients: Any) -> list[flint.acb]:
        names = model.parameters.names
        return [exact_formula(s, names, mu) if isinstance(s, str) else exact_number(s) for s in coefficients.sources]

    def total(numbers: list[flint.acb], parts: list[Any]) -> Any:
        made = parts[0] * numbers[0]
        for number, part in zip(numbers[1:], parts[1:], strict=True):
            made = made + part * number
        return made

    terms = [exact_matrix(a.toarray() if sp.issparse(a) else a) for a in model.operator_terms]
    loads = [exact_matrix(f[:, None]) for f in model.rhs_terms.T]
    u = total(values(model.operator_coefficients), terms).solve(total(values(model.rhs_coefficients), loads))
    form = total(values(output.coefficients), [_form(t, output) for t in output.terms])
    found = ((_adjoint(u) * form * u) if output.quadratic else form * u)[0, 0]
    if output.offset is not None:
        found = found + total(values(output.offset.coefficients), [exact_number(b) for b in output.offset.numbers])
    return found


def rod(kind: str = "symmetric", n: int = 12, **options: Any) -> rbm.FullOrderModel:
    """A rod of two materials with formulas for coefficients and a min-theta bound; "convection" adds a skew term.

    Outputs: the energy, a compliant one with an offset, a linear one with formulas, a quadratic one.
    """
    stiffness, mass, load = line(n)
    left = sp.csr_array(sp.diags_array([1.0] + [0.0] * (n - 1)))
    terms: list[Any] = [("exp(-a)", stiffness), ("(1 + b**2) / a", mass), ("sqrt(a * b)", left)]
    if kind == "convection":
        one = np.ones(n - 1)
        terms.append(("sin(b)", sp.csr_array(sp.diags_array([-one, one], offsets=[-1, 1]))))
    made: dict[str, Any] = {
        "outputs": {
            "own": [("cos(b)", load), ("a / b", 2.0)],
            "energy": [(c, m) for c, m in terms[:3]],
            "linear": [("a ** b", load * np.cos(np.arange(n))), ("abs(a - 3)", load**2)],
            "square": [("b", mass), ("log(a)", left)],
        },
        **options,
    }
    return rbm.FullOrderModel(
        terms, [("cos(b)", load)], stiffness + mass + left, {"a": (0.5, 2.0), "b": (0.4, 1.4)},
        rbm.stability.MinTheta(reference=[1.0, 1.0]), **made,
    )  # fmt: skip


def exact_slope_residuals(model: rbm.FullOrderModel, basis: np.ndarray, at: Any) -> np.ndarray:
    """Return ||phi' f - theta' A Z gamma - theta A Z gamma'||_{P'} (M, p) for the given doubles."""
    flint.ctx.prec = BITS
    terms = [exact_matrix(a.toarray() if sp.issparse(a) else a) for a in model.operator_terms]
    loads, z = [exact_matrix(f[:, None]) for f in model.rhs_terms.T], exact_matrix(basis)
    p = exact_matrix(model.product.toarray() if sp.issparse(model.product) else model.product)
    made = np.empty(at.of_gamma.shape[:2])
    for k, j in np.ndindex(*made.shape):
        u, du = z * exact_matrix(at.gamma[k][:, None]), z * exact_matrix(at.of_gamma[k, j][:, None])
        r = (
            exact_sum(at.of_phi[k, j], loads)
            - exact_sum(at.of_theta[k, j], terms) * u
            - exact_sum(at.theta[k], terms) * du
        )
        made[k, j] = float((_adjoint(r) * p.solve(r))[0, 0].real.sqrt().mid())
    return made


def exact_sums(model: rbm.FullOrderModel, name: str, basis: np.ndarray, mus: np.ndarray, at: Any) -> list[flint.acb]:
    """Return l'^T Z gamma + l^T Z gamma', or the same of a quadratic form, for the given doubles: M p numbers."""
    flint.ctx.prec = BITS
    output, z = model.outputs[name], exact_matrix(basis)
    forms, psi = [_form(t, output) for t in output.terms], _with_slopes(output.coefficients, mus)
    made = []
    for k, j in np.ndindex(*at.of_gamma.shape[:2]):
        pair = z * exact_matrix(at.gamma[k][:, None]), z * exact_matrix(at.of_gamma[k, j][:, None])
        made.append(_derivative(output, forms, psi, (k, j), mus, pair))
    return made


def distances(values: np.ndarray, exact: list[flint.acb]) -> np.ndarray:
    """Return |value - exact| of each, rounded once."""
    found = [float(abs(exact_number(v) - e).mid()) for v, e in zip(values.ravel(), exact, strict=True)]
    return np.array(found).reshape(values.shape)
