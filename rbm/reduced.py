"""The reduced model: small arrays only, solved and certified for many parameters in one call."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from rbm.bounds import error_estimate
from rbm.coefficients import Coefficients
from rbm.errors import ModelError, refused
from rbm.estimate import Estimate
from rbm.estimators import METHODS, Estimator
from rbm.estimators.squares import InterpolatedSquare
from rbm.full_order import Projection
from rbm.online import reference
from rbm.online.batches import OnError, answer
from rbm.online.forms import Finish, Form, NormForm, SquareForm
from rbm.outputs import ReducedLinear, ReducedOutput
from rbm.parameters import ParameterSpace
from rbm.solution import Solution
from rbm.stability import StabilityBound

if TYPE_CHECKING:
    from rbm.online.compiled import CompiledModel

__all__ = ["ReducedModel", "Solution"]


@dataclass(frozen=True, eq=False, repr=False)
class ReducedModel:
    """A certified reduced model; made by :func:`rbm.greedy`, :func:`rbm.project` or :func:`rbm.load`.

    The first estimator is the default one. `refused` holds, per method, why an estimator that was asked for is not here.
    """

    parameters: ParameterSpace
    operator_coefficients: Coefficients
    rhs_coefficients: Coefficients
    stability: StabilityBound
    operators: np.ndarray  #: Z^H A_q Z (Qa, N, N); for least squares the columns of R that belong to A_q Z (Qa, k, N)
    rhs: np.ndarray  #: Z^H f_q (Qf, N); for least squares the columns of R that belong to f_q (Qf, k)
    outputs: Mapping[str, ReducedOutput]
    estimators: Mapping[str, Estimator]
    refused: Mapping[str, str] = field(default_factory=dict)
    basis: np.ndarray | None = None  #: Z (n, N), if it was kept
    selected: np.ndarray | None = None  #: parameters of the snapshots (N, p), if known
    projection: Projection = "galerkin"
    #: (eps_A, eps_f) of :class:`rbm.FullOrderModel`, if the model is an interpolated one
    interpolation_error: Coefficients | None = None

    @property
    def size(self) -> int:
        """Number of basis vectors N."""
        return self.operators.shape[2]

    @property
    def dtype(self) -> np.dtype:
        """Type of the reduced matrices."""
        return self.operators.dtype

    @property
    def method(self) -> str:
        """Name of the default estimator."""
        return next(iter(self.estimators), next(iter(self.refused), "none"))

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
        """Coefficients, outputs and error bounds for all parameter points `mus` (M, p), or (p,) for one, at once.

        Any number of points: they are worked off in pieces that fit the cache, by as many threads as there are processors
        (RBM_NUM_THREADS says otherwise), and only the answer is kept. For answers larger than memory see :meth:`stream`.

        estimate : also the error estimate, by `method` (default: the model's first estimator)
        extrapolate : allow parameters outside the parameter space
        on_error : "raise" one error that names the rows that failed and holds all other answers in its `solution`, or "mark" those
            rows in the result: no coefficients and outputs (NaN), no bound (infinity), listed in `failed`
        coefficients : keep gamma; without, the answer is the outputs and the bounds
        progress : show a progress bar

        Raises
        ------
        ParameterError, StabilityError, ModelError
            a bad parameter, a stability bound that is not positive, a singular reduced system; each names the parameter.
        Interrupted
            Ctrl-C, if there is more than one piece; its `result` holds the answers so far.

        Cost per point: Q N^2 + N^3/3 flops for the solution of a Hermitian positive definite system (twice that for others), m k to
        2 m k for the bound (m = Qf + Qa N, k <= m; half if R is triangular).
        """
        state = self._state(method) if estimate else None

        def work(points: np.ndarray) -> Solution:
            return self._answer(points, state, extrapolate, coefficients)

        points = self.parameters.points(mus)
        return answer(work, points, self._bytes_per_point, spare=self._spare, on_error=on_error, progress=progress)

    def stream(self, mus: Any, *, size: int = 1 << 17, **options: Any) -> Iterator[Solution]:
        """Answers in blocks, for more points than there is room for: yields a Solution for each block.

        mus : an array (M, p), cut into blocks of `size` points, or an iterable of arrays (m_i, p), a generator for instance, which
            are answered one after the other; options as for :meth:`solve`
        """
        blocks = mus
        if hasattr(mus, "shape"):
            points = self.parameters.points(mus)
            blocks = (points[start : start + size] for start in range(0, len(points), size))
        for block in blocks:
            yield self.solve(block, **options)

    def estimate(
        self, mus: Any, coefficients: np.ndarray | None = None, method: str | None = None, *, extrapolate: bool = False
    ) -> Estimate:
        """Error estimate in the P-norm for given coefficients gamma (M, N), or for the reduced solution.

        method : "direct", "expanded", "sampled", "interpolated", "orthonormal", or E1 .. E4, E_onb; default: the first one
        """
        points = self.parameters.points(mus)
        state = self._state(method)
        if coefficients is None:
            made = self.solve(points, method=method, extrapolate=extrapolate, coefficients=False).estimate
            assert made is not None
            return made
        gamma = np.asarray(coefficients)
        if gamma.shape != (len(points), self.size):
            raise ValueError(
                f"coefficients must have shape ({len(points)}, {self.size}), one row a parameter point, got {gamma.shape}"
            )
        if not np.all(np.isfinite(gamma)):
            raise ValueError(f"coefficients hold {int((~np.isfinite(gamma)).sum())} entries that are NaN or infinite")
        self.parameters.check(points, extrapolate)
        theta, phi = self.operator_coefficients(points), self.rhs_coefficients(points)
        evaluated, distance = gamma, np.zeros(len(points))
        if isinstance(state, InterpolatedSquare):
            evaluated = self._query(theta, phi, None)[0]
            distance = state.distance(theta, gamma, evaluated)
        norm = self._query(theta, phi, state, evaluated)[1]
        assert norm is not None
        if np.any(distance > 0):
            norm = Estimate.from_norm(norm.value, norm.floor + distance)
        beta = self.stability(points, theta)
        return error_estimate(norm, beta, gamma, points, self.parameters, self.interpolation_error)

    def reconstruct(self, coefficients: np.ndarray) -> np.ndarray:
        """Z gamma (M, n) for coefficients (M, N) or (N,). Raises ModelError if the model does not hold its basis."""
        if self.basis is None:
            raise ModelError(
                "this reduced model does not hold its basis; save it with basis=True to reconstruct full vectors"
            )
        gamma = np.atleast_2d(np.asarray(coefficients))
        if gamma.shape[1] != self.size:
            raise ValueError(f"coefficients must have shape (M, {self.size}), got {gamma.shape}")
        return gamma @ self.basis.T

    def truncate(self, size: int) -> ReducedModel:
        """The model for the first `size` basis vectors, without new work; E3 and E4, whose points would change, are left out."""
        if not 0 < size <= self.size:
            raise ValueError(f"cannot truncate a model of {self.size} basis vectors to {size}")
        if size == self.size:
            return self
        columns = self.rhs.shape[0] + size * self.operators.shape[0]
        states = {name: state.truncate(size, columns) for name, state in self.estimators.items()}
        operators, rows = self.operators[:, :, :size], size
        if self.projection == "least-squares":
            used = np.any(operators != 0, axis=(0, 2)) | np.any(self.rhs != 0, axis=0)
            rows = int(np.flatnonzero(used).max()) + 1
        return replace(
            self,
            operators=operators[:, :rows],
            rhs=self.rhs[:, :rows],
            outputs={k: o.truncate(size) for k, o in self.outputs.items()},
            estimators={name: state for name, state in states.items() if state is not None},
            refused={
                **self.refused,
                **{
                    n: f"not available after truncate({size}): project the truncated basis instead"
                    for n, s in states.items()
                    if s is None
                },
            },
            basis=None if self.basis is None else self.basis[:, :size],
            selected=None if self.selected is None else self.selected[:size],
        )

    def save(self, path: str | os.PathLike[str], *, basis: bool = True, overwrite: bool = True) -> None:
        """Write the model to one file, whole or not at all; :func:`rbm.load` reads it. See :mod:`rbm.files`.

        basis : also Z, so that full vectors can be reconstructed
        overwrite : replace an existing file

        Raises ModelError for coefficients that are Python callables, FileExistsError, OSError.
        """
        from rbm.files import save

        save(self, path, basis=basis, overwrite=overwrite)

    def _answer(
        self, points: np.ndarray, state: Estimator | None, extrapolate: bool, coefficients: bool = True
    ) -> Solution:
        """Everything for one piece of a batch."""
        mus = self.parameters.check(points, extrapolate)
        theta, phi = self.operator_coefficients(mus), self.rhs_coefficients(mus)
        if state is not None and self._finish is not None and isinstance(form := self._form(state), NormForm | SquareForm):
            made = self._compiled.answer(theta, phi, form, finish=self._finish)
            if made.failed is None:
                columns = range(len(self.outputs))
                return Solution(
                    made.gamma if coefficients else made.gamma[:, :0].copy(),
                    {name: made.outputs[:, k] for name, k in zip(self.outputs, columns, strict=True)},
                    Estimate(made.value, made.floor, made.resolved),
                    {name: made.output_bounds[:, k] for name, k in zip(self.outputs, columns, strict=True)},
                )
        beta = None if state is None else self.stability(mus, theta)
        gamma, norm, failed = self._query(theta, phi, state)
        if failed is not None:
            raise refused(ModelError, failed, lambda i, where: self._unsolved(mus[i], theta[i], where))
        values = {name: out.value(mus, gamma) for name, out in self.outputs.items()}
        kept = gamma if coefficients else gamma[:, :0].copy()
        if norm is None or beta is None:
            return Solution(kept, values)
        error = error_estimate(norm, beta, gamma, mus, self.parameters, self.interpolation_error)
        bound = error.bound
        bounds = {name: out.bound(mus, gamma, bound) for name, out in self.outputs.items()}
        return Solution(kept, values, error, bounds)

    def _query(
        self, theta: np.ndarray, phi: np.ndarray, state: Estimator | None, gamma: np.ndarray | None = None
    ) -> tuple[np.ndarray, Estimate | None, np.ndarray | None]:
        """gamma (M, N), unless it is given, the residual norm, compiled or by `evaluate`, and where gamma is not finite (M,), or None."""
        form = None if state is None else self._form(state)
        made, value, floor, resolved, _, _, failed = self._compiled.answer(theta, phi, form, gamma)
        norm = None if form is None else Estimate(value, floor, resolved)
        if form is None and state is not None:
            terms = self.rhs.shape[0] + self.operators.shape[0] * self.size
            tiles = reference.tiles(len(theta), 4 * terms * made.dtype.itemsize)
            norm = Estimate.concatenate([state.evaluate(theta[rows], phi[rows], made[rows]) for rows in tiles])
        return made, norm, None if failed is None else failed > 0

    @cached_property
    def _compiled(self) -> CompiledModel:
        from rbm.online.compiled import CompiledModel  # loads Numba

        return CompiledModel(self.operators, self.rhs)

    def _form(self, state: Estimator) -> Form | None:
        """The estimator for the compiled kernels; the same object for the same estimator."""
        known = self._known_forms
        if state.method not in known:
            known[state.method] = state.form(self._compiled.dtypes[self._is_complex])
        return known[state.method]

    @cached_property
    def _known_forms(self) -> dict[str, Form | None]:
        return {}

    @cached_property
    def _finish(self) -> Finish | None:
        """Stability bound and outputs for the compiled kernels, if they are of the simple kinds that these know."""
        simple = getattr(self.stability, "simple", None)
        stability = None if simple is None or self.interpolation_error is not None else simple()
        outputs = [o.simple(self._compiled.dtypes[0]) if isinstance(o, ReducedLinear) else None for o in self.outputs.values()]
        if stability is None or any(o is None for o in outputs):
            return None
        known = [o for o in outputs if o is not None]
        shape = (len(known), self.size)
        functionals, magnitudes = (np.array([o[k] for o in known]).reshape(shape) for k in (0, 1))
        return Finish(stability, functionals, magnitudes, np.array([o[2] for o in known]))

    @cached_property
    def _is_complex(self) -> bool:
        """True if coefficients or matrices are complex; decided at the middle of the parameter space."""
        middle = self._spare()
        return any(
            a.dtype.kind == "c"
            for a in (self.operators, self.rhs, self.operator_coefficients(middle), self.rhs_coefficients(middle))
        )

    def _spare(self) -> np.ndarray:
        """The middle of the parameter space (1, p)."""
        return self.parameters.bounds.mean(axis=1)[None]

    @cached_property
    def _bytes_per_point(self) -> int:
        qa, _, n = self.operators.shape
        return 8 * self.operators.itemsize // 8 * (len(self.parameters) + qa + self.rhs.shape[0] + 2 * n + 16)

    def _unsolved(self, mu: np.ndarray, theta: np.ndarray, where: str) -> str:
        at = f"at {self.parameters.describe(mu)} ({where})"
        singular = np.linalg.svd(np.tensordot(theta, self.operators, 1), compute_uv=False)
        if singular.min() <= np.finfo(self.dtype).eps * self.size * singular.max():
            return (
                f"the reduced system {at} is singular; leave this parameter out, and check the stability bound of the full model "
                "with verify()"
            )
        return f"the reduced solution {at} is not finite"

    def _state(self, method: str | None) -> Estimator:
        name = self.method if method is None else _method_name(method)
        if name in self.estimators:
            return self.estimators[name]
        if name in self.refused:
            raise ModelError(f"estimator {name!r} is not available in this model: {self.refused[name]}")
        raise ModelError(
            f"this model has no estimator {name!r}; it has {', '.join(self.estimators) or 'none'}. Ask for it when the model is made: "
            f"estimators=({', '.join(repr(n) for n in (*self.estimators, name))})"
        )

    def __repr__(self) -> str:
        full = "" if self.basis is None else f" for {self.basis.shape[0]} unknowns"
        refused = f", refused: {', '.join(self.refused)}" if self.refused else ""
        return (
            f"ReducedModel(N = {self.size}{full}, {self.operators.shape[0]} operator and {self.rhs.shape[0]} right-hand side terms, "
            f"{self.dtype}, {self.projection}, {self.parameters}, estimators: {', '.join(self.estimators) or 'none'}{refused}"
            + (f", outputs: {', '.join(self.outputs)})" if self.outputs else ")")
        )


def _method_name(method: Any) -> str:
    """Canonical name of an estimator given by name ("orthonormal"), by alias ("E_onb") or as a class."""
    if isinstance(method, type) and issubclass(method, Estimator):
        return method.method
    aliases = {"E1": "direct", "E2": "expanded", "E3": "sampled", "E4": "interpolated", "E_onb": "orthonormal"}
    name = aliases.get(method, method)
    if name not in METHODS:
        raise ModelError(
            f"unknown estimator {method!r}; the estimators are {', '.join(METHODS)} (aliases {', '.join(aliases)})"
        )
    return name
