"""Training with few bytes of activations: ``ml.lean`` patches a module in place, and takes the patch back."""

from __future__ import annotations

import fnmatch
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np

from lowrank.optional import require
from ml.tuning.adapted import MARK
from ml.tuning.derivative_code import MAX_CODE_BITS, NAMED, DerivativeCode
from ml.tuning.lean_branches import add_prompt, add_side, blocks_of, remove_branches
from ml.tuning.lean_operations import Operations, running

__all__ = ["KINDS", "LeanTuning", "lean"]

#: What can be trained.
KINDS = ("bias", "prompt", "side")
Train = Literal["bias", "prompt", "side", "all", "given"]


def lean(
    module: Any,
    code_bits: int = 4,
    attention_bits: int | None = 8,
    train: Train | Sequence[str] = "bias",
    *,
    also: Sequence[str] = (),
    input_bits: int = 32,
    codes: Mapping[str, DerivativeCode] | None = None,
    blocks: Sequence[str] | None = None,
    rank: int = 8,
    length: int | None = None,
    pool: int = 8,
    rng: int = 0,
) -> LeanTuning:
    """Let a PyTorch module train with few bytes of activations, in place; its answers stay the same.

    While the module runs with gradients, functions of PyTorch are replaced, whoever calls them: linear layers with
    frozen weights keep nothing but the weight; gelu, silu, tanh, relu, sigmoid and softplus a code of f'(x)
    (:func:`ml.derivative_code`); attention rounded q, k, v and a code of its softmax; layer and RMS norms a code of the
    normalised rows; dropout one bit an entry. All else is left as it is, and :meth:`LeanTuning.table` says what.

    Parameters
    ----------
    module : any torch.nn.Module. Train it as before, with an optimiser made *after* this call
    code_bits : 2 to 8, of derivatives, softmax and norms. ReLU takes 1, whatever is said
    attention_bits : of q, k and v: 8, 16, or 32 (as they are); None leaves attention as it is, but for a softmax that
        is called by itself
    train : "bias": all biases; "prompt": x + A B before each block, A (length, rank), B (rank, width); "side": a branch
        U relu(D m(x)) beside each block, on means m of `pool` channels; "all": the three; or some of them, as a list.
        Everything else is frozen. "given": whatever has a gradient now, all parameters of a new module
    also : names of parameters or layers, or patterns with * and ?, that are trained as well: a classifier
    input_bits : of the inputs that linear layers with trained weights keep: 8, 16, or 32 (as they are)
    codes : other codes, {"gelu": code}, as for samples of the network's own inputs, by :func:`ml.derivative_code`; and
        {"MyFunction": code} for elementwise submodules of your own, by the name of their class
    blocks : names of submodules with prompt or branch; by default the items of the largest list of equal layers, else
        the module
    length : positions of a prompt; by default what the module's configuration says
    rng : seed of A and D; B and U are zero, so that the module answers as before at the start

    Returns
    -------
    LeanTuning, which is `module.forward` as well

    Raises
    ------
    TypeError, ImportError
        what is no torch.nn.Module; no PyTorch.
    ValueError
        bits that are not offered, unknown `train`, names that are nowhere, nothing to train, a module that is lean
        already, blocks that tell no width or no length. The module is then as it was.

    Cost of a step: see docs/lean.md; in the mean 1.2 to 1.5 times that of the plain module.

    Examples
    --------
    >>> import torch  # doctest: +SKIP
    >>> network = torch.nn.TransformerEncoder(layer, 6)  # doctest: +SKIP
    >>> tuning = ml.lean(network, train="bias", also=["head"])  # doctest: +SKIP
    >>> tuning.n_trained, ml.activation_bytes(network, batch)  # doctest: +SKIP
    """
    torch = require("torch", "torch", "ml.lean", "ml")
    if not isinstance(module, torch.nn.Module):
        raise TypeError(f"module must be a torch.nn.Module, got {type(module).__name__}")
    kinds = _kinds(train)
    _check_bits(code_bits, attention_bits, input_bits)
    for what, number in (("rank", rank), ("pool", pool), ("length", 1 if length is None else length)):
        if isinstance(number, bool) or not isinstance(number, int | np.integer) or number < 1:
            raise ValueError(f"{what} must be a positive integer, got {number!r}")
    for part in module.modules():
        if isinstance(getattr(part, "forward", None), LeanTuning):
            raise ValueError(f"{type(part).__name__} is lean already: call its restore() first")
    found = {} if codes is None else dict(codes)
    operations = Operations(int(code_bits), attention_bits, int(input_bits), found)
    own = _own_functions(module, found)
    trained = None if kinds is None else _trained(module, kinds, also)
    if kinds is None and isinstance(also, str | Sequence) and len(also):
        raise ValueError('also is for train other than "given": set requires_grad yourself')
    if trained is not None and not trained and not {"prompt", "side"} & set(kinds or ()):
        raise ValueError(f"{type(module).__name__} has no bias to train: choose prompt or side, or name others in also")
    if trained is None and not any(p.requires_grad for p in module.parameters()):
        raise ValueError(f"{type(module).__name__} has no parameter with a gradient: there is nothing to train")
    tuning = LeanTuning(module, operations, own)
    if kinds is not None:
        try:
            for name, parameter in module.named_parameters():
                parameter.requires_grad_(name in (trained or ()))
                if not parameter.requires_grad:
                    parameter.grad = None  # what is left of earlier training would move it
            tuning.add(kinds, blocks, int(rank), length, int(pool), rng)
        except Exception:
            tuning.restore()
            raise
    tuning.install()
    return tuning


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
        """Add prompts and branches."""
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


