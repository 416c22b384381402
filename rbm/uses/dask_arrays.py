"""Queries for the arrays of a cluster: a dask array of points in, dask arrays of answers out, chunk by chunk."""

from __future__ import annotations

import uuid
from typing import Any

import numpy as np

from lowrank.optional import require
from rbm.errors import ModelError, ParameterError
from rbm.online.threads import alone
from rbm.reduced.model import ReducedModel
from rbm.reduced.partitioned import PartitionedModel
from rbm.reduced.streams import light
from rbm.solution import Solution

__all__ = ["dask_solve"]


def dask_solve(
    reduced: ReducedModel | PartitionedModel,
    mus: Any,
    *,
    method: str | None = None,
    extrapolate: bool = False,
    on_error: str = "raise",
    coefficients: bool = True,
) -> dict[str, Any]:
    """Return the answers for a dask array of parameter points as dask arrays, of which nothing is computed yet.

    mus : dask array (M, p), in chunks of rows: a chunk is what one task answers. M may be unknown (NaN)
    method, extrapolate, on_error : as for :meth:`rbm.ReducedModel.solve`; with "raise" the first chunk with a point
        that fails stops the computation, with "mark" such rows have NaN, and infinite bounds
    coefficients : also the coefficients

    Returns
    -------
    {"bound": (M,), name of each output: (M,), "<name>_bound": (M,), "coefficients": (M, N)}, each in the chunks of
    `mus`. Arrays that are computed together, by ``dask.compute`` or one store, share the work of a chunk.

    The model, without its basis, is one key of the graph: it travels once per worker. Each task uses one thread.
    ``dask.array.to_zarr`` and ``dask.dataframe.to_parquet`` write the arrays (docs/scale.md).

    Raises ImportError without dask, ParameterError for other arrays, ModelError for an output called as one of the
    arrays, for a model that cannot be pickled, and, when it is computed, for a chunk with complex answers in an array
    that was real where its type was told, at the first snapshot or corners of the parameter space: callables may be
    real at some points only.

    Memory of a worker: that of a chunk, (p + 2 N + 2 outputs + 20) numbers a point, for each of its threads.
    """
    da, dask = (require(module, "dask[array]", "dask_solve") for module in ("dask.array", "dask"))
    if not isinstance(reduced, ReducedModel | PartitionedModel):
        raise TypeError(f"the first argument of dask_solve is a ReducedModel, got {type(reduced).__name__}")
    if not isinstance(mus, da.Array):
        raise ParameterError(
            f"mus must be a dask array (M, p), got {type(mus).__name__}; dask.array.from_array(mus, chunks=(1 << 17, "
            f"{len(reduced.parameters)})) makes one, and ReducedModel.solve takes others"
        )
    if mus.ndim != 2 or mus.shape[1] != len(reduced.parameters):
        raise ParameterError(f"mus must have the shape (M, {len(reduced.parameters)}), got {mus.shape}")
    blank = reduced._online.blank(True, coefficients, method)
    shown = _columns(blank, coefficients)
    if len(shown) < 1 + 2 * len(blank.outputs) + coefficients:
        raise ModelError(f"outputs called {', '.join(blank.outputs)} and their bounds have the names of other arrays")
    options = {
        "method": method,
        "extrapolate": extrapolate,
        "on_error": on_error,
        "coefficients": coefficients,
    }
    rows = mus.rechunk({1: -1})
    key = f"rbm-model-{uuid.uuid4().hex}"
    model = dask.delayed(light(reduced, method), name=key, pure=True)
    points = list(rows.to_delayed().ravel())
    blocks = [dask.delayed(_answer, pure=False)(model, block, options) for block in points]
    typed = dask.delayed(_typed, pure=False)  # of one array: others are answered whatever is wrong with it
    made = {}
    for name, example in shown.items():
        parts = [
            da.from_delayed(typed(block, name, example.dtype, at), (count, *example.shape[1:]), dtype=example.dtype)
            for block, at, count in zip(blocks, points, rows.chunks[0], strict=True)
        ]
        made[name] = da.concatenate(parts, axis=0, allow_unknown_chunksizes=True)
    return made


def _columns(solution: Solution, coefficients: bool) -> dict[str, np.ndarray]:
    """Return the arrays of an answer by the names that they have as dask arrays."""
    bounds = {f"{name}_bound": values for name, values in solution.output_bounds.items()}
    return {
        "bound": solution.bound,
        **solution.outputs,
        **bounds,
        **({"coefficients": solution.coefficients} if coefficients else {}),
    }


def _answer(
    model: ReducedModel | PartitionedModel, points: np.ndarray, options: dict[str, Any]
) -> dict[str, np.ndarray]:
    """Answer one chunk, in a thread of a worker."""
    if not len(points):
        blank = model._online.blank(True, options["coefficients"], options["method"])
        return {name: values[:0] for name, values in _columns(blank, options["coefficients"]).items()}
    with alone():
        return _columns(model.solve(np.asarray(points, dtype=float), **options), options["coefficients"])


def _typed(answers: dict[str, np.ndarray], name: str, wanted: np.dtype, points: np.ndarray) -> np.ndarray:
    """Return an array in the type that was announced; raise ModelError where that would lose an imaginary part."""
    values = answers[name]
    if np.iscomplexobj(values) and wanted.kind != "c":
        lost = np.abs(np.nan_to_num(values.imag)).reshape(len(values), -1).max(axis=1, initial=0.0)
        if np.any(lost > 0):
            row = int(np.argmax(lost > 0))
            raise ModelError(
                f"{name!r} is complex at {np.asarray(points)[row].tolist()} and was real where its type was told; let "
                "its coefficients return complex numbers at all points (values + 0j), so that the array is complex"
            )
        values = values.real
    return values.astype(wanted, copy=False)
