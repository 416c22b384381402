"""Outputs and error bounds of the points of a tile, from their coefficients and residual norms.

A tile comes here twice, at once and when points are looked at again: what is called from both places is a function.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from rbm.online.forms import SHARP
from rbm.online.kernels.arguments import LDL, NO_BOUND, SOLVED
from rbm.online.kernels.bounds import output_bound
from rbm.online.kernels.compiler import compiled, inlined
from rbm.online.kernels.lanes import (
    alike,
    fma,
    fnma,
    item,
    larger,
    load,
    modulus,
    put,
    real,
    root,
    splat,
    splat_from,
    store,
)

__all__ = ["certify", "finish_group", "is_weak"]


@inlined
def is_weak(factor: Any, answers: Any, row: int) -> bool:
    """Return whether a point is so near round-off that it waits for another look."""
    return factor.refined and item(answers.value, row) < SHARP * item(answers.floor, row)


@inlined
def outputs(finish: Any, answers: Any, here: int, group: int, tile: Any) -> None:
    """Compute outputs of `here` points, and bounds of their rounding errors into `tile.rounding`."""
    n = tile.shape[2]
    nought = splat(tile.one.dtype.type(0))
    for o in range(len(finish.norms)):
        s, size = alike(nought, load(tile.theta, 0)), nought
        for i in range(n):
            g = load(tile.gamma, i)
            s = fma(splat_from(finish.functionals, o * n + i), g, s)
            size = fma(splat(finish.magnitudes[o, i]), modulus(g), size)
        store(tile.sum, 0, s)
        store(tile.rounding, 2 * o + group, size)
        for lane in range(here):
            for part in range(tile.parts):
                at = (item(tile.rows, group * tile.lanes + lane) * len(finish.norms) + o) * tile.parts + part
                put(answers.outputs, at, item(tile.sum_numbers, part * tile.lanes + lane))


@inlined
def compliance(finish: Any, group: int, tile: Any) -> None:
    """Compute the sums of :class:`rbm.online.forms.Energy` into `tile.rounding`, behind those of the outputs.

    These are (sum_q |theta_q|^{1/2} sum_i w_qi |gamma_i|)^2 + sum_i m_i |gamma_i|, S = sum_q skew_q |theta_q|, and
    S size ||gamma||.
    """
    nought = splat(tile.one.dtype.type(0))
    qa, n, at = tile.shape[0], tile.shape[2], 2 * len(finish.norms) + group
    total, skew, squares, linear = nought, nought, nought, nought
    for q in range(qa):
        t, s = modulus(load(tile.theta, q)), nought
        for i in range(n):
            s = fma(splat(finish.energy[q, i]), modulus(load(tile.gamma, i)), s)
        total = fma(root(t), s, total)
        skew = fma(splat_from(finish.skew, 1 + q), t, skew)
    for i in range(n):
        g = modulus(load(tile.gamma, i))
        squares = fma(g, g, squares)
        linear = fma(splat(finish.energy[qa, i]), g, linear)
    store(tile.rounding, at, fma(total, total, linear))
    store(tile.rounding, at + 2, skew)
    store(tile.rounding, at + 4, skew * splat_from(finish.skew, 0) * root(squares))


@inlined
def stability_bound(stability: Any, group: int, tile: Any) -> None:
    """Compute beta = s_0 min_q (s_q theta_q + s_{2Qa+q}) - sum_q s_{Qa+q} |theta_q| into `tile.betas`."""
    qa = tile.shape[0]
    least = fma(splat_from(stability, 1), real(load(tile.theta, 0)), splat_from(stability, 1 + 2 * qa))
    spent = splat_from(stability, 1 + qa) * modulus(load(tile.theta, 0))
    for q in range(1, qa):
        ratio = fma(splat_from(stability, 1 + q), real(load(tile.theta, q)), splat_from(stability, 1 + 2 * qa + q))
        least = larger(least, ratio, ratio, least)
        spent = fma(splat_from(stability, 1 + qa + q), modulus(load(tile.theta, q)), spent)
    store(tile.betas, group, fnma(splat(tile.one.dtype.type(1)), spent, splat_from(stability, 0) * least))


@compiled
def finish_group(system: Any, finish: Any, answers: Any, here: int, group: int, tile: Any) -> None:
    """Compute the outputs of `here` points, and what the bounds of one group need, into its registers."""
    outputs(finish, answers, here, group, tile)
    if system.kind == LDL and len(finish.energy) > 0:
        compliance(finish, group, tile)
    if len(finish.stability) > 1:
        stability_bound(finish.stability, group, tile)


@compiled
def certify(
    factor: Any, finish: Any, direct: bool, beta: Any, answers: Any, here: int, group: int, again: bool, tile: Any
) -> int:
    """Write error bounds of solution and outputs of `here` points; return how many solved points have none.

    direct : whether gamma comes from L D L^H, as the sharper bound of compliant outputs demands
    again : whether weak points are certified, too
    """
    failures, count = 0, len(finish.norms)
    for lane in range(group * tile.lanes, group * tile.lanes + here):
        row = item(tile.rows, lane)
        if not again and is_weak(factor, answers, row):
            continue
        b = item(tile.betas, lane) if len(beta) == 0 else item(beta, row)
        value, floor = item(answers.value, row) / b, item(answers.floor, row) / b
        put(answers.value, row, value)
        put(answers.floor, row, floor)
        bound = value + floor
        lost = not (b > 0 and b < np.inf and bound < np.inf)
        for o in range(count):
            rounding = item(tile.rounding, 2 * o * tile.lanes + lane)
            at = 2 * count * tile.lanes + lane
            size, skew = item(tile.rounding, at), item(tile.rounding, at + 2 * tile.lanes)
            sums = size, skew, item(tile.rounding, at + 4 * tile.lanes)
            limit = output_bound(finish.norms[o], bound, rounding, finish.mismatch[o] if direct else -1.0, b, sums)
            put(answers.output_bounds, row * count + o, limit)
            lost = lost or not limit < np.inf
            for part in range(tile.parts):
                lost = lost or not abs(item(answers.outputs, (row * count + o) * tile.parts + part)) < np.inf
        if lost and item(answers.failed, row) == SOLVED:
            put(answers.failed, row, NO_BOUND)
            failures += 1
    return failures
