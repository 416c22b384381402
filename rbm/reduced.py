"""The reduced model: small arrays only, solved and certified for many parameters in one call."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from rbm.bounds import error_estimate
from rbm.coefficients import Coefficients
from rbm.compression import compress
from rbm.conversion import convert, rounded_coefficients
from rbm.errors import ModelError
from rbm.estimate import Estimate
from rbm.estimators import METHODS, Estimator, Orthonormal, Sketched
from rbm.estimators.squares import InterpolatedSquare
from rbm.full_order import Projection
from rbm.online import reference
from rbm.outputs import ReducedOutput
from rbm.parameters import ParameterSpace
from rbm.stability import StabilityBound

__all__ = ["ReducedModel", "Solution"]


@dataclass(frozen=True)
class Solution:
    """Answers of :meth:`ReducedModel.solve` for M parameter points."""

    coefficients: np.ndarray  #: gamma (M, N): u(mu) ~ Z gamma
    outputs: dict[str, np.ndarray]  #: {name: (M,)}
    estimate: Estimate | None = None  #: error of the solution in the P-norm
    output_bounds: dict[str, np.ndarray] = field(
        default_factory=dict
    )  #: {name: (M,)}: |s(mu) - s_N(mu)| is at most this

    @property
    def bound(self) -> np.ndarray:
        """(M,) upper bound of ||u(mu) - Z gamma(mu)||_P."""
        if self.estimate is None:
            raise ValueError("this solution was made with estimate=False; call solve(mus) again without it")
        return self.estimate.bound

    def __repr__(self) -> str:
        m, n = self.coefficients.shape
        error = "no error estimate" if self.estimate is None else f"error bound up to {self.bound.max():.2e}"
        return f"Solution({m} points, N = {n}, {error}" + (
            f", outputs {', '.join(self.outputs)})" if self.outputs else ")"
        )


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
        self, mus: Any, estimate: bool = True, *, method: str | None = None, extrapolate: bool = False
    ) -> Solution:
        """Coefficients, outputs and error bounds for all parameter points `mus` (M, p), or (p,) for one, at once.

        estimate : also the error estimate, by `method` (default: the model's first estimator)
        extrapolate : allow parameters outside the parameter space

        Raises
        ------
        ParameterError, StabilityError, ModelError
            a bad parameter, a stability bound that is not positive, a singular reduced system; each names the parameter.

        Cost per point: (2 Qa + 2/3 N) N^2 flops for the solution, 2 m k for the bound (m = Qf + Qa N, k <= m).
        """
        mus = self.parameters.validate(mus, extrapolate)
        theta, phi = self.operator_coefficients(mus), self.rhs_coefficients(mus)
        gamma = self._solve(mus, theta, phi)
        values = {name: out.value(mus, gamma) for name, out in self.outputs.items()}
        if not estimate:
            return Solution(gamma, values)
        error = self._estimate(mus, theta, phi, gamma, method)
        bounds = {name: out.bound(mus, gamma, error.bound) for name, out in self.outputs.items()}
        return Solution(gamma, values, error, bounds)

    def estimate(
        self, mus: Any, coefficients: np.ndarray | None = None, method: str | None = None, *, extrapolate: bool = False
    ) -> Estimate:
        """Error estimate in the P-norm for given coefficients gamma (M, N), or for the reduced solution.

        method : "direct", "expanded", "sampled", "interpolated", "orthonormal", or E1 .. E4, E_onb; default: the first one
        """
        mus = self.parameters.validate(mus, extrapolate)
        theta, phi = self.operator_coefficients(mus), self.rhs_coefficients(mus)
        if coefficients is None:
            gamma = self._solve(mus, theta, phi)
        else:
            gamma = np.asarray(coefficients)
            if gamma.shape != (len(mus), self.size):
                raise ValueError(
                    f"coefficients must have shape ({len(mus)}, {self.size}), one row a parameter point, got {gamma.shape}"
                )
            if not np.all(np.isfinite(gamma)):
                raise ValueError(
                    f"coefficients hold {int((~np.isfinite(gamma)).sum())} entries that are NaN or infinite"
                )
        return self._estimate(mus, theta, phi, gamma, method, given=coefficients is not None)

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

    def astype(self, dtype: Any) -> ReducedModel:
        """The model in "float32" or "float64" (complex models: complex64, complex128), certified for what it then computes.

        Reduced matrices, R of E_onb, G of E2 and the systems of E3 and E4 are converted; by how much each moved is measured and
        added to the error constants, so that bound >= exact holds for the float32 coefficients that `solve` returns, with the
        exact theta(mu). What a point needs (theta, phi, value, floor, bound, outputs) stays in double precision, as do Z, so that
        the bound is one for ``reconstruct``, the outputs' vectors, and E1 with its full model. float64 of a float32 model widens
        the arrays and keeps the larger constants. A floor of E_onb becomes about u_32 = 6e-8 of the terms of the residual. E3 and E4
        are compared before and after at 64 points, a measurement as before; a state that float32 ruins is listed in `refused`.

        Raises
        ------
        ModelError
            another dtype; entries beyond the range of float32.
        EstimatorUnusable
            float32 leaves nothing of the default estimator.
        """
        return convert(self, dtype)

    def compress(self, rtol: float = 0.01, *, tol: float | None = None, training: Any = None) -> ReducedModel:
        """The model with fewer rows in the factor R (k0, m) of E_onb; what is left out stays in the bound, rigorously.

        R diag(d) = U S V^H, d_j the root mean square of |c_j| over the sample; with the first k columns U_k of U

            R' = U_k^H R (k, m),    delta_j grows by ||R_j - U_k R'_j||_2 / 2,    | ||R c|| - ||R' c|| | <= sum_j ||R_j - U_k R'_j|| |c_j|,

        for every c, in the sample or not. k is the smallest number for which the floor of the residual norm grows, at every sample
        point, by at most rtol times the median residual norm of the sample, or by at most `tol`, if given. R' is upper
        trapezoidal, as R was, so that `truncate` goes on as before. Where no row can be spared the estimator is as it was.

        rtol : relative, tol : absolute, in the norm of the residual; training : sample (M, p), by default 512 Sobol points

        The state ``estimators["orthonormal"]`` tells the rows before (`full_rows`) and the growth of the floor (`growth`). Cost O(k0 m^2).
        Raises ModelError without that estimator, ParameterError for a bad sample.
        """
        return compress(self, rtol, tol, training)

    def sketch(self, rows: int = 40, *, failure: float = 1e-9, seed: int = 0) -> ReducedModel:
        """The model with the estimator "sketched" added, made from E_onb without the full model; it holds WITH PROBABILITY only.

        Each bound is too small with probability `failure`; for M points take failure / M. See :class:`rbm.estimators.Sketched`.
        Raises ModelError without the estimator "orthonormal", or for bad arguments.
        """
        state = self._state(Orthonormal.method)
        assert isinstance(state, Orthonormal)
        sketched = Sketched.of(state, rows, failure, seed)
        return replace(self, estimators={**self.estimators, Sketched.method: sketched})

    def save(self, path: str | os.PathLike[str], *, basis: bool = True, overwrite: bool = True) -> None:
        """Write the model to one file, whole or not at all; :func:`rbm.load` reads it. See :mod:`rbm.files`.

        basis : also Z, so that full vectors can be reconstructed
        overwrite : replace an existing file

        Raises ModelError for coefficients that are Python callables, FileExistsError, OSError.
        """
        from rbm.files import save

        save(self, path, basis=basis, overwrite=overwrite)

    def _solve(self, mus: np.ndarray, theta: np.ndarray, phi: np.ndarray) -> np.ndarray:
        theta, phi = (rounded_coefficients(v, self.dtype, mus, self.parameters) for v in (theta, phi))
        try:
            gamma = reference.solve(self.operators, self.rhs, theta, phi)
        except ModelError:
            smallest = [np.linalg.svd(np.tensordot(t, self.operators, 1), compute_uv=False)[-1] for t in theta]
            i = int(np.argmin(smallest))
            raise ModelError(
                f"the reduced system at {self.parameters.describe(mus[i])} (row {i}) is singular; leave this parameter out, "
                "and check the stability bound of the full model with verify()"
            ) from None
        finite = np.isfinite(gamma).all(axis=1)
        if not finite.all():
            i = int(np.flatnonzero(~finite)[0])
            raise ModelError(
                f"the reduced solution at {self.parameters.describe(mus[i])} (row {i}, {int((~finite).sum())} such points) is not finite"
            )
        return gamma

    def _estimate(
        self,
        mus: np.ndarray,
        theta: np.ndarray,
        phi: np.ndarray,
        gamma: np.ndarray,
        method: str | None,
        given: bool = False,
    ) -> Estimate:
        """given : gamma comes from the caller and need not be the reduced solution."""
        state = self._state(method)
        beta = self.stability(mus, theta)
        distance = np.zeros(len(mus))
        evaluated = gamma
        if given and isinstance(state, InterpolatedSquare):
            evaluated = self._solve(mus, theta, phi)
            distance = state.distance(theta, gamma, evaluated)
        terms = self.rhs.shape[0] + self.operators.shape[0] * self.size
        tiles = reference.tiles(len(mus), 4 * terms * gamma.dtype.itemsize)
        norm = Estimate.concatenate([state.evaluate(theta[rows], phi[rows], evaluated[rows]) for rows in tiles])
        if np.any(distance > 0):
            norm = Estimate.from_norm(norm.value, norm.floor + distance)
        return error_estimate(norm, beta, gamma, mus, self.parameters, self.interpolation_error)

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
            f"{self.dtype}, {self.projection}, {self.parameters}, estimators: {', '.join(s.label for s in self.estimators.values()) or 'none'}{refused}"
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
