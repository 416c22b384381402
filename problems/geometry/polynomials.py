"""Polynomials with exact coefficients in parameters and in functions of them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from functools import reduce
from math import gcd, lcm
from typing import Any

__all__ = ["ONE", "Atom", "Monomial", "Polynomial", "number_text", "power_text"]


@dataclass(frozen=True, order=True)
class Atom:
    """A parameter, or a function of a formula, such as sin(2*angle).

    text : how formulas write it; two atoms are one if their texts are the same
    function, argument : the name of the function, and the formula it is of; None for a parameter
    """

    text: str
    function: str | None = field(default=None, compare=False)
    argument: Any = field(default=None, compare=False)


#: Atoms with their powers, which may be negative, in the order of the atoms.
Monomial = tuple[tuple[Atom, int], ...]
ONE: Monomial = ()


def _times(a: Monomial, b: Monomial) -> Monomial:
    """Return the product of two monomials."""
    powers = dict(a)
    for atom, power in b:
        powers[atom] = powers.get(atom, 0) + power
    return tuple(sorted((atom, power) for atom, power in powers.items() if power))


def _inverse(a: Monomial) -> Monomial:
    return tuple((atom, -power) for atom, power in a)


class Polynomial:
    """A sum of monomials with rational coefficients, exact; powers may be negative.

    terms : {monomial: coefficient}; zeros are left out

    cos(x)^2 is replaced by 1 - sin(x)^2 and sqrt(x)^2 by x, where x is a polynomial: equal polynomials then have the
    same terms, but for other relations between functions, which are not known.
    """

    def __init__(self, terms: Mapping[Monomial, Fraction] | Iterable[tuple[Monomial, Fraction]] = ()) -> None:
        summed: dict[Monomial, Fraction] = {}
        for monomial, coefficient in terms.items() if isinstance(terms, Mapping) else terms:
            summed[monomial] = summed.get(monomial, Fraction(0)) + coefficient
        self.terms = {m: c for m, c in sorted(summed.items()) if c}

    @classmethod
    def number(cls, value: Fraction | int) -> Polynomial:
        """Return a number as a constant."""
        return cls({ONE: Fraction(value)})

    @classmethod
    def atom(cls, atom: Atom) -> Polynomial:
        """Return a parameter, or a function, as a polynomial."""
        monomial: Monomial = ((atom, 1),)
        return cls({monomial: Fraction(1)})

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Polynomial) and self.terms == other.terms

    def __hash__(self) -> int:
        return hash(frozenset(self.terms.items()))

    def __bool__(self) -> bool:
        return bool(self.terms)

    @property
    def constant(self) -> Fraction | None:
        """Return the number that it is; None if it depends on anything."""
        return self.terms.get(ONE, Fraction(0)) if set(self.terms) <= {ONE} else None

    def atoms(self) -> set[Atom]:
        """Return the atoms that occur."""
        return {atom for monomial in self.terms for atom, _ in monomial}

    def __add__(self, other: Polynomial) -> Polynomial:
        return Polynomial([*self.terms.items(), *other.terms.items()])

    def __sub__(self, other: Polynomial) -> Polynomial:
        return self + other.scaled(Fraction(-1))

    def scaled(self, factor: Fraction, monomial: Monomial = ONE) -> Polynomial:
        """Return the product with a number and a monomial."""
        return Polynomial({_times(m, monomial): c * factor for m, c in self.terms.items()})

    def __mul__(self, other: Polynomial) -> Polynomial:
        made = Polynomial([(_times(a, b), x * y) for a, x in self.terms.items() for b, y in other.terms.items()])
        return made._without_squares()

    def __pow__(self, power: int) -> Polynomial:
        return reduce(Polynomial.__mul__, [self] * power, Polynomial.number(1))

    def _without_squares(self) -> Polynomial:
        """Return the same with squares of cosines and of square roots replaced."""
        for monomial, coefficient in self.terms.items():
            for atom, power in monomial:
                square = _square(atom) if power >= 2 else None
                if square is not None:
                    rest = Polynomial({_times(monomial, ((atom, -2),)): coefficient})
                    others = Polynomial({m: c for m, c in self.terms.items() if m != monomial})
                    return (others + rest * square)._without_squares()
        return self

    def content(self) -> tuple[Fraction, Monomial]:
        """Return the number and the monomial that all terms share.

        What is left has whole coefficients without a common factor, the last of them positive, and of each atom the
        smallest power is zero.
        """
        values = list(self.terms.values())
        common = Fraction(gcd(*(abs(v.numerator) for v in values)), lcm(*(v.denominator for v in values)))
        # in the order of atoms' names, constants come first: 1 - t is written so, not as -(t - 1)
        common = common if values[0] > 0 else -common
        least = {atom: min(dict(m).get(atom, 0) for m in self.terms) for atom in self.atoms()}
        return common, tuple(sorted((atom, power) for atom, power in least.items() if power))

    def primitive(self) -> tuple[Fraction, Monomial, Polynomial]:
        """Return the content and what is left."""
        number, monomial = self.content()
        return number, monomial, self.scaled(1 / number, _inverse(monomial))

    def divided(self, other: Polynomial) -> Polynomial | None:
        """Return the quotient if it is a polynomial; None if it is none. Powers must not be negative."""
        atoms = sorted(self.atoms() | other.atoms())

        def order(monomial: Monomial) -> tuple[int, ...]:
            return tuple(dict(monomial).get(atom, 0) for atom in atoms)

        lead = max(other.terms, key=order)
        left, quotient = self, Polynomial()
        while left:
            most = max(left.terms, key=order)
            step = _times(most, _inverse(lead))
            if any(power < 0 for _, power in step):
                return None
            part = Polynomial({step: left.terms[most] / other.terms[lead]})
            # without the rules for squares, which could bring back what was taken away
            product = [(_times(step, m), part.terms[step] * c) for m, c in other.terms.items()]
            left, quotient = left - Polynomial(product), quotient + part
        return quotient

    def text(self) -> str:
        """Return a formula; its powers must not be negative."""
        written = ""
        for monomial, coefficient in self.terms.items():
            size = abs(coefficient)
            factors = [power_text(atom.text, power) for atom, power in monomial]
            factors = factors if size == 1 and factors else [number_text(size), *factors]
            sign = (" - " if coefficient < 0 else " + ") if written else ("-" if coefficient < 0 else "")
            written += sign + "*".join(factors)
        return written or "0"

    def __repr__(self) -> str:
        return f"Polynomial({ {tuple((a.text, p) for a, p in m): str(c) for m, c in self.terms.items()} })"


def _square(atom: Atom) -> Polynomial | None:
    """Return the square of an atom where a rule is known."""
    if atom.function == "cos":
        sine = Atom(f"sin{atom.text.removeprefix('cos')}", "sin", atom.argument)
        return Polynomial({ONE: Fraction(1), ((sine, 2),): Fraction(-1)})
    if atom.function == "sqrt":
        known: Polynomial | None = atom.argument.polynomial
        return known
    return None


def power_text(text: str, power: int) -> str:
    """Return a positive power of an atom as a formula."""
    return text if power == 1 else f"{text}**{power}"


def number_text(value: Fraction) -> str:
    """Return a positive rational number as a formula: as a decimal, where one is right; rounded, where it is long."""
    if value.denominator == 1 and value < 10**15:
        return str(value)
    shown = repr(float(value))
    short = max(value.numerator, value.denominator) < 10**15
    return f"({value.numerator}/{value.denominator})" if short and Fraction(shown) != value else shown
