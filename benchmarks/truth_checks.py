"""One random model: all its bounds against the exact values."""

from __future__ import annotations

import math
import warnings
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import flint
import numpy as np

import rbm
from benchmarks.exact import BITS, Exact, Setting, definite
from benchmarks.random_models import Case, dense
from rbm.parameters.coefficients import Coefficients

__all__ = ["Outcome", "check"]

REFUSALS = (rbm.ModelError, rbm.StabilityError, rbm.EstimatorUnusable, rbm.ParameterError)


@dataclass
class Outcome:
    """What the check of one model found.

    A point counts once its error bound and all its output bounds were compared.
    """

    points: int = 0
    asked: int = 0  #: points that were asked for
    refused: str = ""  #: why the whole model was refused
    refused_points: int = 0  #: of a model that was not
    unevaluated: str = ""  #: why an estimator gave no residual norm for coefficients that another one certified
    crashed: str = ""  #: an error that is none of the package's own
    violations: int = 0  #: points with a bound below the exact value, or that is not a number
    kinds: Counter[str] = field(default_factory=Counter)  #: violations by quantity; one point may have several
    worst: dict[str, float] = field(default_factory=dict)  #: largest exact / bound by quantity
    effectivities: list[float] = field(default_factory=list)  #: error bound / error
    examples: list[str] = field(default_factory=list)


def check(case: Case, rng: np.random.Generator, count: int) -> Outcome:
    """Make the model, solve at `count` points, compare. Refusals and other errors are part of the outcome."""
    outcome = Outcome(asked=count)
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        try:
            _check(case, rng, count, outcome)
        except REFUSALS as error:
            outcome.refused = f"{type(error).__name__}: {error}"
        except Exception as error:  # anything else is a fault: a user would see a traceback
            outcome.crashed = f"{type(error).__name__}: {error}"
    return outcome


def _check(case: Case, rng: np.random.Generator, count: int, outcome: Outcome) -> None:
    mus = case.points(rng, count)
    model = case.model()
    reduced = _reduced(case, model)
    theta, phi = model.operator_coefficients(mus), model.rhs_coefficients(mus)
    if case.given:
        gamma = rng.standard_normal((count, reduced.size)) * np.exp2(rng.uniform(-20, 20, (count, 1)))
        bound, outputs, output_bounds, good = reduced.estimate(mus, gamma).bound, {}, {}, np.arange(count)
    else:
        solution = _solve(reduced, mus, rng)
        gamma, bound, outputs, output_bounds = (
            solution.coefficients,
            solution.bound,
            solution.outputs,
            solution.output_bounds,
        )
        good = np.setdiff1d(np.arange(count), solution.failed)
        outcome.refused_points = count - len(good)
    if not len(good):
        outcome.refused = solution.reasons[0] if solution.reasons else "no point"
        outcome.refused_points = 0
        return
    wide = gamma[good].astype(np.result_type(gamma, np.float64))
    estimates = {}
    for name, state in reduced.estimators.items():
        try:
            e = state.evaluate(theta[good], phi[good], gamma[good])
        except REFUSALS as error:  # the answers above stand without it
            outcome.unevaluated = f"{name}: {type(error).__name__}: {error}"
            continue
        estimates[name] = e.value, e.floor, e.bound
    psi = {name: output.coefficients(mus[good]) for name, output in model.outputs.items()}
    beta = np.broadcast_to(model.stability(mus[good], theta[good]), (len(good),))
    answers = _Answers(
        theta[good],
        phi[good],
        wide,
        bound[good],
        estimates,
        psi,
        {k: v[good] for k, v in outputs.items()},
        {k: v[good] for k, v in output_bounds.items()},
        beta,
    )
    assert reduced.basis is not None
    _Comparison(case, model, reduced.basis, answers, mus[good], outcome).run()


