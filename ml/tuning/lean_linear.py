"""Linear layers for the backward pass: frozen ones keep their weight only, trained ones rounded inputs."""

from __future__ import annotations

import functools
from typing import Any

from ml.tuning.lean_packing import row_codes, row_values

__all__ = ["coded_linear", "frozen_linear"]


def frozen_linear(x: Any, weight: Any, bias: Any) -> Any:
    """Return x W^T + b with a frozen W; backward, dx = g W and db = sum g, the same bits as autograd's.

    Under autocast, too, W itself is kept, and not a copy in half precision.
    """
    return _linear_class().apply(x, weight, bias, None, None)


def coded_linear(x: Any, weight: Any, bias: Any, codes: Any, scale: Any) -> Any:
    """Return x W^T + b; backward, dW = g^T q with the rounded input q = scale codes of :func:`row_codes`.

    The rows' rounding is not correlated with g, so that dW is off by about 0.5 % (8 bits) in a random direction.
    """
    return _linear_class().apply(x, weight, bias, codes, scale)


@functools.cache
def _linear_class() -> Any:
    import torch
    from torch.nn import functional

    class LeanLinear(torch.autograd.Function):
        """(x (.., n), W (m, n), b (m,) or None, codes of x or None) -> (.., m)."""

        @staticmethod
        def forward(ctx: Any, x: Any, weight: Any, bias: Any, codes: Any, scale: Any) -> Any:
            ctx.save_for_backward(weight, codes, scale)
            ctx.kinds = x.dtype, None if bias is None else bias.dtype
            return functional.linear(x, weight, bias)

        @staticmethod
        @torch.autograd.function.once_differentiable
        def backward(ctx: Any, g: Any) -> tuple[Any, ...]:
            weight, codes, scale = ctx.saved_tensors
            rows = g.reshape(-1, g.shape[-1])
            dx = dw = db = None
            if ctx.needs_input_grad[0]:
                dx = rows.mm(weight.to(g.dtype)).reshape(*g.shape[:-1], weight.shape[1]).to(ctx.kinds[0])
            if ctx.needs_input_grad[1]:
                q = row_values(codes, scale, g.dtype).reshape(-1, weight.shape[1])
                dw = rows.t().mm(q).to(weight.dtype)
            if ctx.needs_input_grad[2]:
                db = rows.sum(0).to(ctx.kinds[1])
            return dx, dw, db, None, None

    return LeanLinear


def coded_input(x: Any, bits: int) -> tuple[Any, Any]:
    """Return codes and scales of the input of a trained layer."""
    return row_codes(x.detach(), bits)
