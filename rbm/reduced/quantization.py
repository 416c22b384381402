"""Reduced models in few bits per number: what is quantised, and what stays exact."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from lowrank import Quantized, quantize
from rbm.affine.inner_product import InnerProduct
from rbm.arithmetic.precision import ROUND_OFF, widened
from rbm.errors import ModelError
from rbm.reduced.arrays import ReducedArrays
from rbm.reduced.coded_basis import MOST, CodedBasis, principal_axes, vector_bits
from rbm.reduced.compliant import ReducedCompliant
from rbm.reduced.online_query import Query
from rbm.reduced.origin import BETWEEN

__all__ = ["PARTS", "quantized_fields"]

#: Terms count as Hermitian up to this deviation, in units of eps and of the largest entry, as in the kernels.
HERMITIAN = 64.0
#: Number of sample points when none are given.
SAMPLE = 512
PARTS = ("basis", "matrices")
#: How far Z^H P Z may be from I in the P that is given: more than rounding of one that was made orthonormal in it.
ORTHONORMAL = 1e-6


def quantized_fields(
    arrays: ReducedArrays, query: Query, bits: Any, rotate: bool, training: Any, product: Any
) -> dict[str, Any]:
    """Return the fields of a reduced model that change in few bits; see :meth:`rbm.ReducedModel.quantize`.

    query : solves the reduced system of `arrays`
    """
    parts = bits if isinstance(bits, Mapping) else {"basis": bits}
    if not parts:
        raise ModelError(f"bits name no part: give a number, or bits of {' or '.join(map(repr, PARTS))}")
    if unknown := [part for part in parts if part not in PARTS]:
        raise ModelError(f"bits are for the parts {', '.join(map(repr, PARTS))}, got {unknown[0]!r}")
    made: dict[str, Any] = {}
    if "basis" in parts:
        made |= _basis_fields(arrays, query, parts["basis"], rotate, training, product)
    if "matrices" in parts:
        made |= _matrix_fields(arrays, parts["matrices"])
    if arrays.record is not None:
        said = ", ".join(f"{part} in {bits:g} bits" for part, bits in parts.items())
        made["record"] = arrays.record.after(f"quantised ({said})")
    return made


def _basis_fields(
    arrays: ReducedArrays, query: Query, mean: Any, rotate: bool, training: Any, product: Any
) -> dict[str, Any]:
    basis = arrays.basis
    if basis is None:
        what = "has a basis in few bits already" if arrays.coded else "does not hold its basis"
        raise ModelError(f"this reduced model {what}: quantize the model that it was made from")
    given = arrays.product if product is None else product
    if given is None:
        raise ModelError(
            "quantize measures errors in the norm of the inner product P (n, n), which this model does not hold (its "
            "file is older, or P is dense): give it, product=P"
        )
    inner = given if isinstance(given, InnerProduct) else InnerProduct(given)
    if inner.shape[0] != len(basis):
        raise ModelError(f"the product is for {inner.shape[0]} unknowns, the basis has {len(basis)}")
    if product is not None:
        _check_product(inner, basis)
    gamma = _sample(arrays, query, training)
    gamma = gamma.astype(np.result_type(gamma, basis))
    size = np.abs(gamma).max()
    near_one = gamma / size if size > 0 else gamma  # their squares neither overflow nor vanish
    if rotate:
        rotation, weights = principal_axes(near_one)
    else:
        rotation, weights = np.eye(arrays.size), np.mean(np.abs(near_one) ** 2, axis=0)
    bits = vector_bits(basis @ rotation, weights, inner, mean)
    coded = CodedBasis.of(basis, inner, bits, rotation, query.origin.split(BETWEEN)[1])
    return {"basis": None, "product": None, "coded": replace(coded, largest=float(coded.error(gamma).max()))}


def _check_product(inner: InnerProduct, basis: np.ndarray) -> None:
    """Raise ModelError for a product that is not the one in which the basis (n, N) was made orthonormal."""
    images = inner.matrix @ basis
    defect = float(np.linalg.norm(basis.conj().T @ images - np.eye(basis.shape[1])))
    rounding = len(basis) * ROUND_OFF * float(np.linalg.norm(np.abs(basis.T) @ (abs(inner.matrix) @ np.abs(basis))))
    if not defect <= ORTHONORMAL + 8 * rounding:
        raise ModelError(
            f"the basis is not orthonormal in this product, ||Z^H P Z - I|| = {defect:.3g}: give the inner product P "
            "that the model was made with, without its constrained unknowns"
        )


def _sample(arrays: ReducedArrays, query: Query, training: Any) -> np.ndarray:
    """Return the coefficients (M, N) at the sample points where there is an answer, in double precision."""
    mus = arrays.parameters.sample(SAMPLE, "sobol", rng=0) if training is None else arrays.parameters.validate(training)
    found = query.solve(mus, estimate=False, on_error="raise" if training is not None else "mark")
    gamma = widened(np.delete(found.coefficients, found.failed, axis=0))
    if not len(gamma):
        raise ModelError(f"the model has an answer at none of {len(mus)} sample points: give others, training=")
    return gamma


def _matrix_fields(arrays: ReducedArrays, bits: Any) -> dict[str, Any]:
    """Quantise the reduced matrices, one scale for each term: Hermitian ones become exactly Hermitian.

    The estimators keep their numbers, so that they certify what is then computed.
    """
    if isinstance(bits, bool) or not isinstance(bits, int | np.integer) or not 2 <= bits <= MOST:
        raise ModelError(f"the bits of the reduced matrices must be an integer from 2 to {MOST}, got {bits!r}")
    codes: dict[str, Quantized] = {}
    made: dict[str, Any] = {}
    for name in ("operators", "rhs"):
        array = _hermitian(getattr(arrays, name))
        codes[name] = quantize(array.reshape(len(array), -1), int(bits), axis=0)
        made[name] = codes[name].to_dense().reshape(array.shape)
    # u_N^H r is no longer round-off: the kernels do not know how large it is, the output itself does
    outputs = {
        name: replace(output, definite=False) if isinstance(output, ReducedCompliant) else output
        for name, output in arrays.outputs.items()
    }
    return {**made, "outputs": outputs, "coded_matrices": codes}


def _hermitian(terms: np.ndarray) -> np.ndarray:
    """Return square terms (Q, N, N) without what rounding left of A - A^H, which could become a whole step."""
    if terms.ndim != 3 or terms.shape[1] != terms.shape[2]:
        return terms
    adjoint = terms.conj().transpose(0, 2, 1)
    sizes, differences = (np.abs(a).max(axis=(1, 2), keepdims=True) for a in (terms, terms - adjoint))
    small = differences <= HERMITIAN * np.finfo(terms.dtype).eps * sizes
    return np.where(small, (terms + adjoint) / 2, terms)
