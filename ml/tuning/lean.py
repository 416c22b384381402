"""Training with few bytes of activations: ``ml.lean`` patches a module in place."""

from __future__ import annotations

import fnmatch
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np

from lowrank.optional import require
from ml.tuning.derivative_code import MAX_CODE_BITS, NAMED, DerivativeCode
from ml.tuning.lean_operations import Operations
from ml.tuning.lean_tuning import LeanTuning

__all__ = ["KINDS", "lean"]

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
