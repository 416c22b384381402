"""One point after another as plain numbers, for control loops and optimisers."""

from __future__ import annotations

import threading
from typing import Any, NamedTuple

import numpy as np

from lowrank.arrays import to_numpy
from rbm.errors import ParameterError
from rbm.parameters.space import NUMBERS
from rbm.reduced.one_point import OnePoint
from rbm.reduced.online_query import Query
from rbm.reduced.output_rows import named, shape_of

__all__ = ["Evaluator", "PartitionEvaluator", "PointAnswer"]

FLOAT = np.dtype(float)


class PointAnswer(NamedTuple):
    """The answer for one point: plain numbers."""

    bound: float  #: ||u(mu) - Z gamma(mu)||_P is at most this
    value: float  #: the estimate: bound = value + floor
    floor: float
    resolved: bool
    outputs: dict[str, Any]  #: {name: float, or complex}; a list of them for an array-valued output
    output_bounds: dict[str, Any]  #: |s(mu) - s_N(mu)| is at most this


class Evaluator:
    """Answers single points with the numbers of :meth:`rbm.ReducedModel.solve`, bit for bit, and with its errors.

    It holds the scratch memory of a query and makes no arrays. Made by :meth:`rbm.ReducedModel.evaluator`. Threads may
    share one, and then wait for each other; with one for each thread they do not.

    Examples
    --------
    >>> import rbm
    >>> from problems import reaction_diffusion_1d
    >>> model = reaction_diffusion_1d(50)
    >>> reduced = rbm.greedy(model, model.parameters.sample(50), max_basis=3, progress=False).reduced_model
    >>> evaluate = reduced.evaluator()
    >>> answer = evaluate([2.0])
    >>> bool(answer.bound == reduced.solve([2.0]).bound[0])
    True
    """

    def __init__(self, model: Any, query: Query, method: str | None, extrapolate: bool) -> None:
        self._model, self._query, self._options = model, query, (method, extrapolate)
        self._parameters = query.arrays.parameters
        self._count, self._shape = len(model.parameters), (len(model.parameters),)
        self._lock = threading.Lock()
        self._names = tuple(model.outputs)
        self._rows = any(map(shape_of, model.outputs.values()))
        self._one: OnePoint | None = query.one_point(model.state(method), extrapolate)
        self._gamma: np.ndarray | None = None
        if self._one is not None:
            self._scratch = self._one.compiled.scratch()
            self._inputs, self._numbers = self._scratch.inputs, self._scratch.answers

    def __call__(self, mu: Any) -> PointAnswer:
        """Return the answer at one point.

        mu : (p,), an array or a list, or (1, p); or by name, a dictionary

        Raises ParameterError for more points than one, and as :meth:`rbm.ReducedModel.solve`.
        """
        if type(mu) is np.ndarray:
            plain = mu.shape == self._shape and mu.dtype == FLOAT
        else:
            plain = type(mu) is list and len(mu) == self._count and NUMBERS.issuperset(map(type, mu))
        if not plain:
            self._gamma = None  # also where this point is none
            mu = self._point(mu)
        one = self._one
        if one is None:
            return self._general(mu)
        with self._lock:
            self._gamma = None
            self._inputs[:] = mu
            if one.answer(self._scratch):
                value, floor, resolved, *rest = self._numbers.tolist()
                self._gamma = self._scratch.gamma
                names, count = self._names, len(rest) // 2
                if self._rows:
                    parts = (np.array([numbers]) for numbers in (rest[:count], rest[count:]))
                    grouped = (named(self._query.arrays.outputs, part) for part in parts)
                    made = [{name: a[0].tolist() for name, a in group.items()} for group in grouped]
                    return PointAnswer(value + floor, value, floor, resolved > 0, *made)
                return PointAnswer(
                    value + floor,
                    value,
                    floor,
                    resolved > 0,
                    dict(zip(names, rest, strict=False)),
                    dict(zip(names, rest[count:], strict=True)),
                )
        return self._general(mu)

    @property
    def coefficients(self) -> np.ndarray:
        """A copy of gamma (N,) of the last point: u(mu) ~ Z gamma. ValueError before the first answer."""
        with self._lock:
            if self._gamma is None:
                raise ValueError(
                    "there are no coefficients yet: this evaluator has answered no point, or the last failed"
                )
            return self._gamma.copy()

    def _point(self, mu: Any) -> Any:
        """Return one point (p,) of whatever :meth:`rbm.ParameterSpace.points` reads."""
        points = self._parameters.points(mu)
        if points.shape[0] != 1:
            raise ParameterError(
                f"an evaluator answers one point at a time, got {points.shape[0]}; solve(mus) answers many at once"
            )
        return points[0, ...]

    def _general(self, mu: Any) -> PointAnswer:
        method, extrapolate = self._options
        self._gamma = None
        solution = self._query.solve(mu, True, method, extrapolate).to("numpy")
        error = solution.estimate
        assert error is not None
        self._gamma = solution.coefficients[0]
        return PointAnswer(
            float(error.bound[0]),
            float(error.value[0]),
            float(error.floor[0]),
            bool(error.resolved[0]),
            {name: values[0].tolist() for name, values in solution.outputs.items()},
            {name: values[0].tolist() for name, values in solution.output_bounds.items()},
        )

    def __reduce__(self) -> tuple[Any, ...]:
        """Return the model and the options, for pickle and copy: each process has its own scratch memory."""
        return _made, (self._model, *self._options)


class PartitionEvaluator:
    """Answers single points of a partitioned model by the evaluator of the leaf that they lie in, bit for bit.

    Made by :meth:`rbm.PartitionedModel.evaluator`; arguments and errors are those of :class:`Evaluator`.
    """

    def __init__(self, model: Any, method: str | None, extrapolate: bool) -> None:
        self._model, self._options = model, (method, extrapolate)
        self._of_leaf = [leaf.evaluator(method, extrapolate=extrapolate) for leaf in model.leaves]
        self._last: Evaluator | None = None

    def __call__(self, mu: Any) -> PointAnswer:
        """Return the answer at one point, (p,) or (1, p), or by name; raise as :meth:`Evaluator.__call__`."""
        space, self._last = self._model.parameters, None
        points = space.points(mu)
        if points.shape[0] != 1:
            raise ParameterError(
                f"an evaluator answers one point at a time, got {points.shape[0]}; solve(mus) answers many at once"
            )
        point = to_numpy(space.check(points, self._options[1]))[0]
        chosen = self._of_leaf[self._model.tree.locate_one(point.tolist())]
        made = chosen(point)
        self._last = chosen
        return made

    @property
    def coefficients(self) -> np.ndarray:
        """A copy of gamma (N,) of the last point, in the basis of its leaf. ValueError before the first answer."""
        if self._last is None:
            raise ValueError("there are no coefficients yet: this evaluator has answered no point, or the last failed")
        return self._last.coefficients

    def __reduce__(self) -> tuple[Any, ...]:
        """Return the model and the options, for pickle and copy: each process has its own scratch memory."""
        return _made, (self._model, *self._options)


def _made(model: Any, method: str | None, extrapolate: bool) -> Any:
    return model.evaluator(method, extrapolate=extrapolate)