def _solve(reduced: rbm.ReducedModel, mus: np.ndarray, rng: np.random.Generator) -> rbm.Solution:
    """Solves in a batch, with E_onb or with E1, as is drawn.

    Or some of the points each in a call of its own, which other kernels answer.
    """
    draw = rng.uniform()
    if draw > 0.2:
        return reduced.solve(mus, on_error="mark")
    if draw > 0.1:
        return reduced.solve(mus, on_error="mark", method="E1")
    whole = reduced.solve(mus, on_error="mark")
    arrays = [whole.coefficients, *whole.outputs.values(), *whole.output_bounds.values()]
    assert whole.estimate is not None
    arrays += [whole.estimate.value, whole.estimate.floor]
    for k in np.setdiff1d(np.arange(0, len(mus), 4), whole.failed):
        single = reduced.solve(mus[k])
        assert single.estimate is not None
        parts = [single.coefficients, *single.outputs.values(), *single.output_bounds.values()]
        for to, part in zip(arrays, [*parts, single.estimate.value, single.estimate.floor], strict=True):
            to[k] = part[0]
    return whole


def _reduced(case: Case, model: rbm.FullOrderModel) -> rbm.ReducedModel:
    estimators = ("E_onb", "E1")
    training = model.parameters.sample(16)
    if case.basis is None and case.snapshots is not None:
        reduced = rbm.project(model, model.solve(case.snapshots).T, estimators, training[:1])
    elif case.basis is None:
        result = rbm.greedy(model, training, max_basis=3, progress=False, estimators=estimators)
        reduced = result.reduced_model
    else:
        reduced = rbm.project(model, case.basis, estimators, training[:1])
    for step in case.steps:
        if step == "float32":
            reduced = reduced.astype("float32")
        elif step == "compress":
            reduced = reduced.compress(0.5, training=training)
        elif step == "truncate" and reduced.size > 1:
            reduced = reduced.truncate(reduced.size - 1)
    return reduced


@dataclass
class _Answers:
    """What the package said at M points."""

    theta: np.ndarray
    phi: np.ndarray
    gamma: np.ndarray
    bound: np.ndarray
    estimates: dict[str, tuple[np.ndarray, np.ndarray, np.ndarray]]
    psi: dict[str, np.ndarray]
    outputs: dict[str, np.ndarray]
    output_bounds: dict[str, np.ndarray]
    beta: np.ndarray


