"""The residual norm by interpolation of products (E4), for many parameter points at once."""

from __future__ import annotations

from typing import Any

from rbm.estimate import RESOLVED
from rbm.online.kernels.arguments import Answers, PackedProducts, Points
from rbm.online.kernels.compiler import inlined, kernel
from rbm.online.kernels.lanes import alike, equal, fma, fnma, larger, load, modulus, root, splat, store
from rbm.online.kernels.memory import bare
from rbm.online.kernels.residuals import coefficients, gather, present
from rbm.online.kernels.tile import aligned, cut

__all__ = ["interpolated", "products_scratch_size"]


@inlined
def selected_products(form: Any, c: Any, parts: int, out: Any) -> None:
    """Compute s_i s_j part(c_i conj(c_j)) for the selected products.

    c_i is in the register 2 i, or in 4 i and 4 i + 2 if complex.
    """
    for s in range(len(form.squares)):
        i, j = form.products[0, s], form.products[1, s]
        scale = splat(form.scales[i] * form.scales[j])
        if parts == 1:
            product = load(c, 2 * i) * load(c, 2 * j)
        elif form.products[2, s] == 0:
            product = fma(load(c, 4 * i), load(c, 4 * j), load(c, 4 * i + 2) * load(c, 4 * j + 2))
        else:
            product = fnma(load(c, 4 * i), load(c, 4 * j + 2), load(c, 4 * i + 2) * load(c, 4 * j))
        store(out, s, scale * product)


@inlined
def interpolation_weights(form: Any, x: Any) -> None:
    """Solve B C lambda = x in place, by two triangular solves."""
    rank = len(form.squares)
    for j in range(rank):
        v = load(x, j)
        for i in range(j + 1, rank):
            store(x, i, fnma(splat(form.lower[j * rank + i]), v, load(x, i)))
    for j in range(rank - 1, -1, -1):
        v = load(x, j) / splat(form.upper[j * rank + j])
        store(x, j, v)
        for i in range(j):
            store(x, i, fnma(splat(form.upper[j * rank + i]), v, load(x, i)))


@inlined
def norm_and_floor(form: Any, x: Any, limit: Any, out: Any) -> None:
    """Store (sum_r lambda_r V_r)^{1/2} or the floor, and the floor, in the two registers of `out`."""
    square = size = nought = splat(out.dtype.type(0))
    for r in range(len(form.squares)):
        v = load(x, r)
        square = fma(splat(form.squares[r]), v, square)
        size = fma(splat(form.errors[r]), modulus(v), size)
    limit = root(size) + limit + splat(form.deviation + form.absolute)
    store(out, 0, equal(square, square, larger(square, nought, root(square), limit), square))  # NaN remains NaN
    store(out, 1, limit)


def products_scratch_size(qa: int, qf: int, n: int, form: Any) -> int:
    """Return how many numbers of the working type `room` must hold."""
    return (2 * qa + qf + n + 1 + 2 * len(form.weights) + 8 + len(form.squares) + 3) * (64 // form.squares.itemsize)


@inlined
def interpolated_tiles(form: Any, points: Any, answers: Any, room: Any) -> None:
    """Do the work of :func:`interpolated`, whose arguments have the names of their fields here."""
    numbers = aligned(room, form.squares)
    lanes, parts, count = 64 // numbers.itemsize, room.itemsize // numbers.itemsize, len(points.theta)
    shape = points.theta.shape[1] // parts, points.phi.shape[1] // parts, answers.gamma.shape[1] // parts
    theta, at = cut(numbers, 0, parts * shape[0])
    phi, at = cut(numbers, at, parts * shape[1])
    gamma, at = cut(numbers, at, parts * (shape[2] + 1))
    c, at = cut(numbers, at, 2 * parts * len(form.weights) + 8)
    x, at = cut(numbers, at, len(form.squares))
    out, at = cut(numbers, at, 2)
    moduli, at = cut(numbers, at, shape[0])
    theta_lanes, phi_lanes, gamma_lanes = theta.viewed(room.dtype), phi.viewed(room.dtype), gamma.viewed(room.dtype)
    zero = alike(splat(numbers.dtype.type(0)), load(theta_lanes, 0))
    for row in range(0, count, lanes):
        gather(points.theta, row, lanes, theta)
        gather(points.phi, row, lanes, phi)
        gather(answers.gamma, row, lanes, gamma)
        limit = coefficients(theta_lanes, phi_lanes, gamma_lanes, shape, form.weights, 0, c, moduli, zero)
        selected_products(form, c, parts, x)
        interpolation_weights(form, x)
        norm_and_floor(form, x, limit, out)
        for lane in range(min(lanes, count - row)):
            answers.value[row + lane], answers.floor[row + lane] = out[lane], out[lanes + lane]
            if not present(points, answers.gamma, row + lane, form.weights, shape, parts):
                answers.value[row + lane] = answers.floor[row + lane] = form.deviation
            answers.resolved[row + lane] = out[lane] >= RESOLVED * out[lanes + lane]


@kernel
def interpolated(form: Any, points: Any, answers: Any, room: Any) -> None:
    """Evaluate E4 for M points: value and floor of :class:`rbm.online.forms.ProductForm`, from gamma in `answers`.

    form, points, answers : plain tuples of the fields of :mod:`rbm.online.kernels.arguments`
    room : scratch memory, :func:`products_scratch_size` numbers of the working type
    """
    interpolated_tiles(PackedProducts(*bare(form)), Points(*bare(points)), Answers(*bare(answers)), bare(room))
