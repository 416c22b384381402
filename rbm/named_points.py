"""Parameter points given by name: dictionaries, tables and structured arrays, put into the order of the parameter space."""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping, Sequence
from numbers import Real
from typing import Any

import numpy as np
from array_api_compat import is_array_api_obj

from lowrank.arrays import beside, namespace
from rbm.errors import ParameterError

__all__ = ["by_name", "is_batch", "refuse_hidden"]


def by_name(mus: Any, names: Sequence[str]) -> Any | None:
    """`mus` as an array (M, p) with a column for each of `names`, in their order; None if `mus` has no names of its own.

    Known are dictionaries of numbers and of arrays (M,), which are broadcast; lists of dictionaries; named tuples; data frames
    (pandas, polars, a table of pyarrow); structured NumPy arrays; a pandas.Series with names for its index, which is one point;
    xarray datasets, whose variables are broadcast against each other by dimension.

    Raises ParameterError, with both lists, if a name is missing or is none of the parameters; for entries that are missing or masked;
    for columns that are no numbers or have different lengths.
    """
    if isinstance(mus, list | tuple):
        return _rows(mus, names)
    if isinstance(mus, np.ndarray | np.void):
        fields = mus.dtype.names
        return None if fields is None else _stack({name: mus[name] for name in _checked(fields, names)})
    if hasattr(mus, "data_vars"):
        return _dataset(mus, names)
    if isinstance(mus, Mapping):
        return _stack({name: mus[key] for name, key in _checked(mus, names).items()})
    if hasattr(mus, "dims") and hasattr(mus, "coords"):
        return _data_array(mus, names)
    labels = getattr(mus, "column_names", None)
    labels = getattr(mus, "columns", None) if labels is None else labels
    if labels is not None:
        labels = list(labels)
        if labels == list(range(len(labels))):
            return None  # numbered columns, as a data frame made of an array has them
        found = _checked(labels, names, "table")
        return _stack({name: mus[key] for name, key in found.items()})
    if hasattr(mus, "index") and hasattr(mus, "to_numpy"):
        return _series(mus, names)
    return None


def is_batch(mus: Any) -> bool:
    """True for one batch of points, False for what yields batches, a generator for instance."""
    return hasattr(mus, "shape") or isinstance(mus, list | tuple | Mapping) or hasattr(mus, "columns")


def refuse_hidden(mus: Any, what: str = "mus") -> None:
    """Raise ParameterError for arrays with masked entries, alone or in a list, and for sparse matrices: NumPy would read what they hide."""
    if isinstance(mus, np.ma.MaskedArray):
        masked: Any = np.ma.getmaskarray(mus)
        if masked.dtype.names is not None:
            masked = np.stack([masked[name] for name in masked.dtype.names], axis=-1)
        if masked.any():
            first = tuple(int(k) for k in np.argwhere(masked)[0])
            raise ParameterError(
                f"{what} hides {int(masked.sum())} of {masked.size} entries behind a mask, the first at index {first}; leave those points out, "
                "or fill the entries (.filled)"
            )
    elif isinstance(mus, list | tuple):
        for i, row in enumerate(mus):
            if type(row) is not float and isinstance(row, np.ma.MaskedArray | list | tuple):
                refuse_hidden(row, f"row {i} of {what}")
    elif hasattr(mus, "toarray") and hasattr(mus, "nnz"):
        raise ParameterError(f"{what} is a sparse {type(mus).__name__} of shape {mus.shape}; call .toarray()")


def _checked(given: Any, names: Sequence[str], kind: str = "") -> dict[str, Any]:
    """{parameter: its key in `given`}, in the order of the parameters."""
    keys = list(given)
    known = {_normal(name): name for name in names}
    found: dict[str, Any] = {}
    surplus, doubled = [], []
    for key in keys:
        name = known.get(_normal(key))
        if name is None:
            surplus.append(str(key))
        elif name in found:
            doubled.append(name)
        else:
            found[name] = key
    missing = [name for name in names if name not in found]
    if missing or surplus or doubled:
        parts = [
            f"{label}: {', '.join(some)}"
            for label, some in (("missing", missing), ("no parameters", surplus), ("twice", doubled))
            if some
        ]
        hint = f"; take table[{list(names)}]" if kind == "table" and not missing and not doubled else ""
        raise ParameterError(f"points given by name need {', '.join(names)} and nothing else; {'; '.join(parts)}{hint}")
    return {name: found[name] for name in names}


def _normal(name: Any) -> Any:
    """A name as Python reads identifiers: formulas do the same."""
    return unicodedata.normalize("NFKC", name) if isinstance(name, str) else name


