"""Integer powers as products, whose bits do not depend on a library."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

__all__ = ["IntegerPower"]


@dataclass(frozen=True)
class IntegerPower:
    """The function x -> x^e of arrays of any module, e an integer that is not 0.

    By repeated squaring, and for e < 0 the reciprocal of x^|e|. So NumPy, a device and the compiled kernels
    (:mod:`rbm.online.programs`) round it alike, which the powers of C libraries do not; |error| <= |e| u |x^e|.
    """

    exponent: int

    @property
    def __name__(self) -> str:
        return f"power {self.exponent}"

    def __call__(self, x: Any) -> Any:
        """Return x^e, entry by entry."""
        made: Any = None
        rest, square = abs(self.exponent), x
        while True:
            if rest & 1:
                made = square if made is None else made * square
            rest >>= 1
            if not rest:
                return made if self.exponent > 0 else 1.0 / made
            square = square * square

    def slope(self, x: Any) -> Any:
        """Return the derivative e x^(e - 1)."""
        return self.exponent * (x ** (self.exponent - 1.0))
