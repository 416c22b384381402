"""A reduced model of many small ones: the box of parameters is cut, and each part has a basis of its own."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Executor
from dataclasses import dataclass, fields, replace
from functools import cached_property
from typing import Any

import numpy as np

from lowrank.arrays import namespace, to_numpy
from rbm.affine.constraints import Constraints
from rbm.errors import ModelError
from rbm.estimate import Estimate
from rbm.estimators import Estimator
from rbm.full_order import FullOrderModel
from rbm.online.batches import OnError
from rbm.parameters.space import ParameterSpace
from rbm.reduced.box_tree import BoxTree
from rbm.reduced.evaluator import PartitionEvaluator
from rbm.reduced.given_coefficients import estimate
from rbm.reduced.gradient import Gradient
from rbm.reduced.model import ReducedModel
from rbm.reduced.origin import check_origin
from rbm.reduced.outputs import ReducedOutput
from rbm.reduced.partition_query import PartitionQuery, by_leaf
from rbm.reduced.record import Record
from rbm.reduced.streams import stream
from rbm.solution import Solution, coefficients_of

__all__ = ["PartitionedModel"]


@dataclass(frozen=True, eq=False, repr=False)
class PartitionedModel:
    """A certified reduced model with a basis for each of the boxes that its parameter space is cut into.

    Made by :func:`rbm.greedy` with ``split=True``, or by :func:`rbm.load`. It has the interface of
    :class:`rbm.ReducedModel`: a point is answered by the leaf that it lies in, with that leaf's bound, which needs no
    addition; a point on a face belongs to one leaf, always the same (:class:`rbm.reduced.box_tree.BoxTree`).

    What differs: `coefficients` are those of the leaf's basis, followed by zeros up to the largest N. So
    :meth:`reconstruct` and :meth:`estimate` take them with their points. docs/local-bases.md has figures.

    Raises ModelError for leaves whose number is not that of the tree's, or that are not about the same outputs.
    """

    parameters: ParameterSpace  #: the whole box
    tree: BoxTree  #: where it is cut
    leaves: tuple[ReducedModel, ...]  #: a reduced model for each box, whose parameter space is that box
    record: Record | None = None  #: how the whole was made; each leaf has its own; None in older files

    def __post_init__(self) -> None:
        if len(self.leaves) != self.tree.count:
            raise ModelError(f"the tree has {self.tree.count} leaves, there are {len(self.leaves)} reduced models")
        first = self.leaves[0]
        for leaf in self.leaves[1:]:
            same = leaf.parameters.names == self.parameters.names and tuple(leaf.outputs) == tuple(first.outputs)
            if not same:
                raise ModelError("the leaves of a partitioned model must have the same parameters and outputs")
            kinds = ("projection", "dtype", "unknowns")
            if other := [kind for kind in kinds if getattr(leaf, kind) != getattr(first, kind)]:
                raise ModelError(f"the leaves of a partitioned model must have the same {other[0]}")

    def solve(
        self,
        mus: Any,
        estimate: bool = True,
        *,
        method: str | None = None,
        extrapolate: bool = False,
        on_error: OnError = "raise",
        coefficients: bool = True,
        progress: bool = False,
    ) -> Solution:
        """Return coefficients, outputs and error bounds, as :meth:`rbm.ReducedModel.solve` with the same arguments.

        coefficients (M, N) of the answer have the largest N of all leaves; each row ends with zeros beyond that of its
        leaf. Cost: that of the leaves, and p log2(leaves) comparisons per point; each piece of a batch is sorted by
        leaf.
        """
        return self._online.solve(mus, estimate, method, extrapolate, on_error, coefficients, progress)

    def stream(
        self, mus: Any, *, size: int = 1 << 17, executor: Executor | None = None, **options: Any
    ) -> Iterator[Solution]:
        """Yield a Solution for each block of points, in order, as :meth:`rbm.ReducedModel.stream`."""
        return stream(self, mus, size, executor, options)

    def estimate(
        self, mus: Any, coefficients: Any = None, method: str | None = None, *, extrapolate: bool = False
    ) -> Estimate:
        """Return the error estimate for given coefficients (M, N), as :meth:`rbm.ReducedModel.estimate`.

        coefficients : those of the leaf of each point, what follows is not looked at; or a Solution, whose points must
            lie in the same leaves as `mus` do

        Raises ModelError for a Solution of points in other leaves: its coefficients are about other bases.
        """
        if isinstance(coefficients, Solution) and coefficients.mus is not None:
            points = to_numpy(self.parameters.points(mus))
            own, asked = (self.tree.locate(to_numpy(at)) for at in (coefficients.mus, points))
            if len(own) == len(asked) and np.any(own != asked):
                i = int(np.argmax(own != asked))
                raise ModelError(
                    f"the solution of row {i} belongs to leaf {own[i]}, and {self.parameters.describe(points[i])} lies "
                    f"in leaf {asked[i]}, which has another basis: coefficients of the one say nothing of the other"
                )
        return estimate(self._online, mus, coefficients, method, extrapolate)

    def evaluator(self, method: str | None = None, *, extrapolate: bool = False) -> PartitionEvaluator:
        """Return a function of one point that gives plain floats, as :meth:`rbm.ReducedModel.evaluator`."""
        return PartitionEvaluator(self, method, extrapolate)

    def gradient(self, mus: Any, outputs: Any = None, *, extrapolate: bool = False, estimate: bool = True) -> Gradient:
        """Return the derivatives of outputs by all parameters, and bounds, as :meth:`rbm.ReducedModel.gradient`.

        The reduced outputs jump from leaf to leaf, by no more than their bounds; on a face these are the derivatives
        of the leaf that the point belongs to.
        """
        points = self.parameters.check(np.array(self.parameters.points(mus)), extrapolate)

        def of_leaf(leaf: ReducedModel, some: np.ndarray, _: np.ndarray) -> Gradient:
            return leaf.gradient(some, outputs, extrapolate=extrapolate, estimate=estimate)

        parts, rows = by_leaf(self, points, of_leaf)
        back = np.argsort(np.concatenate(rows))

        def together(index: int) -> dict[str, np.ndarray]:
            made = [tuple(part)[index] for part in parts]
            return {name: np.concatenate([m[name] for m in made])[back] for name in made[0]}

        return Gradient(together(0), together(1) if estimate else None, points, self.parameters.names)

    def reconstruct(self, coefficients: Any) -> Any:
        """Return Z gamma (M, n) for a Solution, which knows its points; Z is that of the leaf of each.

        Raises ModelError for coefficients without points, and as :meth:`rbm.ReducedModel.reconstruct`.
        """
        if not isinstance(coefficients, Solution) or coefficients.mus is None:
            raise ModelError(
                "a partitioned model has a basis for each box, and coefficients do not say whose they are: give the "
                "Solution, which knows its points"
            )
        check_origin(coefficients, self, lambda: self._online.origin)  # type: ignore[arg-type]
        gamma, given = coefficients_of(coefficients), coefficients
        if gamma.shape[1] != self.size:
            raise ValueError(f"coefficients must have shape (M, {self.size}), got {gamma.shape}")

        def of_leaf(leaf: ReducedModel, _: Any, rows: np.ndarray) -> Any:
            some = given[rows]
            own = replace(some, coefficients=some.coefficients[:, : leaf.size], origin="")
            return leaf.reconstruct(own)

        parts, rows = by_leaf(self, coefficients.mus, of_leaf)
        xp = namespace(parts[0])
        back = np.argsort(np.concatenate(rows))
        return xp.take(xp.concat(parts, axis=0), xp.asarray(back), axis=0)

    def with_term_norms(self, full_model: FullOrderModel) -> PartitionedModel:
        """Return the model with the norms of its operator terms, where :meth:`gradient` asks for them."""
        norms = self.leaves[0].with_term_norms(full_model).term_norms
        return self._each(lambda leaf: replace(leaf, term_norms=norms))

    def to(self, target: Any, *, device: Any = None) -> PartitionedModel:
        """Return the model with the matrices of all leaves there, as :meth:`rbm.ReducedModel.to`.

        Points are brought to the host to be located. A model that lives there is returned as it is.
        """
        return self._each(lambda leaf: leaf.to(target, device=device))

    def truncate(self, size: int) -> PartitionedModel:
        """Return the model whose leaves have their first `size` basis vectors, or all, if they have no more.

        Raises ModelError for a size that is no whole number from 1 to N.
        """
        if isinstance(size, bool) or not (isinstance(size, int | np.integer) and 0 < size <= self.size):
            raise ModelError(f"cannot truncate a model of {self.size} basis vectors to {size!r}")
        if size == self.size:
            return self
        record = None if self.record is None else self.record.shortened(size)
        return replace(self, record=record)._each(lambda leaf: leaf.truncate(min(size, leaf.size)))

    def astype(self, dtype: Any) -> PartitionedModel:
        """Return the model in "float32" or "float64", as :meth:`rbm.ReducedModel.astype`."""
        return self._each(lambda leaf: leaf.astype(dtype))

    def compress(self, rtol: float = 0.01, *, tol: float | None = None, training: Any = None) -> PartitionedModel:
        """Return the model with fewer rows in the factors of E_onb, as :meth:`rbm.ReducedModel.compress`.

        training : sample (M, p); a leaf takes the points in its box, and points of its own where there are none
        """
        samples = iter(self._samples(training))
        return self._each(lambda leaf: leaf.compress(rtol, tol=tol, training=next(samples)))

    def quantize(
        self, bits: Any = 8, *, rotate: bool = True, training: Any = None, product: Any = None
    ) -> PartitionedModel:
        """Return the model with all bases in few bits per number, as :meth:`rbm.ReducedModel.quantize`.

        training : (M, p) points, of which each leaf takes those that lie in its box
        """
        samples = iter(self._samples(training))
        return self._each(lambda leaf: leaf.quantize(bits, rotate=rotate, training=next(samples), product=product))

    def sketch(self, rows: int = 40, *, failure: float = 1e-9, rng: int = 0) -> PartitionedModel:
        """Return the model with the estimator "sketched" added, as :meth:`rbm.ReducedModel.sketch`."""
        return self._each(lambda leaf: leaf.sketch(rows, failure=failure, rng=rng))

    def encode(self, coefficients: Any, *_: Any, **__: Any) -> Any:
        """Raise ModelError: coefficients (M, N) of several bases have no common code. Encode those of a leaf by it."""
        raise ModelError(
            "the coefficients of a partitioned model belong to a basis for each box, and have no common code: "
            "model.leaves[k].encode takes those of leaf k, model.tree.locate(mus) tells which points are its"
        )

    decode = encode

    def save(self, path: str | os.PathLike[str], *, basis: bool = True, overwrite: bool = True) -> None:
        """Write the model to one file, whole or not at all; :func:`rbm.load` reads it.

        Arguments and errors as :meth:`rbm.ReducedModel.save`.
        """
        from rbm.files.partition_file import save_partition

        save_partition(self._each(lambda leaf: leaf._on_host()), path, basis=basis, overwrite=overwrite)

    @property
    def boxes(self) -> np.ndarray:
        """The boxes of the leaves (L, p, 2), lower and upper ends."""
        return self.tree.boxes(self.parameters.bounds)

    @property
    def size(self) -> int:
        """The largest number of basis vectors of a leaf."""
        return max(leaf.size for leaf in self.leaves)

    @property
    def outputs(self) -> Mapping[str, ReducedOutput]:
        """The outputs by name, as the first leaf has them; all leaves have outputs of these names."""
        return self.leaves[0].outputs

    @property
    def estimators(self) -> Mapping[str, Estimator]:
        """The estimators that all leaves have, as the first leaf has them."""
        return {
            name: state
            for name, state in self.leaves[0].estimators.items()
            if all(name in leaf.estimators for leaf in self.leaves)
        }

    @property
    def refused(self) -> Mapping[str, str]:
        """Per method, the reason why it is not in the first leaf that has not got it."""
        return {name: why for leaf in self.leaves[::-1] for name, why in leaf.refused.items()}

    @property
    def operators(self) -> Any:
        """The reduced operators of the first leaf: all leaves live where it does."""
        return self.leaves[0].operators

    @property
    def basis(self) -> None:
        """None: there is a basis for each leaf, ``model.leaves[k].basis``."""

    @property
    def selected(self) -> np.ndarray | None:
        """The points (K, p) of the snapshots of all leaves, each once; None if they are not known."""
        known = [leaf.selected for leaf in self.leaves]
        return None if any(s is None for s in known) else np.unique(np.concatenate(known), axis=0)  # type: ignore[arg-type]

    @property
    def unknowns(self) -> int | None:
        """The number of unknowns n of the full model; None for a model without a basis."""
        return self.leaves[0].unknowns

    @property
    def output_units(self) -> Mapping[str, str]:
        """The units of outputs, those that were given."""
        return self.leaves[0].output_units

    @property
    def constraints(self) -> Constraints | None:
        """Which unknowns were eliminated, if that is known."""
        return self.leaves[0].constraints

    @property
    def method(self) -> str:
        """The name of the default estimator."""
        return self.leaves[0].method

    @property
    def dtype(self) -> np.dtype:
        """The type of the reduced matrices."""
        return self.leaves[0].dtype

    @property
    def measured(self) -> str:
        """What bounds rest on that was measured and not proved, in words."""
        return self.leaves[0].measured

    def state(self, method: str | None) -> Estimator:
        """Return the estimator of that name in the first leaf; raise ModelError if a leaf has none."""
        name = self.leaves[0].state(method).kind
        for leaf in self.leaves:
            leaf.state(name)
        return self.leaves[0].state(name)

    @cached_property
    def _online(self) -> PartitionQuery:
        return PartitionQuery(self)  # type: ignore[arg-type]

    def _on_host(self) -> PartitionedModel:
        return self.to("numpy")

    def _samples(self, training: Any) -> list[np.ndarray | None]:
        """Return the points of a sample in each leaf; None where there are none, or no sample is given."""
        if training is None:
            return [None] * len(self.leaves)
        points = self.parameters.validate(training)
        number = self.tree.locate(points)
        return [points[number == k] if np.any(number == k) else None for k in range(len(self.leaves))]

    def _each(self, change: Callable[[ReducedModel], ReducedModel]) -> PartitionedModel:
        leaves = tuple(map(change, self.leaves))
        if all(new is old for new, old in zip(leaves, self.leaves, strict=True)):
            return self
        record = None if self.record is None else self.record.beside([leaf.record for leaf in leaves])
        return replace(self, leaves=leaves, record=record)

    def __getstate__(self) -> dict[str, Any]:
        """Return the fields, for pickle and copy."""
        return {f.name: getattr(self, f.name) for f in fields(self)}

    def __repr__(self) -> str:
        sizes = [leaf.size for leaf in self.leaves]
        full = "" if self.unknowns is None else f" for {self.unknowns} unknowns"
        outputs = f", outputs: {', '.join(self.outputs)}" if self.outputs else ""
        return (
            f"PartitionedModel({len(sizes)} leaves, N = {min(sizes)} to {max(sizes)}{full}, {self.dtype}, "
            f"{self.leaves[0].projection}, {self.parameters}, estimators: "
            f"{', '.join(s.label for s in self.estimators.values()) or 'none'}{outputs})"
        )
