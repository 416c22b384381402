"""Linear and quadratic outputs at many points, and what the bounds of their errors are made of.

:mod:`rbm.reduced.outputs` defines both. Everything is in double precision.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from rbm.online.kernels.compiler import compiled, kernel
from rbm.online.kernels.lanes import (
    alike,
    fma,
    imag,
    item,
    larger,
    load,
    modulus,
    put,
    real,
    root,
    splat,
    splat_from,
    square,
    store,
)
from rbm.online.kernels.memory import bare
from rbm.online.kernels.residuals import gather, residual
from rbm.online.kernels.tile import aligned, cut

__all__ = ["forms_scratch_size", "linear_outputs", "linear_scratch_size", "quadratic_forms"]


def linear_scratch_size(terms: int, rank: int, n: int) -> int:
    """Return how many numbers, real or complex, the scratch memory of :func:`linear_outputs` must hold."""
    return (terms + max(rank, 1) + 2 * n + 4) * 8


def forms_scratch_size(columns: int) -> int:
    """Return how many real numbers the scratch memory of :func:`quadratic_forms` must hold."""
    return (2 * columns + 8 + 3) * 8


@compiled
def functional(vectors: Any, psi: Any, gamma: Any, terms: int, n: int, zero: Any) -> Any:
    """Return sum_q psi_q sum_i l_qi gamma_i."""
    total = zero
    for q in range(terms):
        s = zero
        for i in range(n):
            s = fma(splat_from(vectors, q * n + i), load(gamma, i), s)
        total = fma(load(psi, q), s, total)
    return total


@compiled
def magnitude(sizes: Any, psi: Any, gamma: Any, terms: int, n: int, moduli: Any) -> Any:
    """Return sum_q |psi_q| sum_i sizes_qi |gamma_i|; `moduli` (N,) gets |gamma|."""
    total = nought = splat(0.0)
    for i in range(n):
        store(moduli, i, modulus(load(gamma, i)))
    for q in range(terms):
        s = nought
        for i in range(n):
            s = fma(splat_from(sizes, q * n + i), load(moduli, i), s)
        total = fma(modulus(load(psi, q)), s, total)
    return total


@compiled
def largest_of(largest: Any, x: Any) -> Any:
    """Return the larger one of `largest` and |x|, x real."""
    size = modulus(x)
    return larger(size, largest, size, largest)


@compiled
def scale_of(largest: Any) -> Any:
    """Return what numbers up to `largest` are divided by before they are squared: that, or 1 for zero and infinity."""
    one = splat(1.0)
    return larger(largest, splat(0.0), larger(splat(np.inf), largest, largest, one), one)


@compiled
def dual_norm(dual: Any, defects: Any, psi: Any, terms: int, rank: int, work: Any, zero: Any) -> Any:
    """Return ||dual psi||_2 + sum_q |psi_q| defects_q; `work` (rank,) gets dual psi."""
    largest = squares = nought = splat(0.0)
    for r in range(rank):
        x = zero
        for q in range(terms):
            x = fma(splat_from(dual, r * terms + q), load(psi, q), x)
        store(work, r, x)
        largest = largest_of(largest, real(x))
        largest = largest_of(largest, imag(x))
    scale = scale_of(largest)
    for r in range(rank):
        squares = squares + square(load(work, r) / scale)
    lost = nought
    for q in range(terms):
        lost = fma(splat_from(defects, q), modulus(load(psi, q)), lost)
    return scale * root(squares) + lost


@kernel
def linear_outputs(psi: Any, gamma: Any, functionals: Any, answers: Any, room: Any) -> None:
    """Write values, rounding errors and dual norms of a linear output at M points.

    psi : (M, Ql) and gamma (M, N), or pairs of complex numbers, (M, 2 Ql) and (M, 2 N)
    functionals : l (Ql * N,), sizes (Ql * N,), dual (k * Ql,), defects (Ql,); l and dual of the type of psi and gamma
    answers : values (M, 1), or (M, 2) for complex numbers; rounding errors and dual norms (M,). What has no rows is
        not computed
    room : scratch memory, :func:`linear_scratch_size` numbers of the type of psi and gamma
    """
    psi, gamma, functionals, answers, room = bare((psi, gamma, functionals, answers, room))
    vectors, sizes, dual, defects = functionals
    values, magnitudes, norms = answers
    numbers = aligned(room, sizes)
    lanes, parts, count, terms = 64 // numbers.itemsize, room.itemsize // numbers.itemsize, len(psi), len(defects)
    n, rank = gamma.shape[1] // parts, len(dual) // terms
    psi_numbers, at = cut(numbers, 0, parts * terms)
    gamma_numbers, at = cut(numbers, at, parts * n)
    work, at = cut(numbers, at, parts * max(rank, 1))
    moduli, at = cut(numbers, at, n)
    out, at = cut(numbers, at, 2)
    p, g, w, total = (
        psi_numbers.viewed(room.dtype),
        gamma_numbers.viewed(room.dtype),
        work.viewed(room.dtype),
        out.viewed(room.dtype),
    )
    zero = alike(splat(0.0), load(p, 0))
    for first in range(0, count, lanes):
        here = min(lanes, count - first)
        gather(psi, first, lanes, psi_numbers)
        gather(gamma, first, lanes, gamma_numbers)
        if len(values) > 0:
            store(total, 0, functional(vectors, p, g, terms, n, zero))
            for lane in range(here):
                for part in range(parts):
                    put(values, (first + lane) * parts + part, item(out, part * lanes + lane))
        if len(norms) > 0:
            store(out, 0, magnitude(sizes, p, g, terms, n, moduli))
            store(out, 1, dual_norm(dual, defects, p, terms, rank, w, zero))
            for lane in range(here):
                put(magnitudes, first + lane, item(out, lane))
                put(norms, first + lane, item(out, lanes + lane))


@compiled
def norm_of_group(c: Any, group: int, count: int) -> Any:
    """Return the Euclidean norm of `count` numbers, of which number i is in register 2 i + group."""
    largest = squares = splat(0.0)
    for i in range(count):
        largest = largest_of(largest, load(c, 2 * i + group))
    scale = scale_of(largest)
    for i in range(count):
        squares = squares + square(load(c, 2 * i + group) / scale)
    return scale * root(squares)


@kernel
def quadratic_forms(gamma: Any, triangles: Any, first: Any, columns: int, answers: Any, room: Any) -> None:
    """Write real quadratic forms x^T S_q x and norms ||x||_2 of the rows x of gamma (M, k).

    triangles : (Q, entries) the upper triangle of each S_q with half its diagonal, in blocks of four rows that begin at
        `first`, as in :class:`rbm.online.kernels.arguments.PackedFactor`; columns : their padded number
    answers : forms (M, Q) and norms (M,). What has no rows is not computed
    room : scratch memory, :func:`forms_scratch_size` numbers
    """
    gamma, triangles, first, answers, room = bare((gamma, triangles, first, answers, room))
    forms, norms = answers
    numbers = aligned(room, gamma)
    lanes, count, size = 64 // numbers.itemsize, len(gamma), gamma.shape[1]
    c, at = cut(numbers, 0, 2 * columns + 8)
    out, at = cut(numbers, at, 2)
    for i in range(len(c)):  # the rows that pad c must be zero
        c[i] = 0
    for base in range(0, count, 2 * lanes):
        here = min(2 * lanes, count - base)
        gather(gamma, base, 2 * lanes, c)
        for q in range(triangles.shape[0] if len(forms) > 0 else 0):
            residual(triangles[q], first, c, columns, True, out, splat(0.0))
            for lane in range(here):
                put(forms, (base + lane) * triangles.shape[0] + q, 2 * item(out, lane))
        if len(norms) > 0:
            for group in range(2):
                store(out, group, norm_of_group(c, group, size))
            for lane in range(here):
                put(norms, base + lane, item(out, lane))
