"""Bounds of linear programs by walks from vertex to vertex; :mod:`rbm.stability.vertex_walk` is their definition."""

from __future__ import annotations

from typing import Any

import numpy as np

from rbm.online.kernels.compiler import inlined, kernel
from rbm.online.kernels.memory import bare

__all__ = ["most_promising", "walk_all"]


@inlined
def best_start(theta: Any, points: Any, scores: Any) -> int:
    """Return the number of the vertex y that makes theta . y smallest, of the columns of `points` (Q, K)."""
    count, starts = points.shape
    for k in range(starts):
        scores[k] = 0.0
    for q in range(count):
        for k in range(starts):
            scores[k] += theta[q] * points[q, k]
    start = 0
    for k in range(starts):
        if scores[k] < scores[start]:
            start = k
    return start


@inlined
def leaving_edge(multipliers: Any, held: Any, tolerance: float, first: bool) -> int:
    """Return the edge that goes down, of the most negative multiplier or the first inequality; -1 if there is none."""
    leaving, least, row = -1, -tolerance, 1 << 60
    for i in range(multipliers.shape[0]):
        if multipliers[i] < (-tolerance if first else least) and (not first or held[i] < row):
            leaving, least, row = i, multipliers[i], held[i]
    return leaving


@inlined
def entering_row(columns: Any, edge: Any, slacks: Any, slopes: Any, y: Any, box: Any, least: float) -> Any:
    """Return the first inequality that an edge meets, and how far away it is; -1 if it meets none.

    `slopes` (J,) gets C times the edge.
    """
    count, rows = columns.shape
    for j in range(rows):
        slopes[j] = 0.0
    whole = count - count % 4
    for q in range(0, whole, 4):  # four at a time: slopes are read and written once
        e0, e1, e2, e3 = edge[q], edge[q + 1], edge[q + 2], edge[q + 3]
        for j in range(rows):
            slopes[j] += (e0 * columns[q, j] + e1 * columns[q + 1, j]) + (
                e2 * columns[q + 2, j] + e3 * columns[q + 3, j]
            )
    for q in range(whole, count):
        for j in range(rows):
            slopes[j] += edge[q] * columns[q, j]
    entering, length = -1, np.inf
    for j in range(rows):
        # one division for each that comes nearer
        if slopes[j] < -least and max(slacks[j], 0.0) < length * -slopes[j]:
            entering, length = j, max(slacks[j], 0.0) / -slopes[j]
    for q in range(count):
        if edge[q] < -least and max(y[q] - box[0, q], 0.0) < length * -edge[q]:
            entering, length = rows + q, max(y[q] - box[0, q], 0.0) / -edge[q]
    for q in range(count):
        if edge[q] > least and max(box[1, q] - y[q], 0.0) < length * edge[q]:
            entering, length = rows + count + q, max(box[1, q] - y[q], 0.0) / edge[q]
    return entering, length


@inlined
def exchange(columns: Any, entering: int, leaving: int, inverse: Any, edge: Any, image: Any, multipliers: Any) -> None:
    """Replace one row of B by the normal vector of another inequality, in B^{-1} and in lambda = B^{-T} theta."""
    count, rows = columns.shape
    if entering < rows:
        for i in range(count):
            image[i] = 0.0
        for q in range(count):
            for i in range(count):
                image[i] += columns[q, entering] * inverse[q, i]
    else:
        lower = entering < rows + count
        q = entering - rows if lower else entering - rows - count
        for i in range(count):
            image[i] = inverse[q, i] if lower else -inverse[q, i]
    pivot = image[leaving]
    image[leaving] = pivot - 1.0
    share = multipliers[leaving] / pivot
    for i in range(count):
        multipliers[i] -= share * image[i]
    for q in range(count):
        ratio = edge[q] / pivot
        for i in range(count):
            inverse[q, i] -= ratio * image[i]


