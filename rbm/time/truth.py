"""The full-order recursion, marched beyond double precision: one factorisation a point, every step refined."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from rbm.affine.system import AffineSystem
from rbm.affine.truth_solves import solves
from rbm.arithmetic import extended
from rbm.errors import ModelError
from rbm.solvers.factorization import Solve

__all__ = ["PLAIN", "SHARP", "steps_of"]

#: Refinement of a step ends when the next correction would be smaller than this share of the solution.
SHARP = 2.0**-76
#: The same where the solution is rounded to double precision afterwards.
PLAIN = 2.0**-60
MAX_REFINEMENTS = 12
#: A step whose last correction is larger than this share of the solution has no correct digits to speak of.
UNSETTLED = 1e-6


def steps_of(
    system: AffineSystem,
    coefficients: tuple[np.ndarray, np.ndarray, np.ndarray],
    control: np.ndarray,
    start: extended.Extended,
    dt: float,
    theta: float,
    wanted: float = SHARP,
) -> Iterator[extended.Extended]:
    """Yield u^0, u^1, .. u^K as hi + lo, (n, 1) each, of M (u^k - u^{k-1}) + dt A u_theta = dt control_k f.

    system : its operator terms are those of A, then those of M
    coefficients : (Qa,) of A, (Qm,) of M, (Qf,) of f
    control : (K,); start : u^0
    wanted : how small the next correction of a step is, as a share of the solution

    Each step solves (M + dt theta A) d = dt (control_k f - A u^{k-1}) for the increment d by LU and refinement with
    residuals in extended precision; dt, theta and all coefficients count as exact.

    Raises ModelError for a singular matrix. Cost: one factorisation; two to four solves and products a step.
    """
    of_a, of_m, of_f = coefficients
    none = np.zeros_like(of_m)
    of_step = _joined(extended.scale(of_a, extended.two_product(np.asarray(dt), np.asarray(theta))), of_m)
    of_stiffness = np.concatenate([of_a, none]), np.zeros(len(of_a) + len(none))
    size = _sizes(system.inner_product.balance)
    choices = solves(system, system.assemble(of_step[0]))
    solve = next(choices)
    nothing = np.zeros((system.dimension, 1))
    source = system.residual(np.zeros((1, len(of_a) + len(none))), of_f[None], (nothing, nothing))
    u = start
    yield u
    for number, control_k in enumerate(control, 1):
        image = applied(system, of_stiffness, u)
        force = extended.add(extended.scale(np.asarray(control_k), source), (-image[0], -image[1]))
        force = extended.scale(np.asarray(dt), force)
        while (step := _refined(system, of_step, solve, force, u, size, wanted)) is None:
            following = next(choices, None)
            if following is None:
                raise ModelError(
                    f"step {number} does not settle under iterative refinement: M(mu) + dt theta A(mu) is singular to "
                    "working precision, or the solver is not accurate"
                )
            solve = following
        u = extended.add(u, step)
        yield u


def _joined(first: extended.Extended, second: np.ndarray) -> extended.Extended:
    return np.concatenate([first[0], second]), np.concatenate([first[1], np.zeros_like(second)])


def _refined(
    system: AffineSystem,
    coefficients: extended.Extended,
    solve: Solve,
    force: extended.Extended,
    u: extended.Extended,
    size: Any,
    wanted: float,
) -> extended.Extended | None:
    """Return the increment d as hi + lo, or None where refinement does not settle."""
    d = solve(force[0])
    step: extended.Extended = (d, np.zeros_like(d))
    before = size(d)
    whole = max(size(u[0]), before)
    if not np.isfinite(whole):
        return None
    for _ in range(MAX_REFINEMENTS):
        image = applied(system, coefficients, step)
        rest = extended.add(force, (-image[0], -image[1]))
        correction = solve(rest[0] + rest[1])
        now = size(correction)
        if not now <= before / 2:
            break
        step = extended.add(step, (correction, np.zeros_like(correction)))
        shrink, before = now / before if before > 0 else 0.0, now
        if now * shrink <= wanted * whole:
            break
    return step if before <= UNSETTLED * max(whole, np.finfo(float).tiny) else None


def applied(system: AffineSystem, coefficients: extended.Extended, x: extended.Extended) -> extended.Extended:
    """Return sum_q c_q T_q x (n, 1) for coefficients c = hi + lo (Q,), in extended precision."""
    stack = system.stack
    images = stack.product(x)
    hi, lo = (part[stack.owner][:, None] for part in coefficients)
    scaled = extended.scale(hi, images)
    scaled = extended.two_sum(scaled[0], scaled[1] + lo * images[0])
    kind = np.result_type(scaled[0], float)
    total = np.zeros((system.dimension, x[0].shape[1]), kind), np.zeros((system.dimension, x[0].shape[1]), kind)
    for rows, part in zip(stack.rows, stack.parts, strict=True):
        total[0][rows], total[1][rows] = extended.add(
            (total[0][rows], total[1][rows]), (scaled[0][part], scaled[1][part])
        )
    return total


def _sizes(balance: np.ndarray) -> Any:
    """Return the function that measures vectors: their largest entry in balanced units."""
    return lambda vector: float(np.abs(vector / balance[:, None]).max(initial=0.0))
