"""Reads points given by name, from dictionaries, tables and structured arrays, in the order of the parameters."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from numbers import Real
from typing import Any

import numpy as np
from array_api_compat import is_array_api_obj

from lowrank.arrays import beside, namespace
from rbm.errors import ParameterError
from rbm.parameters.expressions import identifier

__all__ = ["by_name", "conversion_hint", "is_batch", "refuse_answers", "refuse_hidden"]


def by_name(mus: Any, names: Sequence[str]) -> Any | None:
    """Return `mus` as an array (M, p) with a column for each of `names`, in their order.

    None if `mus` has no names of its own. Known are dictionaries of numbers and of arrays (M,), which are broadcast;
    named tuples and data classes; data frames (pandas, polars, a table of pyarrow); structured NumPy arrays; a
    pandas.Series with names for its index, which is one point; xarray datasets, whose variables are broadcast against
    each other by dimension, and arrays with labels on one dimension; lists of all these, one per item.

    Raises ParameterError, with both lists, if a name is missing or is none of the parameters; for entries that are
    missing or masked; for columns that are no numbers, have different lengths or labels that differ; for names in a
    place where they are not read.
    """
    if isinstance(mus, list | tuple):
        return _rows(mus, names)
    if isinstance(mus, np.ndarray | np.void):
        if mus.dtype.names is not None:
            return _stack({name: mus[key] for name, key in _checked(mus.dtype.names, names).items()})
        return _rows(mus.ravel().tolist(), names) if mus.dtype.kind == "O" else None
    if hasattr(mus, "data_vars"):
        return _dataset(mus, names)
    if isinstance(mus, Mapping):
        return _stack(_aligned({name: mus[key] for name, key in _checked(mus, names).items()}))
    if dataclasses.is_dataclass(mus) and not isinstance(mus, type):
        return by_name({f.name: getattr(mus, f.name) for f in dataclasses.fields(mus)}, names)
    if hasattr(mus, "dims") and hasattr(mus, "coords"):
        return _data_array(mus, names)
    labels = getattr(mus, "column_names", None)
    labels = getattr(mus, "columns", None) if labels is None else labels
    if labels is not None:
        labels = list(labels)
        aside = _index_names(mus, names)
        if labels == list(range(len(labels))) and not aside:
            return None  # numbered columns, as a data frame made of an array has them
        found = _checked(labels, names, aside or f"; take table[{list(names)}]")
        return _stack({name: mus[key] for name, key in found.items()})
    if hasattr(mus, "to_numpy") and (hasattr(mus, "index") or (len(names) > 1 and _is_column(mus, names))):
        return _series(mus, names)
    return None


def _index_names(table: Any, names: Sequence[str]) -> str:
    """Return the end of a message if a table has parameters in its index, where they are not read; or nothing."""
    index: Any = getattr(table, "index", None)
    if not hasattr(index, "names"):  # not of pandas
        return ""
    known, columns = set(map(identifier, names)), set(map(identifier, table.columns))
    titles = [n for n in index.names if identifier(n) in known - columns]
    if titles:
        return f"; {', '.join(titles)} {'is' if len(titles) == 1 else 'are'} in the index, call .reset_index()"
    labels = [n for n in index if isinstance(n, str) and identifier(n) in known]
    return "; the names are in the index, take table.T" if labels and not known & columns else ""


def _is_column(array: Any, names: Sequence[str]) -> bool:
    """Return whether an array says that it is the column of one parameter."""
    name = getattr(array, "name", None)
    return isinstance(name, str) and identifier(name) in map(identifier, names)


def is_batch(mus: Any) -> bool:
    """Return True for one batch of points, False for what yields batches, a generator for instance."""
    return hasattr(mus, "shape") or isinstance(mus, list | tuple | Mapping) or hasattr(mus, "columns")


def refuse_hidden(mus: Any, what: str = "mus") -> None:
    """Raise ParameterError for masked entries, alone or in a list, and for sparse matrices: NumPy would read them."""
    if isinstance(mus, np.ma.MaskedArray):
        masked: Any = np.ma.getmaskarray(mus)
        if masked.dtype.names is not None:
            masked = np.stack([masked[name] for name in masked.dtype.names], axis=-1)
        if masked.any():
            first = tuple(int(k) for k in np.argwhere(masked)[0])
            raise ParameterError(
                f"{what} hides {int(masked.sum())} of {masked.size} entries behind a mask, the first at index {first}; "
                "leave those points out, or fill the entries (.filled)"
            )
    elif isinstance(mus, list | tuple):
        for i, row in enumerate(mus):
            if row is np.ma.masked:
                raise ParameterError(f"entry {i} of {what} is masked; leave it out, or give a number")
            if type(row) is not float and isinstance(row, np.ma.MaskedArray | list | tuple):
                refuse_hidden(row, f"row {i} of {what}")
    elif hasattr(mus, "toarray") and hasattr(mus, "nnz"):
        raise ParameterError(f"{what} is a sparse {type(mus).__name__} of shape {mus.shape}; call .toarray()")


def refuse_answers(mus: Any) -> None:
    """Raise ParameterError for a Solution, whose points are an attribute of it."""
    if hasattr(mus, "mus") and hasattr(mus, "coefficients"):
        raise ParameterError(f"parameters must be numbers, got a {type(mus).__name__}; its points are solution.mus")


def conversion_hint(mus: Any, array: np.ndarray) -> str:
    """Return how to make numbers of `mus`, which NumPy reads as `array`; the end of a sentence, or nothing."""
    if isinstance(mus, Iterable) and not array.ndim and not isinstance(mus, str | bytes):
        return "; write list(mus)"
    if isinstance(mus, list | tuple) and all(
        isinstance(r, tuple | list) and len(r) == 2 and isinstance(r[0], str) and isinstance(r[1], Real) for r in mus
    ):
        return "; these are pairs (name, value): write dict(mus)"
    if array.dtype.kind not in "OSU" or not array.ndim:
        return ""
    if not _are_floats(array):
        return "; give rows of numbers, or points by name: {'name': values}"
    return f"; convert them by {'' if isinstance(mus, np.ndarray) else 'np.array(mus)'}.astype(float)"


def _checked(given: Any, names: Sequence[str], hint: str = "") -> dict[str, Any]:
    """Return {parameter: its key in `given`}, in the order of the parameters.

    `hint` ends the message about names that do not fit.
    """
    known = {identifier(name): name for name in names}
    found: dict[str, Any] = {}
    surplus, doubled = [], []
    for key in given:
        name = known.get(identifier(key))
        if name is None:
            surplus.append(repr(key) if isinstance(key, str) and key != key.strip() else str(key))
        elif name in found:
            doubled.append(name)
        else:
            found[name] = key
    missing = [name for name in names if name not in found]
    if missing or surplus or doubled:
        groups = {"missing": missing, "no parameters": surplus, "twice": doubled}
        parts = [f"{label}: {', '.join(some)}" for label, some in groups.items() if some]
        if hint.startswith("; take table[") and (missing or doubled):
            hint = ""
        raise ParameterError(f"points given by name need {', '.join(names)} and nothing else; {'; '.join(parts)}{hint}")
    return {name: found[name] for name in names}


def _has_names(kind: type) -> bool:
    """Return whether objects of a type, the items of a list, bring names with them."""
    return (
        issubclass(kind, Mapping | np.void)
        or any(hasattr(kind, name) for name in ("_asdict", "data_vars", "columns", "column_names"))
        or dataclasses.is_dataclass(kind)
        or (hasattr(kind, "index") and hasattr(kind, "to_numpy"))
        or (hasattr(kind, "dims") and hasattr(kind, "coords"))
    )


def _rows(mus: Sequence[Any], names: Sequence[str]) -> np.ndarray | None:
    """Return points (M, p) of a list whose items have names, one point each; one named tuple is one point."""
    if hasattr(mus, "_asdict"):
        return by_name(mus._asdict(), names)
    kinds = set(map(type, mus))
    if len(names) > 1 and any(hasattr(kind, "to_numpy") for kind in kinds):
        for i, row in enumerate(mus):
            if hasattr(row, "to_numpy") and not hasattr(row, "index") and _is_column(row, names):
                raise ParameterError(
                    f"item {i} of the points is the column {row.name}; give the columns by name, {{{row.name!r}: ...}}"
                )
    named = {kind for kind in kinds if _has_names(kind)}
    if not named:
        return None
    points: list[Any] = []
    for i, row in enumerate(mus):
        point = None
        if type(row) in named:
            refuse_answers(row)
            try:
                point = by_name(row, names)
            except ParameterError as error:
                raise ParameterError(f"row {i}: {error}") from None
        if point is not None and point.shape[0] != 1:
            raise ParameterError(f"row {i} of the points must hold one number for each of {', '.join(names)}")
        points.append(None if point is None else point[0])  # None: no names, or an array without labels
    bare = [i for i, point in enumerate(points) if point is None]
    if len(bare) == len(points):
        return None
    if bare:
        other = next(i for i, point in enumerate(points) if point is not None)
        raise ParameterError(
            f"row {bare[0]} of the points is a {type(mus[bare[0]]).__name__} without names, row {other} has names; "
            "give all by name"
        )
    return np.stack(points)


def _aligned(columns: dict[str, Any]) -> dict[str, Any]:
    """Return columns whose labels agree.

    Series must have one index; arrays of xarray are broadcast by dimension, as in a dataset.
    """
    series = {name: c for name, c in columns.items() if hasattr(c, "index") and hasattr(c, "to_numpy")}
    first = next(iter(series), "")
    for name, column in series.items():
        if not column.index.equals(series[first].index):
            raise ParameterError(
                f"the Series of {first} and {name} have different indexes, {list(series[first].index[:3])} and "
                f"{list(column.index[:3])}; align them (pandas.concat), or give their numbers (.to_numpy())"
            )
    labelled = {name: c for name, c in columns.items() if hasattr(c, "dims") and hasattr(c, "coords")}
    if not labelled:
        return columns
    import xarray  # it is there: some are its objects

    try:
        arrays = xarray.broadcast(*xarray.align(*labelled.values(), join="exact"))
    except ValueError as error:
        raise ParameterError(
            f"the arrays of {', '.join(labelled)} have different coordinates ({error}); align them (xarray.align)"
        ) from None
    return columns | {name: np.ravel(a.values) for name, a in zip(labelled, arrays, strict=True)}


def _dataset(mus: Any, names: Sequence[str]) -> np.ndarray:
    """Return variables of an xarray dataset, or coordinates of its dimensions, broadcast by dimension and unrolled."""
    import xarray  # it is there: `mus` is one of its objects

    _checked([*mus.data_vars, *(n for n in mus.coords if n in names)], names)
    arrays = xarray.broadcast(*(mus[name] for name in names))
    return _stack({name: np.ravel(a.values) for name, a in zip(names, arrays, strict=True)})


def _data_array(mus: Any, names: Sequence[str]) -> np.ndarray | None:
    """Return points of an xarray.DataArray with names as labels of one dimension; None if it has no parameters."""
    known = set(map(identifier, names))
    labels = {d: mus.coords[d].values.tolist() for d in mus.dims if d in mus.coords}
    texts = {d: given for d, given in labels.items() if given and all(isinstance(label, str) for label in given)}
    fitting = [d for d, given in texts.items() if known.intersection(map(identifier, given))]
    if not fitting and mus.dims and mus.dims[-1] in texts:
        fitting = [mus.dims[-1]]
    if fitting:
        array, found = np.asarray(mus.transpose(..., fitting[0])), _checked(texts[fitting[0]], names)
        return _stack({name: array[..., texts[fitting[0]].index(key)] for name, key in found.items()})
    told = [str(d) for d in (*mus.dims, *mus.coords) if identifier(d) in known]
    if told or (len(names) > 1 and _is_column(mus, names)):
        raise ParameterError(
            f"an array of xarray with the name {(told or [mus.name])[0]} among its dimensions or coordinates is no "
            f"table of points; label one dimension with the names {', '.join(names)}, or give a Dataset with a "
            "variable for each"
        )
    return None


def _series(mus: Any, names: Sequence[str]) -> np.ndarray:
    """Return the point of a pandas.Series with names for its index, or the column of the only parameter."""
    labels = list(mus.index)
    if labels and all(isinstance(label, str) for label in labels):
        return _stack({name: mus[key] for name, key in _checked(labels, names).items()})
    if len(names) == 1 and mus.name in (None, names[0]):
        return _stack({names[0]: mus})
    raise ParameterError(
        f"a Series is a point if its index holds the names {', '.join(names)}, but this one, named {mus.name!r}, has "
        f"the index {labels[:3]}...; give a DataFrame with a column for each parameter"
    )


def _stack(columns: dict[str, Any]) -> Any:
    """Return the points (M, p) of numbers and arrays (M,)."""
    others = [c for c in columns.values() if is_array_api_obj(c) and not isinstance(c, np.ndarray)]
    if others:
        return _stack_there(columns, others[0])
    arrays = {name: _numbers(name, values) for name, values in columns.items()}
    sizes = {name: len(a) for name, a in arrays.items() if a.ndim == 1 and len(a) != 1}
    if len(set(sizes.values())) > 1:
        shown = ", ".join(f"{name} {size}" for name, size in sizes.items())
        raise ParameterError(f"the parameters have different lengths: {shown}")
    points = np.empty((next(iter(sizes.values()), 1), len(arrays)))
    for j, array in enumerate(arrays.values()):
        points[:, j] = array
    return points


def _stack_there(columns: dict[str, Any], there: Any) -> Any:
    """Return the same for arrays of another module, which stay on their device."""
    xp, listed = namespace(there), ", ".join(columns)
    arrays = [beside(np.asarray(c, dtype=float), there) if not is_array_api_obj(c) else c for c in columns.values()]
    arrays = [beside(a, there) if isinstance(a, np.ndarray) else a for a in arrays]
    if any(a.ndim > 1 or not xp.isdtype(a.dtype, "real floating") for a in arrays):
        raise ParameterError(f"the values of {listed} must be real numbers, or arrays of them of shape (M,)")
    try:
        arrays = xp.broadcast_arrays(*arrays)
    except (ValueError, RuntimeError) as error:
        raise ParameterError(f"the parameters {listed} have different lengths ({error})") from None
    return xp.stack([xp.reshape(xp.astype(a, xp.float64), (-1,)) for a in arrays], axis=1)


def _numbers(name: str, values: Any) -> np.ndarray:
    """Return the values of one parameter, a number or (M,), as an array of numbers that hides no entry."""
    refuse_hidden(values, f"parameter {name}")
    array = values.to_numpy() if hasattr(values, "to_numpy") else np.asarray(values)
    if array.dtype.kind == "O":
        items = array.ravel().tolist()
        missing = [i for i, x in enumerate(items) if x is None or type(x).__name__ in ("NAType", "NaTType")]
        if missing:
            raise ParameterError(
                f"parameter {name} has {len(missing)} missing entries, the first in row {missing[0]}; leave these "
                "points out (dropna) or fill them"
            )
        if items and all(isinstance(x, Real) for x in items):
            array = array.astype(float)
    if array.dtype.kind not in "biuf":
        hint = "; convert them to float" if array.dtype.kind == "O" and _are_floats(array) else ""
        shown = str(values)[:40]
        raise ParameterError(f"parameter {name} must be real numbers, got {shown!r} of dtype {array.dtype}{hint}")
    if array.ndim > 1:
        raise ParameterError(
            f"parameter {name} must be a number or an array of shape (M,), got shape {array.shape}; call .ravel() on "
            "each of a grid"
        )
    return array


def _are_floats(array: np.ndarray) -> bool:
    try:
        array.astype(float)
    except (TypeError, ValueError):
        return False
    return True
