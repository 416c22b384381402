"""A module that trains with few bytes of activations: what is trained, what is done, and the way back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ml.tuning.adapted import MARK
from ml.tuning.derivative_code import DerivativeCode
from ml.tuning.lean_branches import add_prompt, add_side, blocks_of, remove_branches
from ml.tuning.lean_operations import Operations, running

__all__ = ["LeanTuning"]


class LeanTuning:
    """Result of :func:`ml.lean`: what is trained, what is done, and the way back.

    It is called in place of the module's forward. A copy of the module (copy.deepcopy, pickle) has its own, as
    `copy.forward`.
    """

    def __init__(self, module: Any, operations: Operations, own: Mapping[str, DerivativeCode]) -> None:
        self.module, self.operations = module, operations
        self._before = module.__dict__.get("forward")
        self._gradients = {name: p.requires_grad for name, p in module.named_parameters()}
        self._adapted = _adapted_parts(module)
        self._blocks: dict[str, Any] = {}
        self._own = {name: dict(module.named_modules())[name] for name in own}
        self._codes = dict(own)

    def add(self, kinds: Sequence[str], names: Any, rank: int, length: int | None, pool: int, rng: int) -> None:
        """Add prompts and branches.

        Raises ValueError for a module that does not say how many positions there are, without `length`.
        """
        import torch

        if not {"prompt", "side"} & set(kinds):
            return
        self._blocks = blocks_of(self.module, names)
        generator = torch.Generator().manual_seed(rng)
        positions = _length(self.module, length) if "prompt" in kinds else 0
        for name, block in self._blocks.items():
            if "prompt" in kinds:
                add_prompt(name, block, rank, positions, generator)
            if "side" in kinds:
                add_side(name, block, rank, pool, generator, self.operations)

    def install(self) -> None:
        """Take the place of the module's forward."""
        self.module.forward = self
        for name, part in self._own.items():
            part.forward = _OwnFunction(part, self.operations, type(part).__name__, part.__dict__.get("forward"))
            self.operations.codes = {**self.operations.codes, type(part).__name__: self._codes[name]}

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Do what the module's own forward does."""
        import torch

        forward = type(self.module).forward.__get__(self.module) if self._before is None else self._before
        if not torch.is_grad_enabled():
            return forward(*args, **kwargs)
        self.operations.done.clear()
        there = self.module.parameters() if self.operations.looking else ()
        kept = frozenset(p.untyped_storage().data_ptr() for p in there)
        try:
            with running(self.operations, kept):
                result = forward(*args, **kwargs)
        finally:
            self.operations.forget()
        self.operations.looking = False
        return result

    def restore(self) -> Any:
        """Give the module back: forward, hooks, parameters and gradients as before. Trained values stay.

        Prompts and branches are taken out: keep them before by :meth:`state`. Returns the module. Raises ValueError for
        a module that was adapted after it was made lean.
        """
        adapted = _adapted_parts(self.module)
        if adapted - self._adapted:
            raise ValueError("the module was adapted after it was made lean: call .remove() of that adapter first")
        remove_branches(self._blocks.values())
        _put_back(self.module, self._before)
        for part in self._own.values():
            _put_back(part, getattr(part.__dict__.get("forward"), "before", None))
        # where an adapter was removed meanwhile, that has put back what was there before both
        gone = {id(p) for name in self._adapted - adapted for p in self.module.get_submodule(name).parameters()}
        for name, parameter in self.module.named_parameters():
            if name in self._gradients and id(parameter) not in gone:
                parameter.requires_grad_(self._gradients[name])
        return self.module

    @property
    def trained(self) -> dict[str, int]:
        """Names of the trained parameters, and how many numbers each has."""
        return {name: p.numel() for name, p in self.module.named_parameters() if p.requires_grad}

    @property
    def n_trained(self) -> int:
        """How many numbers are trained; shared ones count once."""
        return sum(self.trained.values())

    @property
    def done(self) -> dict[str, int]:
        """Operations that were replaced in the last pass with gradients, and how often."""
        return dict(self.operations.done)

    @property
    def left(self) -> dict[str, str]:
        """Operations that kept tensors as PyTorch does, and why; after the first pass with gradients."""
        return dict(self.operations.left)

    def state(self) -> dict[str, Any]:
        """Return copies of the trained parameters by name."""
        return {name: p.detach().clone() for name, p in self.module.named_parameters() if p.requires_grad}

    def load(self, state: Mapping[str, Any]) -> None:
        """Write trained parameters. Raises ValueError for other names or shapes; nothing is then written."""
        import torch

        own = {name: p for name, p in self.module.named_parameters() if p.requires_grad}
        if own.keys() != set(state):
            other = sorted(own.keys() ^ set(state))
            raise ValueError(f"the state is of another module or training: {other[0]!r} is in one of them only")
        for name, tensor in state.items():
            if tensor.shape != own[name].shape:
                raise ValueError(f"{name} has shape {tuple(own[name].shape)}, the state has {tuple(tensor.shape)}")
        with torch.no_grad():
            for name, tensor in state.items():
                own[name].copy_(tensor)

    def table(self) -> str:
        """Return a plain-text report: numbers trained, operations replaced, operations left."""
        every = sum(p.numel() for p in self.module.parameters())
        lines = [f"trained: {self.n_trained:,} of {every:,} numbers ({100 * self.n_trained / every:.3g} %)"]
        if self.operations.looking:
            return lines[0] + "\noperations: known after the first pass with gradients"
        lines += [f"{name:<24} {count:>6} times, by a code or without inputs" for name, count in self.done.items()]
        lines += [f"{name:<24} left as it is: {why}" for name, why in self.left.items()]
        return "\n".join(lines)

    def __repr__(self) -> str:
        return f"LeanTuning({type(self.module).__name__}, {self.n_trained:,} numbers trained)"


class _OwnFunction:
    """Stands for the forward of an elementwise submodule that has a code of the user's."""

    def __init__(self, part: Any, operations: Operations, name: str, before: Any) -> None:
        self.part, self.operations, self.name, self.before = part, operations, name, before

    def __call__(self, x: Any) -> Any:
        import torch

        plain = type(self.part).forward.__get__(self.part) if self.before is None else self.before
        if not torch.is_grad_enabled():
            return plain(x)
        if any(p.requires_grad for p in self.part.parameters()):
            self.operations.left[self.name] = "it has trained parameters, and its code is of f'(x) alone"
            return plain(x)
        return self.operations.elementwise(self.name, plain, x)


def _adapted_parts(module: Any) -> set[str]:
    """Return the names of the submodules that are adapted now."""
    return {name for name, part in module.named_modules() if MARK in part.__dict__}


def _put_back(module: Any, before: Any) -> None:
    if before is None:
        module.__dict__.pop("forward", None)
    else:
        module.forward = before


def _length(module: Any, length: int | None) -> int:
    """Return the positions of a prompt."""
    if length is not None:
        return int(length)
    for part in module.modules():
        config = getattr(part, "config", None)
        for name in ("max_position_embeddings", "max_source_positions"):
            if isinstance(found := getattr(config, name, None), int):
                return found
    raise ValueError(f"{type(module).__name__} does not say how many positions there are: give length")