@inlined
def proved(theta: Any, multipliers: Any, held: Any, columns: Any, levels: Any, box: Any, rest: Any) -> Any:
    """Return what multipliers, negative ones counted as zero, prove but for rounding, and the size of its terms.

    `rest` (2, Q) gets theta - C^T lambda, and |theta| + |C|^T lambda.
    """
    count, rows = columns.shape
    bound, size = 0.0, 0.0
    for q in range(count):
        rest[0, q], rest[1, q] = theta[q], abs(theta[q])
    for i in range(count):
        if held[i] < rows and multipliers[i] > 0.0:
            level = multipliers[i] * levels[held[i]]
            bound += level
            size += abs(level)
            for q in range(count):
                step = multipliers[i] * columns[q, held[i]]
                rest[0, q] -= step
                rest[1, q] += abs(step)
    for q in range(count):
        bound += min(rest[0, q] * box[0, q], rest[0, q] * box[1, q])
        size += rest[1, q] * max(abs(box[0, q]), abs(box[1, q]))
    return bound, size


@kernel
def walk_all(thetas: Any, program: Any, starts: Any, limits: Any, answers: Any, scratch: Any, held: Any) -> int:
    """Write a proved bound for each row of theta (M, Q) to `answers` (M,); return the number of steps taken.

    program : C^T (Q, J), alpha (J,), box (2, Q), and the rounding relative to the size of the terms, and absolute
    starts : active (K, Q), vertices (Q, K), B^{-1} (K, Q, Q), C y - alpha (K, J)
    limits : number of steps, LEAST, ALLOWED
    scratch : (Q Q + 6 Q + 2 J + K,) of float64; held (Q,) of int64
    """
    columns, levels, box, relative, absolute = bare(program)
    active, points, inverses, distances = bare(starts)
    thetas, answers, scratch, held = bare((thetas, answers, scratch, held))
    most, least, allowed = limits
    count, rows = columns.shape
    inverse = scratch[: count * count].reshape((count, count))
    vectors = scratch[count * count : count * count + 6 * count].reshape((6, count))
    y, multipliers, edge, image = vectors[0], vectors[1], vectors[2], vectors[3]
    rest = vectors[4:6]
    slacks = scratch[count * count + 6 * count : count * count + 6 * count + rows]
    slopes = scratch[count * count + 6 * count + rows : count * count + 6 * count + 2 * rows]
    scores = scratch[count * count + 6 * count + 2 * rows :]
    taken = 0
    for point in range(thetas.shape[0]):
        theta = thetas[point]
        start = best_start(theta, points, scores)
        tolerance = 0.0
        for q in range(count):
            tolerance = max(tolerance, allowed * abs(theta[q]))
            y[q], held[q] = points[q, start], active[start, q]
            multipliers[q] = 0.0
        for q in range(count):
            for i in range(count):
                inverse[q, i] = inverses[start, q, i]
                multipliers[i] += theta[q] * inverse[q, i]
        for j in range(rows):
            slacks[j] = distances[start, j]
        for step in range(most + 1):
            leaving = leaving_edge(multipliers, held, tolerance, 2 * step >= most)
            if leaving < 0 or step == most:
                break
            for q in range(count):
                edge[q] = inverse[q, leaving]
            entering, length = entering_row(columns, edge, slacks, slopes, y, box, least)
            if entering < 0:
                break
            exchange(columns, entering, leaving, inverse, edge, image, multipliers)
            for q in range(count):
                y[q] += length * edge[q]
            for j in range(rows):
                slacks[j] += length * slopes[j]
            held[leaving] = entering
            taken += 1
        bound, size = proved(theta, multipliers, held, columns, levels, box, rest)
        answers[point] = bound - (size * relative + absolute)
    return taken


@kernel
def most_promising(c: Any, quotients: Any, starts: Any, chosen: Any) -> None:
    """Write for each row of c (M, R) the group k of quotients (S, R) with the largest min of c . y, into chosen (M,).

    Group k are the rows starts[k] to starts[k + 1]. One is left as soon as it cannot be the best.
    """
    c, quotients, starts, chosen = bare((c, quotients, starts, chosen))
    for i in range(c.shape[0]):
        best, chosen[i] = -np.inf, 0
        for k in range(len(starts) - 1):
            low = np.inf
            for s in range(starts[k], starts[k + 1]):
                value = 0.0
                for r in range(c.shape[1]):
                    value += c[i, r] * quotients[s, r]
                low = min(low, value)
                if low <= best:
                    break
            if low > best:
                best, chosen[i] = low, k
