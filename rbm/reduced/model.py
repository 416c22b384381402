"""The reduced model: it solves and certifies for many parameters in one call, from small arrays only."""

from __future__ import annotations

import os
from collections.abc import Iterator
from concurrent.futures import Executor
from dataclasses import dataclass, fields, replace
from functools import cached_property
from typing import Any

import numpy as np

from lowrank.renamed import renamed
from rbm.arithmetic.precision import is_single, precision
from rbm.errors import ModelError
from rbm.estimate import Estimate
from rbm.estimators import Orthonormal, Sketched
from rbm.full_order import FullOrderModel
from rbm.online.batches import OnError
from rbm.reduced.arrays import ReducedArrays
from rbm.reduced.coded_coefficients import CodedCoefficients, Method
from rbm.reduced.evaluator import Evaluator
from rbm.reduced.given_coefficients import estimate
from rbm.reduced.gradient import Gradient, gradient
from rbm.reduced.online_query import Query
from rbm.reduced.origin import check_origin
from rbm.reduced.placement import beside_model, numbers_for, placed
from rbm.reduced.precision_change import converted_arrays, interpolated_squares, recalibrated
from rbm.reduced.quantization import quantized_fields
from rbm.reduced.shortened import compressed_fields, truncated_fields
from rbm.reduced.stored_solutions import coded, decoded, reconstructed
from rbm.reduced.streams import stream
from rbm.reduced.term_norms import term_norms_of
from rbm.solution import Solution, coefficients_of

__all__ = ["ReducedModel", "Solution"]


