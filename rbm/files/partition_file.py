"""Files of partitioned models: the cuts and all leaves in one file, what leaves share once."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from rbm.errors import FileFormatError
from rbm.files.model_file import header_of, model_from
from rbm.files.record_part import read_record, write_record
from rbm.parameters.space import ParameterSpace
from rbm.reduced.box_tree import BoxTree
from rbm.reduced.model import ReducedModel
from rbm.reduced.partitioned import PartitionedModel
from rbm.storage.archive import write_archive

__all__ = ["KIND", "box_space", "partition_from", "save_partition"]

KIND = "partitioned model"


def save_partition(
    model: PartitionedModel, path: str | os.PathLike[str], *, basis: bool = True, overwrite: bool = True
) -> None:
    """Write a partitioned model; see :meth:`rbm.PartitionedModel.save`.

    The header has `leaves`, the headers of the reduced models of all leaves with the whole box as their parameters, and
    `shared`, for each leaf the names of the arrays that are those of leaf 0, bit for bit: its stability bound and P, as
    a rule. Arrays are tree/..., the cuts (:class:`rbm.reduced.box_tree.BoxTree`), and leaves/0/..., leaves/1/... as in
    files of reduced models. `record` and record/history are those of the whole.
    """
    target = Path(path)
    if not overwrite and target.exists():
        raise FileExistsError(f"{target} exists; pass overwrite=True to replace it")
    arrays: dict[str, np.ndarray] = {f"tree/{name}": array for name, array in model.tree.arrays().items()}
    headers: list[dict[str, Any]] = []
    shared: list[list[str]] = []
    first: dict[str, np.ndarray] = {}
    for k, leaf in enumerate(model.leaves):
        own: dict[str, np.ndarray] = {}
        headers.append(header_of(replace(leaf, parameters=model.parameters), own, basis))
        same = [name for name, array in own.items() if k and name in first and _same(first[name], array)]
        first = first or own
        shared.append(same)
        arrays |= {f"leaves/{k}/{name}": array for name, array in own.items() if name not in same}
    whole = write_record(model.record, arrays)
    write_archive(target, {"kind": KIND, "leaves": headers, "shared": shared, **whole}, arrays)


def partition_from(header: dict[str, Any], arrays: dict[str, np.ndarray], file: str) -> PartitionedModel:
    """Return the partitioned model of a header and its arrays.

    Raises FileFormatError, with the name of the file, for entries that do not belong together.
    """
    try:
        leaves: list[ReducedModel] = []
        of_leaf = [_under(f"leaves/{k}/", arrays) for k in range(len(header["leaves"]))]
        for k, (entry, names) in enumerate(zip(header["leaves"], header["shared"], strict=True)):
            own = {name: of_leaf[0][name] for name in names} | of_leaf[k]
            leaf = model_from(entry, own, f"{file}, leaf {k}")[0]
            if leaves and leaf.parameters != leaves[0].parameters:
                raise ValueError(f"leaf {k} has another parameter space than the others")
            alike = bool(leaves) and any(name.startswith("product/") for name in names)
            leaves.append(replace(leaf, product=leaves[0].product) if alike else leaf)
        space = leaves[0].parameters
        tree = BoxTree.from_arrays(_under("tree/", arrays), space.bounds)
        if tree.count != len(leaves):
            raise ValueError(f"it has {len(leaves)} leaves, its cuts make {tree.count}")
        boxed = zip(leaves, tree.boxes(space.bounds), strict=True)
        made = tuple(replace(leaf, parameters=box_space(space, box)) for leaf, box in boxed)
        return PartitionedModel(space, tree, made, read_record(header, arrays, len(space)))
    except FileFormatError:
        raise
    except (KeyError, TypeError, ValueError, OverflowError, IndexError, AttributeError) as error:
        raise FileFormatError(f"{file} is not a complete {KIND}: {type(error).__name__} {error}") from error


def box_space(space: ParameterSpace, box: np.ndarray) -> ParameterSpace:
    """Return the parameter space of a part of a box, with lower and upper ends `box` (p, 2)."""
    ranges = {name: (float(low), float(high)) for name, (low, high) in zip(space.names, box, strict=True)}
    return ParameterSpace(ranges, scale=space.scale, units=space.units)


def _same(a: np.ndarray, b: np.ndarray) -> bool:
    if a is b:
        return True
    return a.dtype == b.dtype and a.shape == b.shape and np.asarray(a).tobytes() == np.asarray(b).tobytes()


def _under(prefix: str, arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    return {key.removeprefix(prefix): a for key, a in arrays.items() if key.startswith(prefix)}
