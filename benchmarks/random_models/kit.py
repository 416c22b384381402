"""Random matrices and vectors in mixed units, of which families make their models."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import scipy.sparse as sp

__all__ = ["Kit", "draw_units"]


@dataclass
class Kit:
    """Draws matrices and vectors of one size, in one set of units."""

    rng: np.random.Generator
    n: int
    complex_valued: bool = False
    units: np.ndarray = field(default_factory=lambda: np.ones(1))  #: (n,): entries a_ij become s_i a_ij s_j
    condition: float = 1.0
    blocks: bool = False  #: matrices of two uncoupled blocks, given sparse

    def __post_init__(self) -> None:
        self.units = np.broadcast_to(self.units, (self.n,)).copy()
        self.plain = self._conditioned(self.condition)
        self.half = np.linalg.cholesky(self.plain) if self.condition < 1e15 else np.eye(self.n)

    @classmethod
    def draw(
        cls,
        rng: np.random.Generator,
        *,
        sizes: tuple[int, int] = (2, 6),
        complex_share: float = 0.3,
        decades: float = 6.0,
        exponent: int = 0,
    ) -> Kit:
        """Any size, condition 1 to 10^decades, units 2^-exponent to 2^exponent."""
        n = int(rng.integers(sizes[0], sizes[1] + 1))
        return cls(
            rng,
            n,
            bool(rng.uniform() < complex_share),
            draw_units(rng, n, exponent),
            10 ** rng.uniform(0, decades),
            bool(n >= 4 and rng.uniform() < 0.3),
        )

    def normal(self, *shape: int) -> np.ndarray:
        """Standard normal numbers, complex ones if the kit is."""
        x = self.rng.standard_normal(shape)
        return x + 1j * self.rng.standard_normal(shape) if self.complex_valued else x

    def unitary(self, n: int) -> np.ndarray:
        """Gives a random unitary matrix (n, n)."""
        return np.linalg.qr(self.normal(n, n))[0]

    def _conditioned(self, condition: float) -> np.ndarray:
        """Positive definite with that condition number, before units."""
        if self.blocks:
            k = self.n // 2
            parts = [replace(self, n=m, blocks=False, units=np.ones(1), condition=1.0) for m in (k, self.n - k)]
            made = np.zeros((self.n, self.n), dtype=complex if self.complex_valued else float)
            made[:k, :k], made[k:, k:] = (p._conditioned(condition) for p in parts)
            return made
        q = self.unitary(self.n)
        p = (q * np.geomspace(1, 1 / condition, self.n)) @ q.conj().T
        return (p + p.conj().T) / 2

    def inner(self, g: np.ndarray, hermitian: bool = True) -> np.ndarray:
        """s L g L^H s, P = s L L^H s: a matrix whose size from P to P' is that of g."""
        a = self.half @ g @ self.half.conj().T
        a = self.units[:, None] * a * self.units
        return (a + a.conj().T) / 2 if hermitian else a

    @property
    def product(self) -> np.ndarray:
        """Gives the inner product P (n, n)."""
        p = self.units[:, None] * self.plain * self.units
        return (p + p.conj().T) / 2

    def positive(self, low: float = 0.1, high: float = 3.0, rank: int | None = None) -> np.ndarray:
        """A with eigenvalues between low and high against P; `rank` of them, the others zero but for rounding."""
        values = self.rng.uniform(low, high, self.n)
        if rank is not None:
            values[rank:] = 0
        q = self._rotation()
        return self.inner((q * values) @ q.conj().T)

    def _rotation(self) -> np.ndarray:
        if not self.blocks:
            return self.unitary(self.n)
        k = self.n // 2
        q = np.zeros((self.n, self.n), dtype=complex if self.complex_valued else float)
        q[:k, :k], q[k:, k:] = self.unitary(k), self.unitary(self.n - k)
        return q

    def indefinite(self) -> np.ndarray:
        """A Hermitian, eigenvalues of both signs."""
        return self.positive(-1.0, 1.0)

    def any(self, size: float = 1.0) -> np.ndarray:
        """A not Hermitian, of about that size from P to P'."""
        return self.inner(size * self.normal(self.n, self.n) / self.n**0.5, hermitian=False)

    def functional(self) -> np.ndarray:
        """f or l of size 1 in the dual norm."""
        return self.units * (self.half @ self.normal(self.n)) / self.n**0.5

    def vectors(self, count: int) -> np.ndarray:
        """(n, count) of size 1 in the norm of P."""
        return np.linalg.solve(self.half.conj().T, self.normal(self.n, count)) / self.units[:, None]

    def given(self, a: np.ndarray) -> Any:
        """A matrix as users may give it: sparse, or dense in either order."""
        if self.blocks and self.rng.uniform() < 0.7:
            return sp.csr_array(a)
        return np.asfortranarray(a) if self.rng.uniform() < 0.2 else a

    def outputs(self) -> dict[str, Any]:
        """One linear output, one of several terms, the energy or another quadratic form."""
        quadratic = self.product if self.rng.uniform() < 0.5 else self.indefinite()
        terms = [("mu", self.functional()), (self.phase(), self.functional())]
        return {"l": self.functional(), "t": terms, "q": self.given(quadratic)}

    def phase(self) -> str:
        """A coefficient of size 1, complex if the kit is."""
        return "exp(2j*mu)" if self.complex_valued else "cos(2*mu)"


def draw_units(rng: np.random.Generator, n: int, exponent: int) -> np.ndarray:
    """(n,) units between 2^-exponent and 2^exponent; powers of two or not."""
    if exponent == 0:
        return np.ones(n)
    powers = rng.uniform(-exponent, exponent, n)
    return np.exp2(np.round(powers) if rng.uniform() < 0.5 else powers)
