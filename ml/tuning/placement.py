"""Trained parts that sit in layers of a network: how they are put in, found by hooks, and taken out.

A part is a module registered in its layer, so that it moves, counts and is stored with the network. Hooks are plain
functions that find the part through the layer they are called with: copies of a network have copies of its parts.
"""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from lowrank.optional import require

__all__ = [
    "NAME", "Placement", "class_of", "first_tensor", "is_merged", "part_of", "random_parameter", "replaced",
    "stored_by_name", "type_like", "whole_number", "zero_parameter",
]  # fmt: skip

#: The name of a part in its layer, and of the link that other layers have to it.
NAME = "ml_adapter"
LINK = "_ml_adapter_link"
#: What the input of a layer is called where it is given by name.
INPUTS = ("hidden_states", "query", "input", "src", "tgt", "x")

Hook = Callable[..., Any]


@dataclass(frozen=True, eq=False)
class Placement:
    """A part, the layer it sits in, and the hooks that make it work.

    Of a part: `changed(host)` gives {name of a parameter of the layer: its merged value}, for kinds that can be merged;
    `attach(host)` and `detach(host)` do what hooks cannot, where they exist.
    """

    name: str  #: of the layer
    host: Any
    part: Any
    before: tuple[tuple[Any, Hook], ...] = ()  #: (layer, function(layer, args, kwargs) -> (args, kwargs) or None)
    after: tuple[tuple[Any, Hook], ...] = ()  #: (layer, function(layer, args, kwargs, output) -> output or None)
    always: bool = False  #: hooks after the layer run when it raised an error, too

    @property
    def home(self) -> Any:
        """Return the layer that the part is registered in: the host, or the last one of a host that is a sequence."""
        torch = require("torch", "torch", "ml.adapt", "ml")
        layer = self.host
        while isinstance(layer, torch.nn.Sequential):
            layer = layer[-1]
        return layer

    def attach(self) -> list[Any]:
        """Put the part in; return the handles of the hooks."""
        self.home.add_module(NAME, self.part)
        handles = []
        for layer, hook in self.before:
            layer.__dict__[LINK] = self.part
            handles.append(layer.register_forward_pre_hook(hook, with_kwargs=True))
        for layer, hook in self.after:
            layer.__dict__[LINK] = self.part
            handles.append(layer.register_forward_hook(hook, with_kwargs=True, always_call=self.always))
        if hasattr(self.part, "attach"):
            self.part.attach(self.host)
        return handles

    def detach(self) -> None:
        """Take the part out; handles are removed by who has them."""
        if hasattr(self.part, "detach"):
            self.part.detach(self.host)
        for layer, _ in (*self.before, *self.after):
            layer.__dict__.pop(LINK, None)
        del self.home._modules[NAME]


def stored_by_name(part: type) -> type:
    """Let pickle store a part's class, which is made inside a function, by its name in the module of its kind."""
    part.__qualname__ = part.__name__
    return part


def class_of(module: str, name: str, there: Sequence[str], make: Callable[[], Any]) -> Any:
    """Return the class of that name, for the `__getattr__` of the module of a kind: where pickle looks for it."""
    if name not in there:
        raise AttributeError(f"module {module!r} has no attribute {name!r}")
    made = make()
    return next(part for part in (made if isinstance(made, tuple) else (made,)) if part.__name__ == name)


def part_of(layer: Any) -> Any:
    """Return the part that a hooked layer works with."""
    return layer.__dict__[LINK]


def is_merged(layer: Any, part: Any) -> bool:
    """Return whether the update of a part stands in the weights of its layer; warn where it would be trained."""
    if part.merged and layer.training and require("torch", "torch", "ml.adapt", "ml").is_grad_enabled():
        warnings.warn(
            "a merged adapter is in training mode: its numbers get no gradient; call .unmerge() to train it, or "
            "module.eval()", UserWarning, stacklevel=3,
        )  # fmt: skip
    return bool(part.merged)


def first_tensor(layer: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
    """Return what a layer is applied to: the first argument, or that of the first parameter of its `forward`."""
    if args:
        return args[0]
    first = next(iter(inspect.signature(layer.forward).parameters), "")
    for name in (first, *INPUTS):
        if kwargs.get(name) is not None:
            return kwargs[name]
    raise ValueError(f"{type(layer).__name__} is called without an input that is known: {sorted(kwargs)}")


def replaced(output: Any, change: Callable[[Any], Any]) -> Any:
    """Return the output of a layer with its tensor, or the first of several, changed."""
    if isinstance(output, tuple):
        return (change(output[0]), *output[1:])
    return change(output)


def type_like(weight: Any) -> Any:
    """Return the type of numbers that are trained beside a weight: its own, or single where that is one of integers."""
    torch = require("torch", "torch", "ml.adapt", "ml")
    return weight.dtype if weight.is_floating_point() else torch.float32


def zero_parameter(like: Any, *shape: int) -> Any:
    """Return a parameter of zeros, of the type and on the device of another tensor."""
    torch = require("torch", "torch", "ml.adapt", "ml")
    return torch.nn.Parameter(torch.zeros(shape, dtype=type_like(like), device=like.device))


def random_parameter(like: Any, generator: Any, bound: float, *shape: int) -> Any:
    """Return a parameter of numbers uniform in [-bound, bound], the same on every device; none on the meta device."""
    torch = require("torch", "torch", "ml.adapt", "ml")
    if like.is_meta:
        return zero_parameter(like, *shape)
    values = torch.empty(shape, dtype=torch.float32).uniform_(-bound, bound, generator=generator)
    return torch.nn.Parameter(values.to(dtype=type_like(like), device=like.device))


def whole_number(value: Any, name: str) -> int:
    """Return an integer of at least 1, or raise ValueError."""
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise ValueError(f"{name} must be an integer of at least 1, got {value!r}")
    return value
