"""The definition of the online stage in time, in plain array operations, batched over parameter points.

The reduced recursion, its residual in every step, and what rounding may do to both. All points march together, time is
the outermost loop. Like :mod:`rbm.online.reference` it follows the array API standard, and is the oracle of the
compiled kernel.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from lowrank.arrays import beside, namespace
from rbm.arithmetic.extended import two_sum
from rbm.arithmetic.precision import row_norms, widened
from rbm.errors import ModelError, refused
from rbm.online.reference import compensated_sums, compensated_vectors, products

__all__ = ["Marched", "Recursion", "march", "residual_terms", "sharp_norms", "step_norms"]


class Recursion(NamedTuple):
    """The reduced recursion M (g^k - g^{k-1}) + dt A (theta g^k + (1 - theta) g^{k-1}) = dt control_k f."""

    operators: Any  #: Z^H A_q Z (Qa, N, N)
    mass: Any  #: Z^H M_q Z (Qm, N, N)
    rhs: Any  #: Z^H f_q (Qf, N)
    dt: float
    theta: float


class Marched(NamedTuple):
    """Reduced trajectories: gamma + tail are sums of the increments, known to twice the working precision."""

    gamma: Any  #: (M, K + 1, N)
    tail: Any  #: (M, K + 1, N), at most u |gamma|
    increments: Any  #: (M, K, N): gamma^k + tail^k less the same at k - 1, with no rounding to speak of


def march(recursion: Recursion, theta: Any, weights: Any, phi: Any, control: Any, start: Any) -> Marched:
    """Return reduced trajectories from coefficients theta (M, Qa) of A, weights (M, Qm) of M, and phi (M, Qf) of f.

    control : (M, K); start : gamma^0 (M, N), whose type is that of all sums

    Each step solves (M + dt theta A) d = dt (control_k f - A gamma^{k-1}) for the increment d, by the inverse of the
    matrix and one refinement, and adds d to gamma as a sum of two numbers. So the residual of what is returned holds
    the rounding of d, relative to d, and not that of gamma over dt. Cost per point: 2 N^3 flops, and 10 N^2 a step.

    Raises ModelError with the rows of singular systems, where the library reports them.
    """
    xp = namespace(recursion.operators, theta)
    kind = start.dtype
    stiffness = _sum(xp, theta, recursion.operators, kind)
    matrix = _sum(xp, weights, recursion.mass, kind) + recursion.dt * recursion.theta * stiffness
    source = xp.astype(phi, kind) @ xp.astype(recursion.rhs, kind)
    inverse = _inverse(xp, matrix)
    gamma, tail = xp.astype(start, kind), xp.zeros(start.shape, dtype=kind)
    heads, tails, increments = [gamma], [tail], []
    for k in range(control.shape[1]):
        force = recursion.dt * (xp.astype(control[:, k : k + 1], kind) * source - _times(stiffness, gamma))
        step = _times(inverse, force)
        step = step + _times(inverse, force - _times(matrix, step))
        gamma, rest = two_sum(gamma, step)
        gamma, tail = two_sum(gamma, tail + rest)
        heads.append(gamma)
        tails.append(tail)
        increments.append(step)
    shape = (start.shape[0], 0, start.shape[1])
    steps = xp.stack(increments, axis=1) if increments else xp.zeros(shape, dtype=kind)
    return Marched(xp.stack(heads, axis=1), xp.stack(tails, axis=1), steps)


def residual_terms(
    recursion: Recursion, theta: Any, weights: Any, phi: Any, control: Any, marched: Marched, step: int
) -> tuple[Any, Any]:
    """Return c (M, m) with dt r^k = W c for step number `step` = k - 1, and bounds (M, m) of its terms.

    c = (dt control_k phi_q, then for each basis vector n: -dt theta_q gamma_theta,n for all q, -weights_q d_n for all
    q), gamma_theta = gamma^k - (1 - theta) d, gamma with its tail. The columns of W are in the same order: f_q, then
    A_q z_n and M_q z_n.
    The bounds are those of c, with |gamma^k| + (1 - theta) |d| for gamma_theta: four roundings of these are in c.
    """
    xp = namespace(theta, phi, marched.gamma)
    step_ = widened(marched.increments[:, step, :])
    gamma = widened(marched.gamma[:, step + 1, :]) + widened(marched.tail[:, step + 1, :])  # more in single precision
    part = 1.0 - recursion.theta
    middle = gamma if part == 0 else gamma - part * step_
    size = xp.abs(gamma) + part * xp.abs(step_)
    scaled = recursion.dt * theta
    source = recursion.dt * (control[:, step : step + 1] * phi)
    c = _joined(xp, source, -middle[:, :, None] * scaled[:, None, :], -step_[:, :, None] * weights[:, None, :])
    sizes = xp.abs(scaled)[:, None, :] * size[:, :, None], xp.abs(weights)[:, None, :] * xp.abs(step_)[:, :, None]
    return c, _joined(xp, xp.abs(source), *sizes)


def step_norms(
    factor: Any, floor_weights: Any, recursion: Recursion, theta: Any, weights: Any, phi: Any, control: Any,
    marched: Marched, coordinates: bool = False,
) -> tuple[Any, Any, Any]:  # fmt: skip
    """Return ||R c^k|| and sum_j w_j |c_j^k|, both (M, K), for the factor R (k, m) and w (m,).

    coordinates : the third is R c^k itself (M, K, k), else None
    """
    xp = namespace(theta, phi, marched.gamma)
    values, spreads, kept = [], [], []
    for k in range(control.shape[1]):
        c, sizes = residual_terms(recursion, theta, weights, phi, control, marched, k)
        y = c @ xp.astype(beside(factor, c), c.dtype).T
        values.append(row_norms(y))
        spreads.append(sizes @ beside(floor_weights, sizes))
        if coordinates:
            kept.append(y)
    made = xp.stack(values, axis=1), xp.stack(spreads, axis=1)
    return *made, xp.stack(kept, axis=1) if kept else None


def sharp_norms(
    factor: Any, recursion: Recursion, theta: Any, weights: Any, phi: Any, control: Any, marched: Marched,
    coordinates: bool = False,
) -> tuple[Any, Any]:  # fmt: skip
    """Return ||R c^k|| (M, K) for gamma + tail, with c and the sums in twice the working precision.

    Error at most u |result| + 2 (m + 8)^2 u^2 sum_j ||R_j|| |c_j|, as of
    :func:`rbm.online.reference.compensated_norm`. Cost: some 25 flops for each product.
    coordinates : the second is R c^k itself (M, K, k), rounded once, else None
    """
    values, kept = [], []
    for k in range(control.shape[1]):
        pairs = _sharp_terms(recursion, theta, weights, phi, control, marched, k)
        if coordinates:
            kept.append(compensated_vectors(factor, *pairs))
            values.append(row_norms(kept[-1]))
        else:
            values.append(compensated_sums(factor, *pairs))
    xp = namespace(*values)
    return xp.stack(values, axis=1), xp.stack(kept, axis=1) if kept else None


def _sharp_terms(
    recursion: Recursion, theta: Any, weights: Any, phi: Any, control: Any, marched: Marched, k: int
) -> tuple[Any, Any]:
    """Return the coefficients c (M, m) of step number k as pairs hi + lo."""
    xp = namespace(theta, phi, marched.gamma)
    kind = xp.result_type(theta.dtype, weights.dtype, phi.dtype, control.dtype, marched.gamma.dtype)
    kind = xp.float64 if xp.isdtype(kind, "real floating") else xp.complex128
    theta, weights, phi, force_k = (xp.astype(a, kind) for a in (theta, weights, phi, control[:, k : k + 1]))
    part, dt = 1.0 - recursion.theta, xp.asarray(recursion.dt, dtype=kind)
    step, gamma, tail = (xp.astype(a, kind) for a in (marched.increments[:, k, :], marched.gamma[:, k + 1, :],
                                                      marched.tail[:, k + 1, :]))  # fmt: skip
    head = products(-part * xp.ones_like(step), step)
    middle = two_sum(gamma, head[0])
    middle = middle[0], middle[1] + (tail + head[1])
    force = products(xp.broadcast_to(dt, phi.shape), phi)
    force = _scaled(xp, force_k, force)
    middle = _scaled(xp, -xp.broadcast_to(dt, (1, 1)), middle)
    of_mass = products(-step[:, :, None], weights[:, None, :])
    of_stiffness = _scaled(xp, theta[:, None, :], (middle[0][:, :, None], middle[1][:, :, None]))
    heads, tails = (_joined(xp, *parts) for parts in zip(force, of_stiffness, of_mass, strict=True))
    return heads, tails


def _scaled(xp: Any, factor: Any, number: tuple[Any, Any]) -> tuple[Any, Any]:
    """Return factor (hi + lo) as hi + lo."""
    hi, lo = products(factor, number[0])
    return hi, lo + factor * number[1]


def _joined(xp: Any, source: Any, stiffness: Any, mass: Any) -> Any:
    """Return (M, Qf + N (Qa + Qm)) from (M, Qf), (M, N, Qa) and (M, N, Qm)."""
    kind = xp.result_type(source.dtype, stiffness.dtype, mass.dtype)
    both = xp.concat([xp.astype(stiffness, kind), xp.astype(mass, kind)], axis=2)
    return xp.concat(
        [xp.astype(source, kind), xp.reshape(both, (source.shape[0], both.shape[1] * both.shape[2]))], axis=1
    )


def _sum(xp: Any, coefficients: Any, terms: Any, kind: Any) -> Any:
    """Return sum_q c_q T_q (M, N, N)."""
    count, n, _ = terms.shape
    flat = xp.reshape(xp.astype(terms, kind), (count, n * n))
    return xp.reshape(xp.astype(coefficients, kind) @ flat, (coefficients.shape[0], n, n))


def _times(matrix: Any, vector: Any) -> Any:
    return namespace(matrix).matmul(matrix, vector[:, :, None])[:, :, 0]


def _inverse(xp: Any, matrix: Any) -> Any:
    """Return the inverses (M, N, N); raise ModelError with the rows of those that have none."""
    try:
        return xp.linalg.inv(matrix)
    except np.linalg.LinAlgError:
        bad = np.linalg.matrix_rank(matrix) < matrix.shape[1]
        bad = bad if np.any(bad) else np.ones(len(matrix), dtype=bool)
        raise refused(ModelError, bad, lambda i, where: f"the reduced system of a step ({where}) is singular") from None
