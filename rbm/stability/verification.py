"""Checks of a full-order model's claims, for users who bring their own matrices."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor
from dataclasses import dataclass
from typing import Any

import numpy as np

from rbm.affine.penalties import held_unknowns
from rbm.affine.system import AffineSystem
from rbm.affine.truth_solves import FORESEEN, solutions
from rbm.errors import Interrupted, ModelError, WorkersLost
from rbm.parameters.coefficients import Coefficients
from rbm.solvers.user_code import numbers
from rbm.stability.bound import StabilityBound, evaluated
from rbm.stability.check import check_stability

__all__ = ["Verification", "checks_of", "verified"]

Assembled = Callable[[np.ndarray], Any]  #: mu (p,) -> A(mu) assembled by other means


@dataclass(frozen=True)
class Verification:
    """What :meth:`rbm.FullOrderModel.verify` checked, one line each."""

    checks: tuple[str, ...]

    def __repr__(self) -> str:
        return "verified:\n" + "\n".join(f"  - {c}" for c in self.checks)


def verified(lines: Iterable[str]) -> Verification:
    """Return the checks of a full-order model, which run one after the other as their lines are asked for."""
    checks: list[str] = []
    try:
        for line in lines:
            checks.append(line)  # one by one: those that are done outlive Ctrl-C
    except KeyboardInterrupt as interrupt:
        raise Interrupted(
            f"verify interrupted after {len(checks)} checks that the model passed; they are in `result` of this "
            "exception",
            Verification((*checks, "interrupted: nothing else was checked")),
        ) from interrupt
    except WorkersLost as error:
        error.solution = Verification((*checks, "workers were lost: nothing else was checked"))
        raise
    return Verification(tuple(checks))


def checks_of(
    system: AffineSystem,
    stability: StabilityBound,
    interpolation_error: Coefficients | None,
    samples: int,
    rng: int,
    assembled: Assembled | None,
    executor: Executor | None = None,
) -> Iterator[str]:
    """Run the checks of :meth:`rbm.FullOrderModel.verify` on what it claims of a system; yield a line for each.

    The claims are a stability bound, and what interpolation left. Workers of the executor compute inf-sup constants.
    """
    n = system.dimension
    of_rhs = f"{system.rhs_terms.shape[1]} right-hand sides ({n},)"
    yield f"shapes: {len(system.operator_terms)} operator terms {n} x {n}, {of_rhs}"
    system.inner_product.factorized()
    yield "the product is Hermitian positive definite"

    mus = system.parameters.sample(samples, method="random", rng=rng)
    theta = system.operator_coefficients(mus)
    beta = evaluated(stability, mus, theta, system.parameters)
    yield f"the stability bound is positive on {samples} samples: {beta.min():.3g} to {beta.max():.3g}"

    generator = np.random.default_rng(rng)
    if assembled is not None and interpolation_error is not None:
        allowed, x = interpolation_error(mus).real[:, 0], generator.standard_normal((n, 4))
        yield _interpolation(system, allowed, mus, theta, assembled, x)
    elif assembled is not None:
        x = generator.standard_normal((n, 1))
        worst = 0.0
        for mu, t in zip(mus, theta, strict=True):
            matrix = assembled(mu.copy())
            affine, direct = system.assemble(t) @ x, numbers("assembled operator", matrix @ x.copy(), (n, 1), "vector")
            scale = abs(matrix) @ np.abs(x)
            deviation = float((np.abs(affine - direct) / np.where(scale > 0, scale, 1)).max())
            if not deviation <= 1e-12:
                off = f"at {system.parameters.describe(mu)}: relative deviation {deviation:.1e}"
                raise ModelError(f"the affine sum differs from the assembled operator {off}")
            worst = max(worst, deviation)
        yield f"the affine sum equals the assembled operator to {worst:.0e} on {samples} samples"
    else:
        yield "not checked: the affine sum against an assembled operator (give assembled=, a function mu -> matrix)"

    hi, lo = solutions(system, mus[:1], FORESEEN, False, None)
    residual = system.residual_norm(mus[:1], np.ones((1, 1)), hi + lo)
    size = system.inner_product.dual_norm(system.rhs_terms @ system.rhs_coefficients(mus[:1]).T)
    if size[0] > 0:
        left, at = residual[0] / size[0], system.parameters.describe(mus[0])
        if not residual[0] <= 1e-8 * size[0]:
            raise ModelError(f"the solution at {at} leaves a relative residual of {left:.1e}")
        yield f"the full-order solution leaves a relative residual of {left:.0e}"

    yield check_stability(system, mus, theta, beta, generator, executor)
    yield from held_unknowns(system, mus)


def _interpolation(
    system: AffineSystem, allowed: np.ndarray, mus: np.ndarray, theta: np.ndarray, assembled: Assembled, x: np.ndarray
) -> str:
    """Check ||(A'(mu) - A(mu)) x||_{P'} <= eps_A(mu) ||x||_P for vectors x (n, k), A' assembled by other means.

    Raises ModelError where it is larger.
    """
    size = system.inner_product.norm(x)
    share = 0.0
    for mu, t, eps in zip(mus, theta, allowed, strict=True):
        direct = numbers("assembled operator", assembled(mu.copy()) @ x.copy(), x.shape, "matrix of columns")
        off = direct - np.asarray(system.assemble(t) @ x)
        found = float((system.inner_product.dual_norm(off) / size).max())
        if not found <= eps:
            raise ModelError(
                f"the interpolated operator at {system.parameters.describe(mu)} is off by {found:.2e} from P to P', "
                f"more than the interpolation error {eps:.2e} that the model claims"
            )
        share = max(share, found / eps)
    return (
        f"the interpolated operator is off by at most {share:.2g} of the interpolation error that is claimed, on "
        f"{len(mus)} samples"
    )