def _kinds(train: Any) -> tuple[str, ...] | None:
    """Return what is trained; None for what has a gradient now."""
    if isinstance(train, str):
        if train == "given":
            return None
        wanted = list(KINDS) if train == "all" else [train]
    else:
        wanted = list(train) if isinstance(train, Sequence) else [train]
    if not wanted or any(kind not in KINDS for kind in wanted):
        raise ValueError(f'train must be "all", "given", or some of {", ".join(KINDS)}, got {train!r}')
    return tuple(wanted)


def _check_bits(code_bits: Any, attention_bits: Any, input_bits: Any) -> None:
    if isinstance(code_bits, bool) or code_bits not in range(2, MAX_CODE_BITS + 1):
        raise ValueError(f"code_bits must be 2 .. {MAX_CODE_BITS}, got {code_bits!r}")
    if attention_bits is not None and attention_bits not in (8, 16, 32):
        raise ValueError(f"attention_bits must be 8, 16, 32 or None, got {attention_bits!r}")
    if input_bits not in (8, 16, 32):
        raise ValueError(f"input_bits must be 8, 16 or 32, got {input_bits!r}")


def _trained(module: Any, kinds: Sequence[str], also: Any) -> set[str]:
    """Return the names of the module's own parameters that are trained."""
    first = {id(p): name for name, p in module.named_parameters()}
    names = {name: first[id(p)] for name, p in module.named_parameters(remove_duplicate=False)}  # shared: the first one
    found = {first for n, first in names.items() if "bias" in kinds and "bias" in n.rpartition(".")[2]}
    if isinstance(also, str):
        raise TypeError(f"also must be a list of names, got one string; pass [{also!r}]")
    for pattern in also:
        hit = {names[n] for n in names if any(fnmatch.fnmatchcase(n, p) for p in (pattern, f"{pattern}.*"))}
        if not hit:
            raise ValueError(f"also names {pattern!r}, which is no parameter and no layer of {type(module).__name__}")
        found |= hit
    return found


def _own_functions(module: Any, codes: Mapping[str, DerivativeCode]) -> dict[str, DerivativeCode]:
    """Return the submodules that have a code by the name of their class."""
    found: dict[str, DerivativeCode] = {}
    for name, code in codes.items():
        if not isinstance(code, DerivativeCode):
            raise ValueError(f"codes[{name!r}] must come from ml.derivative_code, got {type(code).__name__}")
        if name in NAMED:
            continue
        parts = {prefix: code for prefix, part in module.named_modules() if prefix and type(part).__name__ == name}
        if not parts:
            raise ValueError(f"codes names {name!r}, which is no class of a submodule and none of {', '.join(NAMED)}")
        found |= parts
    return found


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
