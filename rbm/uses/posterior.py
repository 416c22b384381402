"""What data say of parameters, as probabilities: a certified likelihood, enclosed expectations, an exact chain."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from rbm.affine.terms import Output
from rbm.arithmetic.precision import ROUND_OFF
from rbm.errors import ModelError
from rbm.full_order import FullOrderModel
from rbm.parameters.space import ParameterSpace
from rbm.reduced.interface import Reduced
from rbm.solution import Solution
from rbm.uses.enclosed_means import enclosed_mean, enclosed_sum
from rbm.uses.exact_chain import Chain, run_chain
from rbm.uses.measurements import finite_numbers
from rbm.uses.observations import LogLikelihood, Observations, read_observations

__all__ = ["Posterior", "posterior"]

#: What outputs of full solves may be off by, as a share of the sum of their terms. Measured, some 1e-15; not proved.
SOLVED = 1e-12


@dataclass(frozen=True)
class Posterior:
    """The posterior of the parameters, through a reduced model; docs/uncertainty.md says what is proved."""

    reduced: Reduced
    observations: Observations
    space: ParameterSpace  #: with the distributions of the prior
    method: str | None = None  #: the estimator; None: the model's first

    def log_likelihood(self, mus: Any) -> tuple[np.ndarray, np.ndarray]:
        """Return log L (M,) of the reduced model at points (M, p), and bounds (M,): the full model's is within them.

        Raises ParameterError for points outside the space, and as :meth:`rbm.ReducedModel.solve`.
        """
        found = self._likelihood(mus)
        return found.value, found.bound

    def _likelihood(self, mus: Any) -> LogLikelihood:
        solution = self.reduced.solve(mus, method=self.method, coefficients=False)
        return self.observations.log_likelihood(solution.outputs, solution.output_bounds)

    def log_probability(self, mus: Any) -> Any:
        """Return log L + the logarithm of the prior's density, (M,), or a number for one point (p,), for samplers.

        Minus infinity outside the space, where the reduced model is not asked; plus infinity where the prior's density
        is, as that of arcsine at both ends. No bound: samples of it follow the
        *reduced* posterior; :meth:`expectation` with ``drawn="posterior"`` says what they tell of the full one.

        Raises ModelError for a point that is NaN.
        """
        points = np.asarray(self.space.points(mus), dtype=float)
        if np.any(np.isnan(points)):
            raise ModelError("log_probability is asked at a point that is NaN; the sampler has lost its way")
        made = self.space.prior.log_density(points)
        inside = made > -np.inf
        if np.any(inside):
            outputs = self.reduced.solve(points[inside], False, on_error="mark", coefficients=False).outputs
            value = self.observations.log_likelihood(outputs).value
            made[inside] = np.where(value > -np.inf, made[inside] + value, -np.inf)
        return float(made[0]) if isinstance(mus, np.ndarray | list) and np.ndim(mus) == 1 else made

    def expectation(
        self,
        function: Callable[[np.ndarray], Any] | str | Any,
        mus: Any,
        weights: Any = None,
        *,
        drawn: Literal["prior", "posterior"] = "prior",
    ) -> tuple[float, float]:
        """Return (low, high) of sum w_j L_j h_j / sum w_j L_j over points (M, p), with the full model's L and h.

        function : mus (M, p) -> h (M,), or h itself, real; or the name of an output, with its bound
        weights : (M,) >= 0, what remains beside L: the prior's density over that which the points were drawn from. None
            for points of the prior (``space.sample(M, "random")``)
        drawn : "posterior" for points that follow the reduced posterior, of a sampler on :meth:`log_probability`;
            L_j then is the ratio of the full to the reduced likelihood

        Both ends are attained up to rounding: the interval is the least one that the bounds of L and h allow. It covers
        the reduction and rounding, for these points; how well M points stand for the whole is another matter.

        Raises ModelError for values and weights that do not fit, ParameterError for points outside the space.
        """
        if drawn not in ("prior", "posterior"):
            raise ModelError(f'drawn must be "prior" or "posterior", got {drawn!r}')
        points = self.space.validate(mus)
        solution = self.reduced.solve(points, method=self.method, coefficients=False)
        value, least, most = self.observations.log_likelihood(solution.outputs, solution.output_bounds)
        low, high = _values(function, points, solution)
        if drawn == "posterior":
            if np.any(np.isinf(value)):
                raise ModelError(
                    "a point has the likelihood zero in the reduced model: it was not drawn from its posterior"
                )
            off = ROUND_OFF * np.abs(value)
            least, most = least - value - off, most - value + off
        return enclosed_mean(low, high, least, most, _weights(weights, len(points)))

    def log_evidence(self, mus: Any, weights: Any = None) -> tuple[float, float]:
        """Return (low, high) of log(sum w_j L_j / sum w_j) of the full model, over points (M, p) of the prior.

        Arguments as for :meth:`expectation`. Raises ModelError for weights that are negative or as many as there are no
        points, and what :meth:`rbm.ReducedModel.solve` raises.
        """
        found = self._likelihood(mus)
        return enclosed_sum(found.low, found.high, _weights(weights, len(found.value)))

    def chain(
        self,
        full_model: FullOrderModel,
        steps: int,
        *,
        start: Any = None,
        step: Any = 0.1,
        chains: int = 1,
        rng: int = 0,
        checkpoint: str | os.PathLike[str] | None = None,
        progress: bool = False,
    ) -> Chain:
        """Return a Metropolis chain of the *full* model's posterior, which is solved only where the bounds leave doubt.

        Every step compares the logarithm of a uniform number with a difference of likelihoods. Where both ends of that
        difference's interval say the same, the full model would say so, too; else it is solved, at one or both points.
        So the chain is that which the full model makes with the same random numbers (:func:`rbm.uses.chain_numbers`).

        step : standard deviation of a proposal, a number or (p,), in probabilities of the prior, that is in [0, 1] for
            each parameter; proposals are reflected at 0 and 1
        start : points (K, p) or (p,), where K chains begin; None: those of 64 p prior points that fit best
        chains : their number K, if there is no `start`
        checkpoint : a file, written now and then and at the end; a run with the same arguments, and the same or more
            steps, goes on from it

        Raises ModelError for a full model that is another one, for steps that are none, and for a checkpoint of another
        chain; Interrupted on Ctrl-C, with the Chain so far in `result`.
        Cost of a step: K answers of the reduced model; a full solve for each doubtful point.
        """
        return run_chain(
            self.space, self._likelihood, self._truth(full_model), self._key(full_model), steps,
            start=start, step=step, chains=chains, rng=rng, checkpoint=checkpoint, progress=progress,
        )  # fmt: skip

    def _truth(self, full_model: FullOrderModel) -> Callable[[np.ndarray], LogLikelihood]:
        """Return mus (K, p) -> log L (K,) of the full model, with what rounding may move it by."""
        if not isinstance(full_model, FullOrderModel):
            raise ModelError(f"chain asks the full model, an rbm.FullOrderModel, got a {type(full_model).__name__}")
        mine, n = self.reduced.parameters, getattr(self.reduced, "unknowns", None)
        if full_model.parameters.names != mine.names:
            raise ModelError(
                f"the full model has the parameters {', '.join(full_model.parameters.names)}, the reduced one "
                f"{', '.join(mine.names)}; give the model that it was made from"
            )
        if n is not None and n != full_model.dimension:
            raise ModelError(f"the full model has {full_model.dimension} unknowns, the reduced one was made from {n}")
        if missing := [name for name in self.observations.names if name not in full_model.outputs]:
            raise ModelError(
                f"the full model has no output {missing[0]!r}; give the model that the reduced one was made of"
            )

        def truth(mus: np.ndarray) -> LogLikelihood:
            u = full_model.solve(mus, extrapolate=True)
            outputs = {name: full_model.outputs[name] for name in self.observations.names}
            off = {name: SOLVED * _sizes(output, mus, u) for name, output in outputs.items()}
            return self.observations.log_likelihood({name: o(mus, u) for name, o in outputs.items()}, off)

        return truth

    def _key(self, full_model: FullOrderModel) -> tuple[Any, ...]:
        """Return all that the chain depends on, but its own arguments."""
        o = self.observations
        return full_model.fingerprint(), o.names, o.owner, o.data, o.noise, self.space


def _sizes(output: Output, mus: np.ndarray, u: np.ndarray) -> np.ndarray:
    """Return the sum (M,) of the moduli of the terms of an output at vectors (M, n)."""
    psi, u = np.abs(output.coefficients(mus)), np.abs(u)
    if output.quadratic:
        forms = [np.sum(u * (abs(q) @ u.T).T, axis=1) for q in output.terms]
        return np.sum(psi * np.stack(forms, axis=1), axis=1)
    made = np.sum(psi * (u @ np.abs(np.stack(output.terms, axis=1))), axis=1)
    return made if output.offset is None else made + np.abs(output.offset(mus))


def _values(function: Any, points: np.ndarray, solution: Solution) -> tuple[np.ndarray, np.ndarray]:
    """Return the ends (M,) of the values of which the mean is asked."""
    if isinstance(function, str):
        if function not in solution.outputs:
            known = ", ".join(map(repr, solution.outputs)) or "none"
            raise ModelError(f"expectation asks the output {function!r}, which the model does not have: {known}")
        value, bound = solution.outputs[function], solution.output_bounds[function]
        if value.dtype.kind == "c":
            raise ModelError(f"output {function!r} is complex; an interval of its mean needs a real one")
        return np.nextafter(value - bound, -np.inf), np.nextafter(value + bound, np.inf)
    made = finite_numbers("values of the function", function(points) if callable(function) else function)
    if made.dtype.kind == "c":
        raise ModelError("the values of the function are complex; an interval of their mean needs real ones")
    if made.shape != (len(points),):
        raise ModelError(f"the function must give {len(points)} values, one a point, got shape {made.shape}")
    return made, made


def _weights(given: Any, count: int) -> np.ndarray:
    made = np.ones(count) if given is None else finite_numbers("weights", given)
    if made.shape != (count,) or made.dtype.kind == "c":
        raise ModelError(f"weights must be real numbers ({count},), one a point, got shape {made.shape}")
    if np.any(made < 0) or not np.any(made > 0):
        raise ModelError("weights must not be negative, and one of them positive")
    return made


def posterior(
    reduced: Reduced,
    data: Mapping[str, Any],
    *,
    prior: Mapping[str, Any] | None = None,
    method: str | None = None,
) -> Posterior:
    """Return the posterior of the parameters for data {output: (value, sigma)} with Gaussian noise.

    data : value a number or (m,), m data of the same output; sigma their standard deviation, a number or (m,). For a
        complex output the value is complex, and sigma that of its real and of its imaginary part
    prior : {parameter: frozen distribution of scipy.stats}, in place of those of the space; a parameter without any is
        uniform in its range, on the scale of the space
    method : the estimator; the model's first by default

    Raises ModelError for data that do not fit, ParameterError for a prior that does not (docs/uncertainty.md).

    Examples
    --------
    >>> import numpy as np, rbm, scipy.stats
    >>> k = np.diag([1.0, 2.0, 3.0])
    >>> space = rbm.ParameterSpace({"mu": scipy.stats.beta(2, 5, loc=0.1, scale=9.9)})
    >>> model = rbm.FullOrderModel([(1.0, k), ("mu", np.eye(3))], [(1.0, np.ones(3))], k, space, 1.0,
    ...     outputs={"sum": np.ones(3)})
    >>> reduced = rbm.greedy(model, space.sample(20), tol=1e-9).reduced_model
    >>> found = posterior(reduced, {"sum": (1 / 3 + 1 / 4 + 1 / 5, 0.05)})
    >>> value, bound = found.log_likelihood([[2.0], [3.0]])
    >>> low, high = found.expectation(lambda mus: mus[:, 0], space.sample(1000, "random"))
    >>> bool(np.all(bound < 1e-6) and 1.9 < low <= high < 2.3)
    True
    """
    if not isinstance(reduced, Reduced):
        raise ModelError(
            f"posterior asks a reduced model, got a {type(reduced).__name__}; rbm.greedy(model, training) makes one"
        )
    if not isinstance(reduced.operators, np.ndarray):
        reduced = reduced.to("numpy")
    reduced.state(method)  # an estimator that is not there, now
    if not (prior is None or isinstance(prior, Mapping)):
        raise ModelError(f"prior must be a dictionary {{parameter: distribution}}, got {type(prior).__name__}")
    space = reduced.parameters
    ranges = dict(zip(space.names, map(tuple, space.bounds.tolist()), strict=True))
    known = ParameterSpace(ranges, space.scale, space.units, {**space.distributions, **(prior or {})})
    return Posterior(reduced, read_observations(reduced, data), known, method)