def _rows(mus: Sequence[Any], names: Sequence[str]) -> np.ndarray | None:
    """Points (M, p) of a list of dictionaries or named tuples; one named tuple is one point."""
    if hasattr(mus, "_asdict"):
        return by_name(mus._asdict(), names)
    if not mus or not (isinstance(mus[0], Mapping | np.void) or hasattr(mus[0], "_asdict")):
        return None
    points = []
    for i, row in enumerate(mus):
        if not (isinstance(row, Mapping | np.void) or hasattr(row, "_asdict")):
            raise ParameterError(
                f"row {i} of the points is a {type(row).__name__}, the rows before it have names; give all by name"
            )
        try:
            point = by_name(row, names)
        except ParameterError as error:
            raise ParameterError(f"row {i}: {error}") from None
        if point is None or point.shape[0] != 1:
            raise ParameterError(f"row {i} of the points must hold one number for each of {', '.join(names)}")
        points.append(point[0])
    return np.stack(points)


def _dataset(mus: Any, names: Sequence[str]) -> np.ndarray:
    """Variables of an xarray dataset, or coordinates of its dimensions, broadcast by dimension and unrolled."""
    import xarray  # it is there: `mus` is one of its objects

    _checked([*mus.data_vars, *(n for n in mus.coords if n in names)], names)
    arrays = xarray.broadcast(*(mus[name] for name in names))
    return _stack({name: np.ravel(a.values) for name, a in zip(names, arrays, strict=True)})


def _data_array(mus: Any, names: Sequence[str]) -> np.ndarray | None:
    """Points of an xarray.DataArray whose last dimension is labelled with names."""
    if not mus.dims or mus.dims[-1] not in mus.coords:
        return None
    labels = mus.coords[mus.dims[-1]].values.tolist()
    if not all(isinstance(label, str) for label in labels):
        return None
    array, found = np.asarray(mus), _checked(labels, names)
    return _stack({name: array[..., labels.index(key)] for name, key in found.items()})


def _series(mus: Any, names: Sequence[str]) -> np.ndarray:
    """A pandas.Series: one point if its index holds names, a column if there is one parameter of its name."""
    labels = list(mus.index)
    if labels and all(isinstance(label, str) for label in labels):
        return _stack({name: mus[key] for name, key in _checked(labels, names).items()})
    if len(names) == 1 and mus.name in (None, names[0]):
        return _stack({names[0]: mus})
    raise ParameterError(
        f"a Series is a point if its index holds the names {', '.join(names)}, but this one, named {mus.name!r}, has the index {labels[:3]}...; give a "
        "DataFrame with a column for each parameter"
    )


def _stack(columns: dict[str, Any]) -> Any:
    """(M, p) of numbers and arrays (M,)."""
    others = [c for c in columns.values() if is_array_api_obj(c) and not isinstance(c, np.ndarray)]
    if others:
        return _stack_there(columns, others[0])
    arrays = {name: _numbers(name, values) for name, values in columns.items()}
    sizes = {name: len(a) for name, a in arrays.items() if a.ndim == 1 and len(a) != 1}
    if len(set(sizes.values())) > 1:
        raise ParameterError(
            "the parameters have different lengths: " + ", ".join(f"{name} {size}" for name, size in sizes.items())
        )
    points = np.empty((next(iter(sizes.values()), 1), len(arrays)))
    for j, array in enumerate(arrays.values()):
        points[:, j] = array
    return points


def _stack_there(columns: dict[str, Any], there: Any) -> Any:
    """The same for arrays of another module, which stay on their device."""
    xp = namespace(there)
    arrays = [beside(np.asarray(c, dtype=float), there) if not is_array_api_obj(c) else c for c in columns.values()]
    arrays = [beside(a, there) if isinstance(a, np.ndarray) else a for a in arrays]
    if any(a.ndim > 1 or not xp.isdtype(a.dtype, "real floating") for a in arrays):
        raise ParameterError(
            f"the values of {', '.join(columns)} must be real numbers, or arrays of them of shape (M,)"
        )
    try:
        arrays = xp.broadcast_arrays(*arrays)
    except (ValueError, RuntimeError) as error:
        raise ParameterError(f"the parameters {', '.join(columns)} have different lengths ({error})") from None
    return xp.stack([xp.reshape(xp.astype(a, xp.float64), (-1,)) for a in arrays], axis=1)


def _numbers(name: str, values: Any) -> np.ndarray:
    """The values of one parameter, a number or (M,), as an array of numbers that hides no entry."""
    refuse_hidden(values, f"parameter {name}")
    array = values.to_numpy() if hasattr(values, "to_numpy") else np.asarray(values)
    if array.dtype.kind == "O":
        items = array.ravel().tolist()
        missing = [i for i, x in enumerate(items) if x is None or type(x).__name__ in ("NAType", "NaTType")]
        if missing:
            raise ParameterError(
                f"parameter {name} has {len(missing)} missing entries, the first in row {missing[0]}; leave these points out (dropna) or fill them"
            )
        if items and all(isinstance(x, Real) for x in items):
            array = array.astype(float)
    if array.dtype.kind not in "biuf":
        raise ParameterError(f"parameter {name} must be real numbers, got {str(values)[:40]!r} of dtype {array.dtype}")
    if array.ndim > 1:
        raise ParameterError(
            f"parameter {name} must be a number or an array of shape (M,), got shape {array.shape}; call .ravel() on each of a grid"
        )
    return array
