"""In files of reduced models: basis and reduced matrices, in full or in few bits, and the inner product."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import scipy.sparse as sp

from lowrank import Quantized
from rbm.reduced.arrays import ReducedArrays
from rbm.reduced.coded_basis import CodedBasis
from rbm.reduced.term_norms import TermNorms

__all__ = ["read_parts", "write_parts"]

MATRICES = ("operators", "rhs")


def write_parts(model: ReducedArrays, arrays: dict[str, np.ndarray], basis: bool) -> dict[str, Any]:
    """Put matrices and basis of a model into `arrays`; return their entries of the header.

    Keys: `operators` and `rhs`, or for reduced matrices in few bits `matrices/NAME/...`
    (:meth:`lowrank.Quantized.arrays`); with `basis` `basis`, or `coded/...` of one in few bits, and `product/...`, the
    upper triangle of a sparse P in compressed rows (a dense one is larger than the basis and left out); and
    `term_norms/...`, if they are known.
    """
    header: dict[str, Any] = {}
    if model.term_norms is not None:
        arrays |= {f"term_norms/{name}": getattr(model.term_norms, name) for name in ("norms", "skew")}
    for name in MATRICES:
        matrix, codes = getattr(model, name), model.coded_matrices.get(name)
        if codes is None:
            arrays[name] = matrix
        else:
            arrays |= {f"matrices/{name}/{key}": a for key, a in codes.arrays().items()}
            header.setdefault("matrices", {})[name] = list(matrix.shape)
    if not basis:
        return header
    if model.coded is not None:
        arrays |= {f"coded/{key}": np.asarray(a) for key, a in model.coded.arrays().items()}
        header["coded"] = {"origin": model.coded.origin}
    if model.basis is not None:
        arrays["basis"] = model.basis
        if sp.issparse(model.product):
            upper = sp.csr_array(sp.triu(model.product, format="csr"))
            arrays |= {f"product/{name}": getattr(upper, name) for name in ("data", "indices", "indptr")}
    return header


def read_parts(header: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> dict[str, Any]:
    """Return the fields of :class:`rbm.reduced.arrays.ReducedArrays` that :func:`write_parts` wrote.

    Raises ValueError or KeyError for arrays that do not fit each other.
    """
    made: dict[str, Any] = {"basis": arrays.get("basis")}
    codes = {name: Quantized.from_arrays(_under(f"matrices/{name}/", arrays)) for name in header.get("matrices", {})}
    if odd := [name for name, c in codes.items() if c.scales.dtype != np.zeros(0, c.dtype).real.dtype]:
        raise ValueError(f"the codes of its {odd[0]} have scales in {codes[odd[0]].scales.dtype}")
    for name in MATRICES:
        made[name] = codes[name].to_dense().reshape(header["matrices"][name]) if name in codes else arrays[name]
    made["coded_matrices"] = codes
    if norms := _under("term_norms/", arrays):
        made["term_norms"] = TermNorms(**norms)
        if len(made["term_norms"].norms) != len(made["operators"]):
            raise ValueError(f"it holds the norms of {len(made['term_norms'].norms)} operator terms")
    if "coded" in header:
        made["coded"] = CodedBasis.from_arrays(_under("coded/", arrays), str(header["coded"]["origin"]))
        if len(made["coded"].rotation) != made["operators"].shape[2]:
            raise ValueError(f"its coded basis stands for {len(made['coded'].rotation)} vectors")
        if made["basis"] is not None:
            raise ValueError("it holds its basis twice, in full and in few bits")
    if product := _under("product/", arrays):
        made["product"] = _product(product, made["basis"])
    return made


def _under(prefix: str, arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    return {key.removeprefix(prefix): a for key, a in arrays.items() if key.startswith(prefix)}


def _product(parts: dict[str, np.ndarray], basis: np.ndarray | None) -> Any:
    """Return P (n, n) from its upper triangle."""
    n = len(parts["indptr"]) - 1
    data, indices, indptr = (parts[name] for name in ("data", "indices", "indptr"))
    if not (
        basis is not None
        and n == len(basis)
        and data.dtype in (float, complex)
        and np.all(np.isfinite(data))
        and all(a.ndim == 1 and a.dtype.kind == "i" for a in (indices, indptr))
        and indptr[0] == 0
        and np.all(np.diff(indptr) >= 0)
        and indptr[-1] == len(indices) == len(data)
        and np.all((indices >= 0) & (indices < n))
    ):
        raise ValueError("the arrays of its product do not fit each other")
    upper = sp.csr_array((data, indices, indptr), shape=(n, n))
    return sp.csr_array(upper + sp.triu(upper, 1).conj().T)
