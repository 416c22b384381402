"""Linear outputs at every time, with their bounds."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from rbm.arithmetic.precision import ROUND_OFF
from rbm.reduced.linear_terms import LinearTerms, above_underflow
from rbm.reduced.outputs import ReducedLinear
from rbm.time.dual import Correction
from rbm.time.marches import Certified, Functionals

__all__ = ["functionals_of", "output_values", "terms_of"]

#: Numbers above this are the same after the smallest normal number was added.
FAR = 1e-250


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
    terms: Mapping[str, LinearTerms],
    found: Certified,
    error: np.ndarray | None,
    share: np.ndarray,
    corrections: Mapping[str, Correction],
) -> Iterator[tuple[str, np.ndarray, np.ndarray | None]]:
    """Yield names, values (M, K + 1) of outputs at all times, and bounds of their errors (M, K + 1).

    error (M, K + 1), share (M,) : share error bounds ||e^k|| in the norm whose dual the outputs are measured in

        |s(u^k) - s(Z gamma^k)| <= ||l||' share error_k + rounding

    corrections : of outputs with a dual problem; the smaller of both bounds is taken, the first with |correction| more
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
        bound = None if error is None else _bounds(term.norm * share[:, None], error, rounding)
        if name in corrections:
            correction, rounding = corrections[name], 2 * rounding  # twice: gamma is rounded once more
            value = value + correction.value
            if bound is not None:
                rounding = rounding + 4 * ROUND_OFF * np.abs(value)
                other = correction.bound + float(np.finfo(float).tiny)
                bound = np.fmin(bound + np.abs(correction.value), other) + rounding
                bound *= 1 + 16 * ROUND_OFF
        yield name, value, bound


def _bounds(norm: np.ndarray, error: np.ndarray, rounding: np.ndarray) -> np.ndarray:
    """Return norm (M, 1) times error (M, K + 1), and rounding, not too small.

    Where the sums are far above the smallest normal number nothing is lost below it.
    """
    bound = norm * error
    bound += rounding
    if bound[:, 1:].min(initial=np.inf) > FAR:
        bound[:, :1] = above_underflow(bound[:, :1], norm, error[:, :1])
        return bound
    return above_underflow(bound, norm, error)
