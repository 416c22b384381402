"""Outputs of the full model on a reduced basis: functionals and forms projected, with bounds of their rounding."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from rbm.affine.functional_range import FunctionalRange
from rbm.affine.inner_product import InnerProduct
from rbm.affine.terms import Output
from rbm.arithmetic import extended
from rbm.arithmetic.precision import ROUND_OFF, scaled
from rbm.errors import ModelError
from rbm.reduced.form_norms import form_norm
from rbm.reduced.outputs import ReducedLinear, ReducedOutput, ReducedQuadratic

__all__ = ["reduce_output"]


def reduce_output(
    product: InnerProduct, basis: np.ndarray, output: Output, name: str = "of the model"
) -> ReducedOutput:
    """Return the output on the span of a P-orthonormal basis Z (n, N).

    Everything is formed for functionals brought to unit size by powers of two, so that no square over- or underflows,
    and scaled back.

    Raises ModelError, with the name of the output, if what comes out is beyond the range of numbers.
    """
    made = _quadratic(product, basis, output) if output.quadratic else _linear(product, basis, output)
    arrays = (made.matrices, made.norms) if isinstance(made, ReducedQuadratic) else (made.vectors, made.dual)
    if not all(np.all(np.isfinite(a)) for a in arrays):
        largest = max(float(abs(term).max()) for term in output.terms)
        raise ModelError(
            f"output {name!r} has entries up to {largest:.3g}: its reduced form is beyond the range of double "
            "precision; scale it down, and its values up"
        )
    if output.offset is not None:
        assert isinstance(made, ReducedLinear)
        return replace(made, offset=output.offset.numbers, offset_coefficients=output.offset.coefficients)
    return made


def _linear(product: InnerProduct, basis: np.ndarray, output: Output) -> ReducedLinear:
    vectors = np.stack(output.terms, axis=1)
    # to unit size in the units of the product, in one step: neither vectors * units nor a part of it may leave the
    # range of numbers
    sizes, shift = np.maximum(np.abs(vectors.real), np.abs(vectors.imag)), np.frexp(product.balance)[1][:, None] - 1
    lowest = np.iinfo(np.int32).min
    exponents = np.where(sizes > 0, np.frexp(sizes)[1] + shift, lowest).max(axis=0, initial=lowest)
    exponents = np.where(exponents == lowest, 0, exponents)
    vectors = scaled(vectors, -exponents)
    # |l^T v| = |(conj l)^H v| <= ||conj l||_{P^-1} ||v||_P: the functional v -> l^T v has the
    # representer P^{-1} conj(l)
    span = FunctionalRange(product)
    span.append(vectors.conj(), np.zeros_like(vectors), np.zeros(vectors.shape))
    growth = 1 + span.orthogonality
    of_sums = 3 * (len(exponents) + 4) * ROUND_OFF * span.norms
    split = extended.SplitMatrix(vectors.T, product.balance)
    hi, lo = extended.product(split, basis)
    rounding = extended.rounding(split, basis) + ROUND_OFF * np.abs(hi + lo)
    reduced, off = (scaled(part.T, exponents).T for part in (hi + lo, rounding))
    dual = scaled(growth * span.factor.conj(), exponents)
    defects = scaled(growth * (2 * span.defects + of_sums), exponents)
    return ReducedLinear(output.coefficients, reduced, dual, defects, off)


def _quadratic(product: InnerProduct, basis: np.ndarray, output: Output) -> ReducedQuadratic:
    forms, exponents = zip(*(product.in_units_scaled(q) for q in output.terms), strict=True)
    vectors = basis / product.balance[:, None]
    reduced = [_form(q, vectors) for q in forms]
    matrices = np.stack([scaled(m, e) for (m, _), e in zip(reduced, exponents, strict=True)])
    norms = scaled(np.array([form_norm(q, product.units) for q in forms]), np.array(exponents))
    rounding = scaled(np.array([off for _, off in reduced]), np.array(exponents))
    return ReducedQuadratic(output.coefficients, matrices, norms, rounding, product.orthonormality(basis))


def _form(form: Any, vectors: np.ndarray) -> tuple[np.ndarray, float]:
    """Return V^H Q V (N, N) in balanced units, V = S^-1 Z, and a bound of the Frobenius norm of its error.

    The products are formed in extended precision.
    """
    split = extended.SplitMatrix(form)
    image, off = extended.product(split, vectors), extended.rounding(split, vectors)
    adjoint = extended.SplitMatrix(vectors.conj().T)
    hi, lo = extended.product(adjoint, image)
    made = hi + lo
    off = extended.rounding(adjoint, image) + np.abs(vectors.T) @ off + ROUND_OFF * np.abs(made)
    return made, float(np.linalg.norm(off)) * (1 + 2.0**-20)
