"""Exact answers for small models, in ball arithmetic and in rationals.

The arithmetic is its own, nothing of the package's. The matrices, coefficients and answers are taken as the doubles
they are. With the exact A(mu) = sum_q theta_q A_q and r = f(mu) - A(mu) Z gamma,

    ||r||_{P^-1}^2 = r^H P^{-1} r,    A(mu) e = r,    ||u - Z gamma||_P^2 = e^H P e,    u = Z gamma + e,

in balls of 300 bits that hold the exact value; numbers are compared by their squares. A comparison that balls leave
open is made with more bits, down to zeros, which are exact there: sums and products of doubles are, at enough bits,
without rounding. Rows and columns are scaled by powers of two, which is exact, so that units cost no bits.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import flint
import numpy as np

__all__ = ["BITS", "Exact", "Rational", "Setting", "definite", "whitened"]

#: Bits of the first attempt, and of those after it.
BITS = (300, 1200, 5000, 25000)


@dataclass(frozen=True)
class Setting:
    """A full-order model as dense arrays of doubles."""

    operators: list[np.ndarray]  #: A_q (n, n)
    rhs: np.ndarray  #: f_q (n, Qf)
    product: np.ndarray  #: P (n, n)
    outputs: dict[str, list[np.ndarray]] = field(default_factory=dict)  #: l_q (n,) or Q_q (n, n)

    @property
    def is_complex(self) -> bool:
        """True if an array is complex."""
        arrays = [*self.operators, self.rhs, self.product, *(a for terms in self.outputs.values() for a in terms)]
        return any(np.iscomplexobj(a) for a in arrays)

    def units(self) -> list[int]:
        """Exponents d (n,): 2^d P 2^d has a diagonal between 1/2 and 2, or so."""
        diagonal = [abs(float(x.real)) for x in np.diag(self.product)]
        return [-(math.frexp(x)[1] // 2) if 0 < x < math.inf else 0 for x in diagonal]


class Exact:
    """A :class:`Setting` and a basis Z (n, N) in balls of `bits` bits."""

    def __init__(self, setting: Setting, basis: np.ndarray, bits: int, complex_valued: bool) -> None:
        flint.ctx.prec = self.bits = bits
        self.complex = complex_valued
        self.matrix = flint.acb_mat if complex_valued else flint.arb_mat
        self.setting, d = setting, setting.units()
        n = len(d)
        square = [[d[i] + d[j] for j in range(n)] for i in range(n)]
        unit = [[x] for x in d]
        self.product = self._matrix(setting.product, square)
        self.operators = [self._matrix(a, square) for a in setting.operators]
        self.rhs = self._matrix(setting.rhs, unit)
        self.basis = self._matrix(basis, [[-x] for x in d])
        self.images = [a * self.basis for a in self.operators]
        self.outputs = {
            name: [self._matrix(a, square) if a.ndim == 2 else self._matrix(a[None, :], [d]) for a in terms]
            for name, terms in setting.outputs.items()
        }
        self.inverse = self.product.inv()

    def number(self, x: Any) -> Any:
        """A double, or complex double, as a ball without radius."""
        if self.complex:
            x = complex(x)
            return flint.acb(x.real, x.imag)
        return flint.arb(float(x))

    def _matrix(self, a: np.ndarray, exponents: list[list[int]]) -> Any:
        """Entries a_ij 2^{e_ij}, exact; one exponent a row if there is one only."""
        wide = [row * a.shape[1] if len(row) == 1 else row for row in exponents]
        rows = zip(a.tolist(), wide, strict=True)
        return self.matrix([[self._scaled(x, e) for x, e in zip(row, exps, strict=True)] for row, exps in rows])

    def _scaled(self, x: Any, exponent: int) -> Any:
        if self.complex:
            x = complex(x)
            return flint.acb(_shifted(x.real, exponent), _shifted(x.imag, exponent))
        return _shifted(float(x), exponent)

    def adjoint(self, a: Any) -> Any:
        """Gives a^H, the conjugate transpose."""
        return a.transpose().conjugate() if self.complex else a.transpose()

    def column(self, values: Sequence[Any]) -> Any:
        """Numbers as a column."""
        return self.matrix([[self.number(x)] for x in values])

    def operator(self, theta: Sequence[Any]) -> Any:
        """A(mu) from numbers theta."""
        total = self.operators[0] * self.number(theta[0])
        for t, a in zip(theta[1:], self.operators[1:], strict=True):
            total = total + a * self.number(t)
        return total

    def residual(self, theta: Sequence[Any], phi: Sequence[Any], gamma: Any) -> Any:
        """f - A Z gamma (n, 1), gamma a column."""
        total = self.rhs * self.column(phi)
        for t, image in zip(theta, self.images, strict=True):
            total = total - image * (gamma * self.number(t))
        return total

    def square(self, vector: Any, form: Any) -> flint.arb:
        """x^H form x, a real number."""
        value = (self.adjoint(vector) * (form * vector))[0, 0]
        return value.real if self.complex else value

    def modulus_square(self, value: Any) -> flint.arb:
        """Gives |value|^2, which is real."""
        return value.real * value.real + value.imag * value.imag if self.complex else value * value

    def output(self, name: str, psi: Sequence[Any], u: Any) -> Any:
        """sum_q psi_q l_q^T u or sum_q psi_q Re u^H Q_q u."""
        total = self.number(0.0)
        for p, term in zip(psi, self.outputs[name], strict=True):
            linear = self.setting.outputs[name][0].ndim == 1
            value = (term * u)[0, 0] if linear else self.square(u, term)
            total = total + self.number(p) * value
        return total

    def stable(self, operator: Any, theta: Sequence[Any], beta: float) -> bool:
        """True if ||A v||_{P'} >= beta ||v||_P for all v: A^H P^{-1} A - beta^2 P is positive semi-definite."""
        b = flint.arb(beta)
        gap = self.adjoint(operator) * (self.inverse * operator) - self.product * (b * b)
        found = definite(gap.tolist())
        if found is None and all(x == 0 for x in (operator - self.product * b).entries()):
            return True  # A = beta P
        return self.rational.stable(theta, beta) if found is None else found

    @cached_property
    def rational(self) -> Rational:
        """The same model in rational numbers, for what balls leave open."""
        return Rational(self.setting)


class Rational:
    """P and A_q in rational numbers; complex matrices as real ones of twice the size, [[re, -im], [im, re]]."""

    def __init__(self, setting: Setting) -> None:
        self.units, self.complex = setting.units(), setting.is_complex
        self.product = self._matrix(setting.product)
        self.operators = [self._matrix(a) for a in setting.operators]
        self.inverse = self.product.inv()
        n = len(self.units)
        zero, one = flint.fmpq(0), flint.fmpq(1)
        #: multiplication by i
        self.turn = flint.fmpq_mat(
            [[-one if j == i + n else one if i == j + n else zero for j in range(2 * n)] for i in range(2 * n)]
        )

    def _matrix(self, a: np.ndarray) -> flint.fmpq_mat:
        d = self.units
        exact = [
            [[_fraction(part, d[i] + d[j]) for j, part in enumerate(row)] for i, row in enumerate(parts.tolist())]
            for parts in (a.real, a.imag)
        ]
        re, im = exact
        top = [[*r, *(-x for x in i)] for r, i in zip(re, im, strict=True)]
        return flint.fmpq_mat(top + [[*i, *r] for r, i in zip(re, im, strict=True)])

    def stable(self, theta: Sequence[Any], beta: float) -> bool:
        """As :meth:`Exact.stable`."""
        a = self.product * flint.fmpq(0)
        for t, term in zip(theta, self.operators, strict=True):
            t = complex(t)
            a = a + term * _fraction(t.real)
            if t.imag:
                a = a + self.turn * term * _fraction(t.imag)
        b = _fraction(beta)
        return _semidefinite((a.transpose() * (self.inverse * a) - self.product * (b * b)).tolist())


def definite(rows: list[list[Any]]) -> bool | None:
    """Is a Hermitian matrix of balls positive definite?

    True, False (a negative pivot), or None where a ball holds zero.
    """
    n = len(rows)
    for k in range(n):
        pivot = rows[k][k].real
        if not pivot > 0:
            return False if pivot < 0 else None
        for i in range(k + 1, n):
            factor = rows[i][k] / pivot
            for j in range(k + 1, i + 1):
                entry = rows[j][k]
                rows[i][j] = rows[i][j] - factor * (entry.conjugate() if isinstance(entry, flint.acb) else entry)
    return True


def whitened(setting: Setting) -> list[np.ndarray]:
    """L^{-1} A_q L^{-H}, P = L L^H, computed in balls and rounded to doubles once.

    Their singular values are those from P to P'. Raises ArithmeticError if P is not positive definite.
    """
    exact = Exact(setting, np.zeros((len(setting.product), 0)), BITS[0], setting.is_complex)
    rows = exact.product.tolist()
    n = len(rows)
    for j in range(n):
        for k in range(j):
            for i in range(j, n):
                other = rows[j][k].conjugate() if exact.complex else rows[j][k]
                rows[i][j] = rows[i][j] - rows[i][k] * other
        if not rows[j][j].real > 0:
            raise ArithmeticError("the product is not positive definite")
        root = rows[j][j].real.sqrt()
        for i in range(j, n):
            rows[i][j] = rows[i][j] / root
        for i in range(j):
            rows[i][j] = exact.number(0.0)
    factor = exact.matrix(rows)
    halves = [exact.adjoint(factor.solve(a)) for a in exact.operators]
    made = [exact.adjoint(factor.solve(h)).tolist() for h in halves]
    return [np.array([[complex(x) if exact.complex else float(x) for x in row] for row in a]) for a in made]


def _shifted(x: float, exponent: int) -> flint.arb:
    """x 2^exponent without rounding, also beyond the range of doubles."""
    if exponent == 0 or x == 0 or not math.isfinite(x):
        return flint.arb(x)
    mantissa, own = math.frexp(x)
    return flint.arb((int(math.ldexp(mantissa, 53)), own - 53 + exponent))


def _fraction(x: float, exponent: int = 0) -> flint.fmpq:
    """Gives x 2^exponent as an exact fraction."""
    numerator, denominator = x.as_integer_ratio()
    return flint.fmpq(numerator, denominator) * flint.fmpq(2) ** exponent


def _semidefinite(rows: list[list[flint.fmpq]]) -> bool:
    """Is an exact symmetric matrix positive semi-definite (a zero pivot needs a zero row)."""
    n = len(rows)
    for k in range(n):
        pivot = rows[k][k]
        if pivot < 0 or (pivot == 0 and any(rows[i][k] != 0 for i in range(k + 1, n))):
            return False
        for i in range(k + 1, n) if pivot else ():
            factor = rows[i][k] / pivot
            for j in range(k + 1, n):
                rows[i][j] = rows[i][j] - factor * rows[k][j]
    return True
