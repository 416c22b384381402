"""A reduced output as a function of torch or JAX, with its own backward pass.

Values and derivatives come from the reduced model, in double precision on the host; bounds stay with
:meth:`rbm.ReducedModel.gradient`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from lowrank.optional import require
from rbm.errors import ModelError
from rbm.reduced.model import ReducedModel

__all__ = ["jax_function", "torch_function"]


def torch_function(reduced: ReducedModel, output: str) -> Callable[[Any], Any]:
    """Return mus -> s for torch tensors: (M, p) -> (M,) or (p,) -> (), with derivatives for `backward`.

    Once differentiable: the derivative itself has none. The answer has the type and the device of `mus`.

    Raises ImportError without torch; ModelError for an output that is unknown, complex, or without derivative.
    """
    torch = require("torch", "torch", "torch_function")
    model = _checked(reduced, output)

    class Output(torch.autograd.Function):  # type: ignore[name-defined]
        @staticmethod
        def forward(ctx: Any, mus: Any) -> Any:
            points = mus.detach().cpu().numpy().astype(np.float64)
            values = model.solve(points, False, coefficients=False).outputs[output]
            ctx.save_for_backward(mus)
            return torch.as_tensor(values.reshape(points.shape[:-1]), dtype=mus.dtype, device=mus.device)

        @staticmethod
        @torch.autograd.function.once_differentiable
        def backward(ctx: Any, outer: Any) -> Any:
            (mus,) = ctx.saved_tensors
            slopes = _slopes(model, output, mus.detach().cpu().numpy().astype(np.float64))
            return outer[..., None] * torch.as_tensor(slopes, dtype=mus.dtype, device=mus.device)

    applied: Callable[[Any], Any] = Output.apply
    return applied


def jax_function(reduced: ReducedModel, output: str) -> Callable[[Any], Any]:
    """Return mus -> s for JAX arrays, (M, p) -> (M,) or (p,) -> (), with derivatives for `grad`, `jit` and `vmap`.

    The model is asked through `jax.pure_callback`. The answer has the type of `mus`: enable x64 in JAX for doubles.

    Raises ImportError without JAX; ModelError as :func:`torch_function`.
    """
    jax = require("jax", "jax", "jax_function")
    model = _checked(reduced, output)

    def values(mus: Any) -> np.ndarray:
        points = np.asarray(mus, dtype=np.float64)
        made = model.solve(points.reshape(-1, points.shape[-1]), False, coefficients=False).outputs[output]
        return made.reshape(points.shape[:-1]).astype(np.asarray(mus).dtype)

    def slopes(mus: Any) -> np.ndarray:
        points = np.asarray(mus, dtype=np.float64)
        return _slopes(model, output, points).astype(np.asarray(mus).dtype)

    def asked(mus: Any) -> Any:
        shape = jax.ShapeDtypeStruct(mus.shape[:-1], mus.dtype)
        return jax.pure_callback(values, shape, mus, vmap_method="expand_dims")

    def forward(mus: Any) -> tuple[Any, Any]:
        shape = jax.ShapeDtypeStruct(mus.shape, mus.dtype)
        return asked(mus), jax.pure_callback(slopes, shape, mus, vmap_method="expand_dims")

    def backward(kept: Any, outer: Any) -> tuple[Any]:
        return (outer[..., None] * kept,)

    function = jax.custom_vjp(asked)
    function.defvjp(forward, backward)
    made: Callable[[Any], Any] = function
    return made


def _slopes(model: ReducedModel, output: str, points: np.ndarray) -> np.ndarray:
    """Return the derivatives (..., p) at points (..., p)."""
    rows = points.reshape(-1, points.shape[-1])
    values: np.ndarray = model.gradient(rows, output, estimate=False).values[output]
    return values.reshape(points.shape)


def _checked(reduced: Any, output: str) -> ReducedModel:
    """Return the model on the host; raise ModelError for an output that cannot be differentiated."""
    if not isinstance(reduced, ReducedModel):
        raise ModelError(f"a reduced model is needed, got a {type(reduced).__name__}; rbm.greedy makes one")
    model = reduced if isinstance(reduced.operators, np.ndarray) else reduced.to("numpy")
    middle = model.parameters.bounds.mean(axis=1)
    if model.gradient(middle, output, estimate=False).values[output].dtype.kind == "c":
        raise ModelError(
            f"output {output!r} is complex; automatic differentiation here is for real ones: make a quadratic output "
            "of its square, or one of its real part"
        )
    return model