@dataclass(frozen=True, eq=False, repr=False)
class ReducedModel(ReducedArrays):
    """A certified reduced model; made by :func:`rbm.greedy`, :func:`rbm.project` or :func:`rbm.load`.

    The first estimator is the default one. `refused` holds, per method, the reason why an estimator that was asked for
    is not here.
    """

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
        """Return coefficients, outputs and error bounds for all parameter points `mus` at once.

        Any number of points is solved in pieces that fit the cache, by as many threads as there are processors (set
        RBM_NUM_THREADS for another number), and only the answer is kept. For answers larger than memory see
        :meth:`stream`.

        mus : (M, p), or (p,) for one point; or by name, a dictionary or a data frame
            (:meth:`rbm.ParameterSpace.points`). For a model on a device, an array there, or one that is moved there
            (:meth:`to`)
        estimate : also the error estimate, by `method` (default: the model's first estimator)
        extrapolate : allow parameters outside the parameter space
        on_error : "raise" one error that names the rows that failed and holds all other answers in its `solution`, or
            "mark" those rows in the result: no coefficients and outputs (NaN), no bound (infinity), listed in `failed`
        coefficients : keep gamma; if False, the answer is the outputs and the bounds
        progress : show a progress bar

        Coefficients that are callables are called piece by piece, from several threads at once.

        Raises
        ------
        ParameterError, StabilityError, ModelError
            a bad parameter, a stability bound that is not positive, a singular reduced system; the message names the
            parameter.
        Interrupted
            Ctrl-C; its `result` holds the answers so far, the other points are marked as failed there.

        Cost per point: Q N^2 + N^3/3 flops for the solution of a Hermitian positive definite system (twice that for
        others), m k to 2 m k for the bound (m = Qf + Qa N, k <= m; half if R is triangular).
        """
        return self._online.solve(mus, estimate, method, extrapolate, on_error, coefficients, progress)

    def stream(
        self, mus: Any, *, size: int = 1 << 17, executor: Executor | None = None, **options: Any
    ) -> Iterator[Solution]:
        """Yield a Solution for each block of points, in order, for answers larger than memory.

        mus : an array (M, p) or a table, which is cut into blocks of `size` points, or an iterable of these, a
            generator for instance, which are answered one after the other
        executor : blocks go to its workers, two for each at a time (docs/scale.md); threads of this process by default
        options : as for :meth:`solve`

        Messages count rows from the start of the stream, `rows` and `failed` from the start of the block, as its arrays
        do.
        """
        return stream(self, mus, size, executor, options)

    def estimate(
        self, mus: Any, coefficients: Any = None, method: str | None = None, *, extrapolate: bool = False
    ) -> Estimate:
        """Return the error estimate in the P-norm for given coefficients, or for the reduced solution.

        coefficients : gamma (M, N), or a Solution
        method : "direct", "expanded", "sampled", "interpolated", "orthonormal", or E1 .. E4, E_onb; default: the first

        Raises as :meth:`solve`, with Estimates in `solution` and `result`, infinite where there is none; ModelError for
        a Solution of another model (:meth:`reconstruct`); ValueError for another shape, and for NaN.
        """
        return estimate(self._online, mus, coefficients, method, extrapolate)

    def evaluator(self, method: str | None = None, *, extrapolate: bool = False) -> Evaluator:
        """Return a function of one point that gives plain floats, for control loops and optimisers: docs/online.md.

        ``evaluate(mu).bound`` is ``solve(mu).bound[0]``, and its arguments are those of :meth:`solve`.
        """
        return Evaluator(self, self._online, method, extrapolate)

    def gradient(self, mus: Any, outputs: Any = None, *, extrapolate: bool = False, estimate: bool = True) -> Gradient:
        """Return the derivatives of outputs by all parameters, and bounds of their errors: ``values, bounds = ...``.

        Both are {output: (M, p)} for the outputs named, or all; |ds/dmu - value| <= bound for the full model. Formulas,
        proofs and cost: docs/gradients.md. estimate : also the bounds, by the estimator "orthonormal".

        Raises ModelError where there is no derivative or no bound, with the reason, and as :meth:`solve`.
        """
        return gradient(self._on_host()._online, mus, outputs, extrapolate, estimate)

    def with_term_norms(self, full_model: FullOrderModel) -> ReducedModel:
        """Return the model with the norms of its operator terms, where :meth:`gradient` asks for them."""
        return replace(self, term_norms=term_norms_of(self, full_model))

    def reconstruct(self, coefficients: Any) -> Any:
        """Return Z gamma (M, n) for a Solution or coefficients (M, N) or (N,), where the model lives.

        Raises ModelError if the model has no basis, and for a Solution of another model. Models that `astype`,
        `compress`, `sketch`, `to` and files make have the same basis and take each other's solutions. Give
        ``solution.coefficients`` to use its numbers whichever model made them. A model in few bits refuses a Solution
        whose bounds do not cover what its bits change: that of the model before :meth:`quantize`, or of one in more.
        """
        if self.basis is None and self.coded is None:
            raise ModelError("this reduced model does not hold its basis; save it with basis=True for full vectors")
        check_origin(coefficients, self, lambda: self._online.origin)
        gamma = numbers_for(self, coefficients_of(coefficients))
        gamma = gamma[None, :] if gamma.ndim == 1 else gamma
        if gamma.ndim != 2 or gamma.shape[1] != self.size:
            raise ValueError(f"coefficients must have shape (M, {self.size}), got {gamma.shape}")
        if self.coded is not None:
            return reconstructed(self.coded, coefficients, gamma)
        assert self.basis is not None
        return gamma @ self.basis.T

    def to(self, target: Any, *, device: Any = None) -> ReducedModel:
        """Return the model with its matrices on the GPU ("cupy") or on the CPU ("numpy").

        Operators, right-hand sides, Z and the matrices of the estimators are moved, and come back bit for bit; vectors
        and numbers stay NumPy's and are moved when they are needed. A model on a device takes `mus` from NumPy or from
        that device; its answers stay there (Solution.to). Everything is evaluated there by batched calls of the
        library, in pieces that need a few GiB. Only coefficients that are Python callables get NumPy arrays, and their
        values are moved. astype, compress, sketch and truncate go through the CPU and give a model in the same place; a
        file holds NumPy arrays.

        The online sums are rounded otherwise than on the CPU, within the floors. Residuals are summed in double
        precision, as there, also for a float32 model. The floors are those of IEEE arithmetic: TF32 products can only
        make a float32 solution worse, not its bound; do not let the library emulate double precision.

        target : "cupy", "numpy", or an array module that follows the array API standard (for tests: array_api_strict)
        device : as that module names it; CuPy's current one by default

        The estimator "direct" needs the full model and stays behind, in `refused` with that reason. If it is the
        default one, the model is not moved: another estimator must not take its place unnoticed.

        Raises ImportError without CuPy, RuntimeError without a GPU, ModelError if the default estimator is "direct".
        """
        return _marked(placed(self, target, device), self)

    def truncate(self, size: int) -> ReducedModel:
        """Return the model for the first `size` basis vectors; nothing is computed anew.

        E3 and E4, whose points would change, are left out. Raises ModelError for a size that is not in 1 .. N.
        """
        if isinstance(size, bool) or not (isinstance(size, int | np.integer) and 0 < size <= self.size):
            raise ModelError(
                f"cannot truncate a model of {self.size} basis vectors to {size!r}: give an integer from 1 to "
                f"{self.size}; more vectors come from rbm.greedy with a larger max_basis"
            )
        if size == self.size:
            return self
        if not self._online.on_host:
            return self._beside(self._on_host().truncate(size))
        return replace(self, **truncated_fields(self, size))

    def astype(self, dtype: Any) -> ReducedModel:
        """Return the model in "float32" or "float64", certified for what it then computes.

        Complex models become complex64 or complex128. Reduced matrices, R of E_onb, G of E2 and the systems of E3 and
        E4 are converted. By how much each moved is measured and added to the error constants, so that bound >= exact
        holds for the float32 coefficients that `solve` returns, with the exact theta(mu). What is computed per point
        (theta, phi, value, floor, bound, outputs) stays in double precision. So do Z, for which ``reconstruct`` has the
        same bound, the outputs' vectors, and E1 with its full model. float64 of a float32 model widens the arrays and
        keeps the larger constants. The floor of E_onb becomes about u_32 = 6e-8 of the terms of the residual. E3 and E4
        are compared before and after at 64 points, a measurement as before. An estimator that cannot be used
        in float32 is listed in `refused`.

        Raises
        ------
        ModelError
            another dtype; entries beyond the range of float32.
        EstimatorUnusable
            the default estimator cannot be used in float32.
        """
        host = self._on_host()
        wanted = precision(dtype)
        if is_single(host.dtype) == is_single(wanted):
            return self
        made = replace(host, **converted_arrays(host, wanted))
        squares = interpolated_squares(made.estimators)
        if squares:
            states = recalibrated(squares, host, [m._online for m in (made, host)])
            made = replace(made, estimators={**made.estimators, **states})
        return self._beside(made)

    def compress(self, rtol: float = 0.01, *, tol: float | None = None, training: Any = None) -> ReducedModel:
        """Return the model with fewer rows in the factor R (k0, m) of E_onb; the bound covers what is left out.

        R diag(d) = U S V^H, d_j the root mean square of |c_j| over the sample; with the first k columns U_k of U

            R' = U_k^H R (k, m),    delta_j grows by ||R_j - U_k R'_j||_2 / 2,
            | ||R c|| - ||R' c|| | <= sum_j ||R_j - U_k R'_j|| |c_j|,

        for every c, in the sample or not. k is the smallest number for which the floor of the residual norm grows, at
        every sample point, by at most rtol times the median residual norm of the sample, or by at most `tol`, if given.
        R' is upper trapezoidal, as R was, so that `truncate` works as before. Where no row can be left out the
        estimator stays as it was.

        rtol : relative, tol : absolute limit of the growth, in the norm of the residual
        training : sample (M, p), by default 512 Sobol points

        The state ``estimators["orthonormal"]`` holds the rows before (`full_rows`) and the growth of the floor
        (`growth`). Cost O(k0 m^2).
        Raises ModelError without that estimator, ParameterError for a bad sample.
        """
        host = self._on_host()
        return self._beside(replace(host, **compressed_fields(host, host._online, rtol, tol, training)))

    def quantize(
        self, bits: Any = 8, *, rotate: bool = True, training: Any = None, product: Any = None
    ) -> ReducedModel:
        """Return the model with its basis in few bits per number, and the exact error of that in every bound.

        The coefficients, outputs and residual norms stay what they were; `reconstruct` is off by
        ||Z gamma - S Q W^H gamma||_P = ||R W^H gamma||_2, which is known for every gamma without the basis and is added
        to the floor: :attr:`rbm.Solution.quantization_error` (:mod:`rbm.reduced.coded_basis`).

        bits : the mean number of bits of the basis, shared out among its vectors for the least mean square error; or
            {"basis": mean, "matrices": integer}: reduced matrices are rounded, too, the estimators are not
        rotate : quantise the principal axes of the coefficients, not the vectors of the basis
        training : sample (M, p) that tells these, by default 512 Sobol points
        product : P (n, n), if the model does not hold it

        Raises ModelError for bits outside 0 to 24, a model without its basis or without P, another P than its own. Cost
        offline: N Riesz solves and O(n N^2); online 4 N^2 flops per point.
        """
        host = self._on_host()
        made = replace(host, **quantized_fields(host, host._online, bits, rotate, training, product))
        squares = interpolated_squares(made.estimators) if made.operators is not host.operators else {}
        if squares:
            states = recalibrated(squares, host, [m._online for m in (made, host)])
            made = replace(made, estimators={**made.estimators, **states})
        return self._beside(made)

    def encode(self, coefficients: Any, bits: float = 8, *, method: Method = "auto", rng: int = 0) -> CodedCoefficients:
        """Return a Solution, or coefficients (M, N), in about `bits` bits per number, to be stored.

        method : "bits", "residual", or "auto" for the one with the smaller error at the same number of bytes
            (:mod:`rbm.reduced.coded_coefficients`)

        Raises ModelError for bits outside 0 to 24, or too few for any code; a Solution of another model as
        :meth:`reconstruct`.
        """
        host = self._on_host()
        return coded(host, host._online.origin, coefficients, bits, method, rng)

    def decode(self, stored: CodedCoefficients) -> Solution:
        """Return the coefficients that :meth:`encode` stored, as a Solution.

        Where a Solution was encoded, its bound is that of the decoded coefficients: the distance from the ones that
        were encoded is added, and named in `quantization_error`. Raises ModelError for coefficients of another basis.
        """
        host = self._on_host()
        return decoded(host, host._online.origin, stored)

    @renamed(seed="rng")
    def sketch(self, rows: int = 40, *, failure: float = 1e-9, rng: int = 0) -> ReducedModel:
        """Return the model with the estimator "sketched" added, whose bounds hold WITH PROBABILITY only.

        It is made from E_onb without the full model. Each bound is too small with probability `failure`; for M points
        take failure / M. See :class:`rbm.estimators.Sketched`.

        Raises ModelError without the estimator "orthonormal", or for bad arguments.
        """
        host = self._on_host()
        state = host.state(Orthonormal.kind)
        assert isinstance(state, Orthonormal)
        sketched = Sketched.of(state, rows, failure, rng)
        return self._beside(replace(host, estimators={**host.estimators, Sketched.kind: sketched}))

    def save(self, path: str | os.PathLike[str], *, basis: bool = True, overwrite: bool = True) -> None:
        """Write the model to one file, whole or not at all; :func:`rbm.load` reads it. See :mod:`rbm.files`.

        basis : write Z, too, so that full vectors can be reconstructed
        overwrite : replace an existing file

        Raises ModelError for coefficients that are Python callables, FileExistsError, OSError.
        """
        from rbm.files.model_file import save

        save(self._on_host(), path, basis=basis, overwrite=overwrite)

    @cached_property
    def _online(self) -> Query:
        return Query(self)

    def _on_host(self) -> ReducedModel:
        return _marked(placed(self, "numpy"), self)

    def _beside(self, made: ReducedModel) -> ReducedModel:
        """Return the model `made`, which is in NumPy arrays, where this one lives."""
        return _marked(beside_model(made, self.operators), made)

    def __getstate__(self) -> dict[str, Any]:
        """Return the fields, for pickle and copy; what is packed for the kernels is made again."""
        return {f.name: getattr(self, f.name) for f in fields(self)}


def _marked(moved: ReducedModel, source: ReducedModel) -> ReducedModel:
    """Return the model with the mark of `source`, whose arrays it holds elsewhere.

    No query then copies arrays from a device to compute the mark.
    """
    if moved is not source:
        moved._online.origin = source._online.origin
    return moved
