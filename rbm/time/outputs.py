"""Linear outputs at every time, with their bounds."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from rbm.reduced.linear_terms import LinearTerms, above_underflow
from rbm.reduced.outputs import ReducedLinear
from rbm.time.marches import Certified, Functionals

__all__ = ["functionals_of", "output_values", "terms_of"]


def terms_of(outputs: Mapping[str, Any], mus: np.ndarray) -> dict[str, LinearTerms]:
    """Return what linear outputs are made of at points (M, p)."""
    made = {}
    for name, output in outputs.items():
        assert isinstance(output, ReducedLinear)
        made[name] = output.functional(mus)
    return made


def functionals_of(terms: Mapping[str, LinearTerms], size: int, is_complex: bool) -> Functionals:
    """Return the functionals of all outputs for one march.

    size : N; is_complex : whether gamma is. If not, complex outputs are two functionals, real and imaginary part.
    """
    vectors: list[np.ndarray] = []
    magnitudes: list[np.ndarray] = []
    for term in terms.values():
        parts = [term.vectors]
        if term.vectors.dtype.kind == "c" and not is_complex:
            parts = [term.vectors.real, term.vectors.imag]
        vectors += parts
        # each part may be off by as much as both together
        magnitudes += [term.magnitudes] * len(parts)
    if not vectors:
        nothing = np.zeros((1, 0, size))
        return Functionals(nothing, nothing)
    first, second = (np.stack(np.broadcast_arrays(*arrays), axis=1) for arrays in (vectors, magnitudes))
    return Functionals(first, second)


def output_values(
    terms: Mapping[str, LinearTerms], found: Certified, error: np.ndarray | None
) -> Iterator[tuple[str, np.ndarray, np.ndarray | None]]:
    """Yield names, values (M, K + 1) of outputs at all times, and bounds of their errors (M, K + 1).

    error : (M, K + 1), bounds of ||e^k|| in the norm whose dual the outputs are measured in

        |s(u^k) - s(Z gamma^k)| <= ||l||' error_k + rounding
    """
    place = 0
    for name, term in terms.items():
        value, rounding = found.outputs[place], found.roundings[place]
        place += 1
        if term.vectors.dtype.kind == "c" and value.dtype.kind != "c":
            value = value + 1j * found.outputs[place]
            place += 1
        if np.ndim(term.offset):
            value = value + term.offset[:, None]
            rounding = rounding + term.rounding[:, None]
        bound = None if error is None else above_underflow(term.norm * error + rounding, term.norm, error)
        yield name, value, bound
