"""Products of quantised matrices in integers."""

from __future__ import annotations

from typing import Any

import numpy as np

from lowrank.arrays import namespace, to_numpy
from lowrank.quantized import Quantized, steps_of

__all__ = ["integer_product", "scaled_product"]

#: Integers up to here, and sums of them, are exact in double precision.
EXACT = 2**53


def integer_product(a: Quantized, b: Quantized) -> Any:
    """Return the product of the integers of two quantised matrices, exactly: K = Q_A Q_B (n, m).

    A quantised with one scale a row (n, r), B with one a column (r, m), uniform levels: A B = diag(s_A) K diag(s_B). K
    is int32 where r m_A m_B < 2^31, else int64.

    Raises
    ------
    ValueError
        scales that do not come out of the sums (other axes, groups), shapes that do not fit, and sums that could reach
        2^53.

    Notes
    -----
    The sums are formed by a floating-point matrix product, which is exact as long as no partial sum reaches 2^53, and
    as fast as BLAS is; integer products of NumPy are not.

    Examples
    --------
    >>> import numpy as np
    >>> from lowrank import quantize
    >>> a, b = np.array([[3.0, -1.0]]), np.array([[2.0], [3.0]])
    >>> integer_product(quantize(a, 3), quantize(b, 3, axis=1))
    array([[3]], dtype=int32)
    """
    for name, q, axis in (("the left", a, 0), ("the right", b, 1)):
        if q.blocks.axis != axis or q.blocks.group is not None or len(q.shape) != 2:
            needed = "row (axis=0)" if axis == 0 else "column (axis=1)"
            raise ValueError(
                f"{name} matrix needs one scale per {needed}, got axis={q.blocks.axis}, group={q.blocks.group} of "
                f"shape {q.shape}"
            )
    if a.shape[1] != b.shape[0]:
        raise ValueError(f"shapes {a.shape} and {b.shape} do not fit")
    largest = a.shape[1] * _largest(a) * _largest(b)
    if largest >= EXACT:
        raise ValueError(
            f"sums of {a.shape[1]} products of up to {_largest(a)} x {_largest(b)} could reach 2^53 and be rounded: "
            "take fewer bits, or cut the sum into parts"
        )
    xp = namespace(a.codes)
    single = xp.float32 if largest < 2**24 else xp.float64
    product = xp.astype(a.integers(), single) @ xp.astype(b.integers(), single)
    return xp.astype(product, xp.int32 if largest < 2**31 else xp.int64)


def scaled_product(a: Quantized, b: Quantized) -> Any:
    """Return A B (n, m) of quantised matrices as diag(s_A) K diag(s_B), in double precision.

    K is exact, see :func:`integer_product`, which raises the same errors: only the two products with scales are
    rounded.
    """
    xp, product = namespace(a.codes), integer_product(a, b)
    left, right = (steps_of(q.scales, q.exponent, xp.float64) for q in (a, b))
    return left[:, None] * xp.astype(product, xp.float64) * right[None, :]


def _largest(q: Quantized) -> int:
    bits = int(np.max(to_numpy(q.units), initial=0))
    return 2 ** (bits - 1) - 1 if bits else 0
