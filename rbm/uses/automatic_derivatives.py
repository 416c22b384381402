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
from rbm.reduced.interface import Reduced
from rbm.reduced.output_rows import check_single

__all__ = ["jax_function", "torch_function"]


def torch_function(reduced: Reduced, output: str) -> Callable[[Any], Any]:
    """Return mus -> s for torch tensors: (..., p) -> (...,), with derivatives for `backward`, and under `torch.func`.

    Once differentiable: a second derivative is refused. The answer has the type and the device of `mus`; points that
    rounding to that type took out of the ranges count as the ends of these.

    Raises ImportError without torch; ModelError for an output that is unknown, complex, or without derivative.
    """
    torch = require("torch", "torch", "torch_function")
    model = _checked(reduced, output)

    def answered(ask: Callable[..., np.ndarray], mus: Any) -> Any:
        made = ask(model, output, _inside(model, mus.detach().to("cpu", torch.float64).numpy(), torch.finfo(mus.dtype)))
        return torch.as_tensor(made, dtype=mus.dtype, device=mus.device)

    class Function(torch.autograd.Function):  # type: ignore[name-defined]
        @staticmethod
        def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
            ctx.save_for_backward(*inputs)

        @classmethod
        def vmap(cls, info: Any, dims: Any, mus: Any) -> Any:
            return cls.apply(mus.movedim(dims[0], 0)), 0

    class Slope(Function):
        @staticmethod
        def forward(mus: Any) -> Any:
            return answered(_slopes, mus)

        @staticmethod
        def backward(ctx: Any, outer: Any) -> Any:
            raise ModelError(f"the derivative of output {output!r} has no derivative itself: there are no second ones")

    class Output(Function):
        @staticmethod
        def forward(mus: Any) -> Any:
            return answered(_values, mus)

        @staticmethod
        def backward(ctx: Any, outer: Any) -> Any:
            return outer[..., None] * Slope.apply(*ctx.saved_tensors)

    def function(mus: Any) -> Any:
        if not (isinstance(mus, torch.Tensor) and mus.dtype.is_floating_point and mus.ndim > 0):
            kind = mus.dtype if isinstance(mus, torch.Tensor) else f"a {type(mus).__name__}"
            raise ModelError(_not_points(model, output, kind, getattr(mus, "shape", ())))
        return Output.apply(mus)

    return function


def jax_function(reduced: Reduced, output: str) -> Callable[[Any], Any]:
    """Return mus -> s for JAX arrays, (M, p) -> (M,) or (p,) -> (), with derivatives for `grad`, `jit` and `vmap`.

    The model is asked through `jax.pure_callback`, and its errors come as texts in those of JAX. The answer has the
    type of `mus`: enable x64 in JAX for doubles.

    Raises ImportError without JAX; ModelError as :func:`torch_function`.
    """
    jax = require("jax", "jax", "jax_function")
    model = _checked(reduced, output)

    def answered(ask: Callable[..., np.ndarray], mus: Any) -> np.ndarray:
        given = np.asarray(mus)
        made = ask(model, output, _inside(model, given.astype(np.float64), jax.numpy.finfo(given.dtype)))
        return made.astype(given.dtype)

    def values(mus: Any) -> np.ndarray:
        return answered(_values, mus)

    def slopes(mus: Any) -> np.ndarray:
        return answered(_slopes, mus)

    def asked(mus: Any) -> Any:
        shape = jax.ShapeDtypeStruct(mus.shape[:-1], mus.dtype)
        return jax.pure_callback(values, shape, mus, vmap_method="expand_dims")

    def forward(mus: Any) -> tuple[Any, Any]:
        shape = jax.ShapeDtypeStruct(mus.shape, mus.dtype)
        return asked(mus), jax.pure_callback(slopes, shape, mus, vmap_method="expand_dims")

    def backward(kept: Any, outer: Any) -> tuple[Any]:
        return (outer[..., None] * kept,)

    differentiated = jax.custom_vjp(asked)
    differentiated.defvjp(forward, backward)

    def function(mus: Any) -> Any:
        points = jax.numpy.asarray(mus)
        if not (jax.numpy.issubdtype(points.dtype, jax.numpy.floating) and points.ndim > 0):
            raise ModelError(_not_points(model, output, points.dtype, points.shape))
        return differentiated(points)

    return function


def _not_points(model: Reduced, output: str, kind: Any, shape: Any) -> str:
    return (
        f"the function of output {output!r} asks floating-point tensors (..., {len(model.parameters)}), got {kind} of "
        f"shape {tuple(shape)}"
    )


def _inside(model: Reduced, points: np.ndarray, kind: Any) -> np.ndarray:
    """Return the points, those that rounding to `kind` took across an end of the ranges at that end."""
    if points.ndim == 0 or points.shape[-1] != len(model.parameters):
        return points
    nearest = np.clip(points, *model.parameters.bounds.T)
    return np.where(np.abs(points - nearest) <= float(kind.eps) * np.abs(nearest), nearest, points)


def _values(model: Reduced, output: str, points: np.ndarray) -> np.ndarray:
    """Return the output (...,) at points (..., p)."""
    rows = points.reshape(-1, points.shape[-1])
    if not len(rows):
        return np.zeros(points.shape[:-1])
    values: np.ndarray = model.solve(rows, False, coefficients=False).outputs[output]
    return values.reshape(points.shape[:-1])


def _slopes(model: Reduced, output: str, points: np.ndarray) -> np.ndarray:
    """Return the derivatives (..., p) at points (..., p)."""
    rows = points.reshape(-1, points.shape[-1])
    if not len(rows):
        return np.zeros(points.shape)
    values: np.ndarray = model.gradient(rows, output, estimate=False).values[output]
    return values.reshape(points.shape)


def _checked(reduced: Any, output: str) -> Reduced:
    """Return the model on the host; raise ModelError for an output that cannot be differentiated."""
    if not isinstance(reduced, Reduced):
        raise ModelError(f"a reduced model is needed, got a {type(reduced).__name__}; rbm.greedy makes one")
    model = reduced if isinstance(reduced.operators, np.ndarray) else reduced.to("numpy")
    if output in model.outputs:
        check_single(model.outputs, output, "automatic differentiation")
    middle = model.parameters.bounds.mean(axis=1)
    if model.gradient(middle, output, estimate=False).values[output].dtype.kind == "c":
        raise ModelError(
            f"output {output!r} is complex; automatic differentiation here is for real ones: make a quadratic output "
            "of its square, or one of its real part"
        )
    return model
