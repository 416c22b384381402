"""Makes the full-order model that a model file describes, from the files of its matrices."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import scipy.sparse as sp

import rbm.stability
from rbm.affine.elimination import constrain
from rbm.affine.linear_rows import Linear
from rbm.affine.matrix_files import read_matrices
from rbm.command_line.described_solver import made_solver
from rbm.command_line.model_description import BOUNDS, Description
from rbm.errors import ModelError, StabilityError
from rbm.full_order import FullOrderModel
from rbm.parameters.ranges import filled
from rbm.parameters.space import ParameterSpace

__all__ = ["full_model", "training_points"]


def full_model(description: Description, *, progress: bool = False, cache: Path | None = None) -> FullOrderModel:
    """Return the model; its stability bound is computed here.

    cache : a folder for bounds that keep what they have computed, where the description names none

    Raises ModelError, with the line of the model file, for a matrix file that is missing, damaged or of another size,
    and StabilityError for a bound whose conditions do not hold.
    """
    files = _Files(description)
    product = files.matrix(description.product, None, "product")
    n = product.shape[0]
    operators = [(t.coefficient, files.matrix(t.file, n, *t.path, "file")) for t in description.operators]
    rhs = [(t.coefficient, files.vector(t.file, n, *t.path, "file")) for t in description.rhs]
    outputs = {name: files.output(file, n, name) for name, file in description.outputs.items()}
    arguments: dict[str, Any] = {"operators": operators, "rhs": rhs, "product": product, "outputs": outputs}
    document = description.document
    for name in () if description.dual == "all" else description.dual:
        if outputs[name].shape == (n, n):
            document.refuse(f"dual names the output {name!r}, which is quadratic and has no dual", "greedy", "dual")
    if description.fixed is not None:
        dofs, values = description.fixed
        try:
            numbers = files.one(dofs, "fixed", "dofs")
            given = None if values is None else files.one(values, "fixed", "values")
            arguments = constrain(operators, rhs, product, _dense(numbers), given, outputs=outputs).arguments
        except ModelError as error:
            if str(error).startswith(document.file):
                raise
            document.refuse(str(error), "fixed")
    constraints = arguments.get("constraints")
    free = None if constraints is None else constraints.free
    solver = made_solver(document, description.solver, description.solver_options, files.dense, free, n)
    try:
        return FullOrderModel(
            **arguments,
            solver=solver,
            parameters=description.parameters,
            stability=_bound(description, progress, cache),
            projection=description.projection,
        )
    except StabilityError as error:
        raise StabilityError(f"{document.where('stability')}: {error}") from error
    except TypeError as error:
        document.refuse(f"the bound {description.bound!r} does not take its options: {error}", "stability")


def training_points(description: Description) -> np.ndarray:
    """Return the training points (M, p), each range filled on its own scale, or by its distribution."""
    space = description.parameters
    names, known = space.names, space.distributions
    unit = ParameterSpace(dict.fromkeys(names, (0.0, 1.0)))
    points = unit.sample(description.points, description.method, rng=description.rng)  # type: ignore[arg-type]
    columns = []
    for j, ((low, high), scale) in enumerate(zip(space.bounds, description.scales, strict=True)):
        if names[j] in known:
            columns.append(np.clip(known[names[j]].points(points[:, j]), low, high))
        else:
            columns.append(filled(np.array(low), np.array(high), points[:, j], scale))
    return np.stack(columns, axis=1)


def _bound(description: Description, progress: bool, cache: Path | None) -> Any:
    """Return the stability bound as a model takes it."""
    options = dict(description.options)
    if description.bound not in BOUNDS:
        return options["value"]
    cls = getattr(rbm.stability, BOUNDS[description.bound])
    training = options.get("training")
    if isinstance(training, int) and not isinstance(training, bool):
        options["training"] = description.parameters.sample(training)
    if isinstance(options.get("cache"), str):
        options["cache"] = description.folder / options["cache"]
    for name, value in (("progress", progress), ("cache", cache)):
        if name in cls.__dataclass_fields__:
            options.setdefault(name, value)
    return cls(**options)


@dataclass(frozen=True)
class _Files:
    """The matrix files of a description; each is read once."""

    description: Description
    known: dict[Path, dict[str, Any]] = field(default_factory=dict)

    def one(self, name: str, *path: str | int) -> Any:
        """Return a matrix or vector: "K.mtx", or "all.npz:K" from a file that holds several."""
        document = self.description.document
        file, key = self.description.folder / name, None
        if not file.exists() and ":" in name:
            head, _, key = name.rpartition(":")
            file = self.description.folder / head
        if not file.is_file():
            document.refuse(f"there is no file {file}", *path)
        if file not in self.known:
            try:
                self.known[file] = read_matrices(file)
            except (ValueError, OSError) as error:
                document.refuse(str(error), *path)
        held = self.known[file]
        if key is None and len(held) == 1:
            return next(iter(held.values()))
        if key is None or key not in held:
            said = f"{file} holds {', '.join(held)}"
            document.refuse(f'{said}; write "{file.name}:{next(iter(held))}" for one of them', *path)
        return held[key]

    def dense(self, name: str, *path: str | int) -> np.ndarray:
        """Return what a file holds with all its entries."""
        return _dense(self.one(name, *path))

    def matrix(self, name: str, n: int | None, *path: str | int) -> Any:
        """Return a matrix (n, n), of any size if n is None."""
        found = self.one(name, *path)
        wanted = "a square matrix" if n is None else f"{(n, n)} as the product"
        if found.ndim != 2 or found.shape[0] != found.shape[1] or n not in (None, found.shape[0]):
            self.description.document.refuse(f"{name} has shape {found.shape}, expected {wanted}", *path)
        return found

    def vector(self, name: str, n: int, *path: str | int) -> np.ndarray:
        """Return a vector (n,), which may be stored as a row or column."""
        found = self.one(name, *path)
        if found.shape not in ((n,), (n, 1), (1, n)):
            self.description.document.refuse(f"{name} has shape {found.shape}, expected ({n},) as the product", *path)
        return _dense(found).ravel()

    def output(self, name: str, n: int, output: str) -> Any:
        """Return a vector (n,) of a linear output, a matrix (n, n) of a quadratic one, or (k, n) for k values."""
        found = self.one(name, "outputs", output)
        if found.ndim == 2 and found.shape[1] == n and found.shape[0] not in (1, n):
            return Linear(found)
        return found if found.shape == (n, n) else self.vector(name, n, "outputs", output)


def _dense(found: Any) -> np.ndarray:
    return found.toarray() if sp.issparse(found) else np.asarray(found)
