"""What is trained beside biases: a low-rank prompt before a block, and a branch beside it on pooled channels."""

from __future__ import annotations

import math
from typing import Any

from ml.tuning.lean_elementwise import coded_function
from ml.tuning.lean_operations import Operations

__all__ = ["PROMPT", "SIDE", "add_prompt", "add_side", "blocks_of", "remove_branches"]

#: Names of the parameters that a block gets.
PROMPT = ("lean_prompt_left", "lean_prompt_right")
SIDE = ("lean_side_down", "lean_side_up")


def blocks_of(module: Any, names: Any) -> dict[str, Any]:
    """Return the blocks by name: those that are named, or those of the largest list of equal ones, or the module.

    Raises ValueError for a name that is nowhere.
    """
    import torch

    every = dict(module.named_modules())
    if names is not None:
        wanted = [names] if isinstance(names, str) else list(names)
        for name in wanted:
            if name not in every:
                raise ValueError(f"blocks names {name!r}, which is no part of {type(module).__name__}")
        if not wanted:
            raise ValueError("blocks is empty: name one block or more, or leave it out")
        return {name: every[name] for name in wanted}
    best: tuple[int, dict[str, Any]] = (0, {"": module})
    for prefix, part in every.items():
        children = list(part.children())
        if not isinstance(part, torch.nn.ModuleList | torch.nn.Sequential) or len({type(c) for c in children}) != 1:
            continue
        size = sum(p.numel() for p in part.parameters())
        if any(c.children() for c in children) and list(children[0].children()) and size > best[0]:
            best = size, {f"{prefix}.{k}".lstrip("."): c for k, c in enumerate(children)}
    return best[1]


def _width(name: str, block: Any) -> int:
    import torch

    for part in block.modules():
        if isinstance(part, torch.nn.Linear):
            return int(part.in_features)
    raise ValueError(
        f"the block {name or type(block).__name__!r} has no linear layer that tells its width: name others"
    )


def add_prompt(name: str, block: Any, rank: int, length: int, generator: Any) -> None:
    """Let a block see x + A B, A (length, rank) and B (rank, width): a position has its own row. B is zero at first."""
    import torch

    width = _width(name, block)
    left = torch.randn(length, rank, generator=generator) / math.sqrt(rank)
    _give(block, PROMPT, left, torch.zeros(rank, width))
    first = any(not getattr(m, "batch_first", True) for m in block.modules())
    block.register_forward_pre_hook(_Prompt(name, first), with_kwargs=True)


def add_side(name: str, block: Any, rank: int, pool: int, generator: Any, operations: Operations) -> None:
    """Add U relu(D m(x)) to what a block makes of x; m takes means of `pool` channels. U is zero at first.

    D : (rank, width / pool); U : (width, rank). Raises ValueError where `pool` does not divide the width.
    """
    import torch

    width = _width(name, block)
    if width % pool:
        raise ValueError(f"pool must divide the width {width} of the block {name!r}, got {pool}")
    down = torch.randn(rank, width // pool, generator=generator) / math.sqrt(width // pool)
    _give(block, SIDE, down, torch.zeros(width, rank))
    block.register_forward_hook(_Side(name, pool, operations), with_kwargs=True)


def _give(block: Any, names: tuple[str, str], first: Any, second: Any) -> None:
    import torch

    like = next(block.parameters())
    for name, values in zip(names, (first, second), strict=True):
        if hasattr(block, name):
            raise ValueError(f"{type(block).__name__} has an attribute {name!r} of its own")
        block.register_parameter(name, torch.nn.Parameter(values.to(device=like.device, dtype=like.dtype)))


def remove_branches(blocks: Any) -> None:
    """Take prompts and branches out of blocks again."""
    for block in blocks:
        for name in (*PROMPT, *SIDE):
            if name in block._parameters:
                del block._parameters[name]
        for hooks, flags in (
            (block._forward_pre_hooks, block._forward_pre_hooks_with_kwargs),
            (block._forward_hooks, block._forward_hooks_with_kwargs),
        ):
            for key in [key for key, hook in hooks.items() if isinstance(hook, _Prompt | _Side)]:
                del hooks[key]
                flags.pop(key, None)


class _Prompt:
    """Hook that adds the prompt to what a block is given."""

    def __init__(self, name: str, positions_first: bool) -> None:
        self.name, self.positions_first = name, positions_first

    def __call__(self, block: Any, args: Any, kwargs: Any) -> Any:
        key, x = _input(self.name, args, kwargs)
        left, right = (getattr(block, name) for name in PROMPT)
        if x.dim() != 3:
            raise ValueError(f"a prompt is for (batch, positions, width): the block {self.name!r} got {tuple(x.shape)}")
        axis = 0 if self.positions_first else 1
        if x.shape[axis] > len(left) or x.shape[2] != right.shape[1]:
            raise ValueError(
                f"the prompt of the block {self.name!r} has {len(left)} positions of width {right.shape[1]}, the input "
                f"{x.shape[axis]} of {x.shape[2]}: give ml.lean another length, or other blocks"
            )
        prompt = left[: x.shape[axis]] @ right
        x = x + (prompt[:, None] if self.positions_first else prompt)
        return ((x, *args[1:]), kwargs) if key is None else (args, kwargs | {key: x})


class _Side:
    """Hook that adds the branch to what a block has made."""

    def __init__(self, name: str, pool: int, operations: Operations) -> None:
        self.name, self.pool, self.operations = name, pool, operations

    def __call__(self, block: Any, args: Any, kwargs: Any, output: Any) -> Any:
        from torch.nn import functional

        _, x = _input(self.name, args, kwargs)
        down, up = (getattr(block, name) for name in SIDE)
        y = output[0] if isinstance(output, tuple) else output
        if x.shape[-1] != down.shape[1] * self.pool or y.shape != x.shape:
            raise ValueError(
                f"a side branch is for blocks that keep the shape: {self.name!r} made {tuple(y.shape)} of "
                f"{tuple(x.shape)}, with a branch for width {down.shape[1] * self.pool}"
            )
        pooled = x.unflatten(-1, (-1, self.pool)).mean(-1)
        inner = functional.linear(pooled, down)
        inner = coded_function(inner, functional.relu, self.operations.table("relu"))
        y = y + functional.linear(inner, up)
        return (y, *output[1:]) if isinstance(output, tuple) else y


def _input(name: str, args: Any, kwargs: Any) -> tuple[str | None, Any]:
    """Return where the first floating-point tensor among the arguments of a block is, and it."""
    if args and getattr(args[0], "is_floating_point", bool)():
        return None, args[0]
    for key, given in kwargs.items():
        if not args and getattr(given, "is_floating_point", bool)():
            return key, given
    raise ValueError(f"the first argument of the block {name!r} is no tensor of numbers: name other blocks")
