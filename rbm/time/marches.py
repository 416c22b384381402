"""Reduced trajectories with the residual norms of all steps, by compiled code or by the definition."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from rbm.arithmetic.precision import ROUND_OFF, is_single, widened
from rbm.errors import ModelError, refused
from rbm.online.chunks import tiles
from rbm.online.marching import Marched, march, step_norms
from rbm.time.certificate import Coefficients, StepNorms, TimeCertificate, sizes_of

__all__ = ["Certified", "Functionals", "certified"]


class Functionals(NamedTuple):
    """Outputs that are read off along the way: s = l^T gamma, off by at most sum_i magnitudes_i |gamma_i|."""

    vectors: np.ndarray  #: l (M, outputs, N), or (1, outputs, N) for all points
    magnitudes: np.ndarray  #: of the same shape


class Certified(NamedTuple):
    """Reduced trajectories of M points, and the norms of their residuals; None for what was not asked for."""

    gamma: np.ndarray | None  #: (M, K + 1, N)
    norms: StepNorms | None
    outputs: np.ndarray  #: (outputs, M, K + 1)
    roundings: np.ndarray  #: (outputs, M, K + 1), what the outputs may be off by
    residuals: np.ndarray | None = None  #: R c^k (M, K, k), the residuals of all steps times dt


def certified(
    certificate: TimeCertificate,
    of: Coefficients,
    functionals: Functionals | None = None,
    *,
    certify: bool = True,
    keep: bool = True,
    coordinates: bool = False,
    describe: Callable[[int], str] | None = None,
) -> Certified:
    """March the reduced recursion at M points, evaluate the residuals of all steps, and the outputs.

    certify : also the norms; keep : also gamma; coordinates : also the residuals themselves; describe : names a point
        in messages

    In double precision this is compiled code (:class:`rbm.online.compiled_march.CompiledMarch`), which keeps nothing of
    the size of gamma if that is not wanted; in single precision the definition
    :mod:`rbm.online.marching`. Points whose
    floors hide their values are marched and evaluated once more by the definition, in twice the precision: their
    answers are those of the second march, as the certificate speaks of its increments.

    Raises ModelError, with the rows, for trajectories that are not finite.
    """
    kind = certificate.kind(of)
    functionals = _none(of) if functionals is None else functionals
    make = _by_definition if is_single(kind) else _compiled
    gamma, steps, made, failed, kept = make(certificate, of, functionals, certify, keep, coordinates)
    if np.any(failed):

        def message(i: int, where: str) -> str:
            at = f" at {describe(i)}" if describe else ""
            return (
                f"the reduced trajectory{at} ({where}) is not finite: its system is singular, or numbers are too large"
            )

        raise refused(ModelError, failed, message)
    if steps is None:
        return Certified(gamma, None, *made)
    norms = certificate.plain_norms(of, steps, np.finfo(kind).dtype)
    rows = certificate.weak(of, norms)
    bytes_each = 8 * norms.values.shape[1] * (4 * of.start.shape[1] + 16)
    for some in tiles(len(rows), bytes_each):
        again, of_again = certificate.sharper(of, norms, rows[some], coordinates)
        if gamma is not None:
            gamma[rows[some]] = again.gamma
        if kept is not None:
            kept[rows[some]] = of_again
        for whole, part in zip(made, _outputs(_at(functionals, rows[some]), again.gamma), strict=True):
            whole[:, rows[some]] = part
    return Certified(gamma, norms, *made, kept)


Steps = tuple[np.ndarray, np.ndarray, np.ndarray]
Parts = tuple[np.ndarray | None, Steps | None, tuple[np.ndarray, np.ndarray], np.ndarray, np.ndarray | None]


def _compiled(
    certificate: TimeCertificate, of: Coefficients, functionals: Functionals, certify: bool, keep: bool,
    coordinates: bool,
) -> Parts:  # fmt: skip
    """Return gamma, the norms with spreads and sizes of gamma, outputs with roundings, what failed (M,), residuals."""
    made = certificate.compiled(of).answer(
        of.terms, _once(of.control), of.start, functionals, certify=certify, keep=keep, residuals=coordinates
    )
    if certificate.kind(of).kind != "c" and made.gamma.dtype.kind == "c":  # real trajectories, a complex product
        made = made._replace(gamma=made.gamma.real, outputs=made.outputs.real)
    if certify:  # not too small
        np.multiply(made.sizes, 1 + (of.start.shape[1] + 8) * ROUND_OFF, out=made.sizes)
    steps = (made.values, made.spreads, made.sizes) if certify else None
    return (
        (made.gamma if keep else None),
        steps,
        (made.outputs, made.roundings),
        made.failed != 0,
        made.residuals if coordinates else None,
    )


def _by_definition(
    certificate: TimeCertificate, of: Coefficients, functionals: Functionals, certify: bool, keep: bool,
    coordinates: bool,
) -> Parts:  # fmt: skip
    """Return the same, and the residuals if asked for, by plain array operations."""
    marched: Marched = march(certificate.recursion, *of.terms, of.control, of.start.astype(certificate.kind(of)))
    failed = ~np.all(np.isfinite(marched.gamma), axis=(1, 2))
    steps, kept = None, None
    if certify and not np.any(failed):
        factor, plain = widened(certificate.state.factor), certificate.constants(certificate.is_complex(of))[0]
        given = certificate.recursion, *of.terms, of.control, marched
        values, spreads, kept = step_norms(factor, plain, *given, coordinates)
        steps = values, spreads, sizes_of(marched.gamma)
    return marched.gamma if keep else None, steps, _outputs(functionals, marched.gamma), failed, kept


def _outputs(functionals: Functionals, gamma: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return outputs and their roundings (outputs, M, K + 1) from gamma (M, K + 1, N)."""
    wide = widened(gamma)
    pairs = (functionals.vectors, wide), (functionals.magnitudes, np.abs(wide))
    first, second = (np.ascontiguousarray(np.moveaxis(g @ np.swapaxes(f, 1, 2), 2, 0)) for f, g in pairs)
    return first, second


def _at(functionals: Functionals, rows: np.ndarray) -> Functionals:
    return Functionals(*(a if len(a) == 1 else a[rows] for a in functionals))


def _none(of: Coefficients) -> Functionals:
    nothing = np.zeros((1, 0, of.start.shape[1]))
    return Functionals(nothing, nothing)


def _once(control: np.ndarray) -> Any:
    """Return a control that is the same for all points, a view of one row, as this row."""
    return control[:1] if control.strides[0] == 0 else control