class _Comparison:
    """Answers against exact values, point by point."""

    def __init__(
        self,
        case: Case,
        model: rbm.FullOrderModel,
        basis: np.ndarray,
        answers: _Answers,
        mus: np.ndarray,
        outcome: Outcome,
    ) -> None:
        self.setting, self.basis, self.answers, self.mus, self.outcome = case.setting(), basis, answers, mus, outcome
        of_operators, of_rhs = case.left_out
        self.affine = not of_operators and not of_rhs
        self.theta, self.phi, self.truth = answers.theta, answers.phi, self.setting
        if not self.affine:
            space = case.space()
            extra = [dense(a) for _, a in of_operators], [dense(f)[:, None] for _, f in of_rhs]
            if of_operators:
                self.theta = np.concatenate(
                    [self.theta, Coefficients([c for c, _ in of_operators], space)(mus)], axis=1
                )
            if of_rhs:
                self.phi = np.concatenate([self.phi, Coefficients([c for c, _ in of_rhs], space)(mus)], axis=1)
            s = self.setting
            self.truth = Setting(
                [*s.operators, *extra[0]], np.concatenate([s.rhs, *extra[1]], axis=1), s.product, s.outputs
            )
        a = answers
        numbers = (self.theta, self.phi, a.gamma, basis, *a.psi.values(), *a.outputs.values())
        self.complex = self.truth.is_complex or any(np.iscomplexobj(x) for x in numbers)
        self._made: dict[tuple[bool, int], Exact] = {}
        self._excesses = 0

    def exact(self, affine: bool, bits: int) -> Exact:
        """The model, or what it stands for, at so many bits."""
        affine = affine or self.affine
        key = (affine, bits)
        if key not in self._made:
            self._made[key] = Exact(self.setting if affine else self.truth, self.basis, bits, self.complex)
        flint.ctx.prec = bits
        return self._made[key]

    def run(self) -> None:
        """Compares the bounds of all points with the exact values."""
        if definite(self.exact(True, BITS[1]).product.tolist()) is not True:
            self.outcome.points = self.outcome.violations = len(self.mus)
            self.outcome.kinds["product is not positive definite"] += len(self.mus)
            return
        for k in range(len(self.mus)):
            found = self._point(k)
            self.outcome.points += 1
            if found:
                self.outcome.violations += 1
                self.outcome.kinds.update(found)
                if len(self.outcome.examples) < 3:
                    self.outcome.examples.append(f"mu = {self.mus[k].tolist()}: {'; '.join(map(str, found))}")

    def _point(self, k: int) -> list[str]:
        """Names of the quantities that are violated at point k."""
        for bits in BITS:
            try:
                found = self._compare(k, bits)
            except ZeroDivisionError:  # a ball that holds a singular matrix
                continue
            if found is not None:
                return found
        return ["undecided"]

    def _compare(self, k: int, bits: int) -> list[str] | None:
        a, exact = self.answers, self.exact(True, bits)
        broken: list[str] = []
        gamma = exact.column(a.gamma[k].tolist())
        theta = a.theta[k].tolist()
        r = exact.residual(theta, a.phi[k].tolist(), gamma)
        square = exact.square(r, exact.inverse)
        for name, (value, floor, bound) in a.estimates.items():
            if not self._below(square, bound[k], f"residual {name}", broken):
                return None
            high, low = flint.arb(float(value[k])) + float(floor[k]), flint.arb(float(value[k])) - float(floor[k])
            if not math.isfinite(bound[k]) or (square <= high * high and (low <= 0 or square >= low * low)):
                continue
            if not (square > high * high or (low > 0 and square < low * low)):
                return None
            broken.append(f"floor {name}")
        operator = exact.operator(theta)
        if not exact.stable(operator, theta, float(a.beta[k])):
            broken.append("stability")
            self._excess(exact, operator, theta, float(a.beta[k]))
        if not self.affine:
            exact = self.exact(False, bits)
            gamma = exact.column(a.gamma[k].tolist())
            theta = self.theta[k].tolist()
            operator, r = exact.operator(theta), exact.residual(theta, self.phi[k].tolist(), gamma)
        zero = all(_is_zero(x) for x in r.entries())
        e = r if zero else operator.solve(r)
        square = exact.square(e, exact.product)
        if not self._below(square, a.bound[k], "error", broken):
            return None
        effectivity = flint.arb(float(a.bound[k])) / square.sqrt() if square > 0 else None
        u = exact.basis * gamma + e
        for name, values in a.outputs.items():
            s = exact.output(name, a.psi[name][k].tolist(), u)
            value = values[k]
            if not np.isfinite(value):
                broken.append(f"output {name}")
                continue
            off = exact.modulus_square(s - exact.number(value))
            if not self._below(off, a.output_bounds[name][k], f"output {name}", broken):
                return None
        if effectivity is not None and math.isfinite(a.bound[k]):
            self.outcome.effectivities.append(float(effectivity))
        return broken

    def _excess(self, exact: Exact, operator: Any, theta: list[Any], beta: float) -> None:
        """Note by how much a stability constant is too large, to a factor of two; of the first ones of a model."""
        if self._excesses < 3 and math.isfinite(beta):
            self._excesses += 1
            k = next((k for k in range(53, 0, -1) if exact.stable(operator, theta, beta * (1 - 2.0**-k))), 0)
            ratio = 1 / (1 - 2.0**-k) if k else math.inf
            self.outcome.worst["stability"] = max(self.outcome.worst.get("stability", 0.0), ratio)

    def _below(self, square: flint.arb, bound: Any, name: str, broken: list[str]) -> bool:
        """Note whether square <= bound^2, and the ratio of roots; False where the ball leaves it open."""
        bound = float(bound)
        if not math.isfinite(bound):
            broken.append(name)
            return True
        b = flint.arb(bound)
        below = square <= b * b
        if not below and not square > b * b:
            return False
        if square > 0:
            ratio = float(square.sqrt() / b) if bound > 0 else math.inf
            if ratio > self.outcome.worst.get(name, 0.0):
                self.outcome.worst[name] = ratio
        if not below or bound < 0:
            broken.append(name)
        return True


def _is_zero(x: Any) -> bool:
    return bool(x == 0)
