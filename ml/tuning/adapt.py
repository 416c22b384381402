"""Adapters for any PyTorch module: a kind is chosen by name, its places are found, all else is frozen."""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Callable, Sequence
from typing import Any

from lowrank.optional import require
from ml.tuning.adapted import MARK, Adapted
from ml.tuning.adapter_bias import place_adapter_bias
from ml.tuning.bottleneck import place_bottleneck
from ml.tuning.convolutional_adapter import place_convolution
from ml.tuning.ia3 import place_ia3
from ml.tuning.lora import place_lora
from ml.tuning.own_parameters import biases, named_parameters, norms
from ml.tuning.placement import NAME, Placement
from ml.tuning.prefix import place_prefix
from ml.tuning.weighted_sum import place_weighted_sum

__all__ = ["KINDS", "adapt"]

#: Kinds that add parts, by the function that places them.
PLACED: dict[str, Callable[..., list[Placement]]] = {
    "lora": place_lora,
    "bottleneck": place_bottleneck,
    "adapter_bias": place_adapter_bias,
    "ia3": place_ia3,
    "prefix": place_prefix,
    "convolution": place_convolution,
    "weighted_sum": place_weighted_sum,
}
#: Kinds that train parameters of the module, by the function that names them.
OWN: dict[str, Callable[..., list[str]]] = {"bitfit": biases, "norms": norms, "head": lambda module: []}
KINDS = (*PLACED, *OWN)
#: Other names, for the message about a kind that is not there.
ALSO = {"houlsby": "bottleneck", "adapter": "bottleneck", "adapters": "bottleneck", "adapterbias": "adapter_bias",
        "layer_norm": "norms", "layernorm": "norms", "bias": "bitfit", "biases": "bitfit", "cnn": "convolution",
        "conv": "convolution", "linear_probe": "head", "low_rank": "lora", "(ia)3": "ia3"}  # fmt: skip


def adapt(module: Any, kind: str, *, train: Sequence[str] = (), rng: int = 0, **options: Any) -> Adapted:
    """Freeze a PyTorch module and put a few numbers to train into it, in place.

    Attention, feed-forward parts, convolutions and normalisations are found by types, names and shapes, see
    docs/adapters.md for the kinds, their formulas, options and counts. Train the module as before, with an optimiser of
    `adapted.parameters()`. Every kind but "prefix" leaves the module's output as it is, bit for bit, until it is
    trained.

    Parameters
    ----------
    module : torch.nn.Module; it is used as before, `forward` and `state_dict` included
    kind : lora, bottleneck, adapter_bias, ia3, prefix, convolution, weighted_sum, bitfit, norms, head
    train : names or patterns of modules and parameters of the module that are trained as well, and stored with the
        adapter: a new head. With kind "head" nothing else is
    rng : seed of the first numbers; the global random state is left alone
    options : of the kind: rank=, targets=, ..

    Returns
    -------
    Adapted, with `n_trained`, `state()`, `load(state)`, `merge()`, `remove()`

    Raises
    ------
    TypeError
        no torch.nn.Module, a string for `train`.
    ValueError
        a kind or an option that is not there, a name that fits nothing, a module without matching layers, with what to
        name, one that is adapted already, numbers out of range. The module is then as it was.
    ImportError
        PyTorch is missing, with the line that installs it.

    Source: lora: arXiv 2106.09685; bottleneck: 1902.00751; ia3: 2205.05638; prefix: 2101.00190; bitfit: 2106.10199.

    Notes
    -----
    Counts with width d, inner width F and L layers: lora 2 r d a square matrix, bottleneck 2 d r + r + d a place, ia3
    L (2 d + F), adapter_bias L (2 d + 1), prefix 2 L p d, biases of layers L (7 d + F), normalisations 4 d L and those
    outside.

    Cost: of lora, rank / width of the adapted layers' time, none once merged; the backward pass needs no gradients of
    frozen weights, and the optimiser no memory for them.

    Examples
    --------
    >>> import torch  # doctest: +SKIP
    >>> layers = torch.nn.Linear(64, 64), torch.nn.ReLU(), torch.nn.Linear(64, 8)  # doctest: +SKIP
    >>> network = torch.nn.Sequential(*layers)  # doctest: +SKIP
    >>> adapt(network, "lora", rank=2)  # doctest: +SKIP
    Adapted(lora, 400 of 5,080 numbers trained, 7.87%)
    """
    torch = require("torch", "torch", "ml.adapt", "ml")
    if not isinstance(module, torch.nn.Module):
        raise TypeError(f"module must be a torch.nn.Module, got {type(module).__name__}")
    _check_kind(kind, options)
    adapted_part = next((n for n, m in module.named_modules() if MARK in m.__dict__ or NAME in m._modules), None)
    if adapted_part is not None:
        raise ValueError(
            f"the module is adapted already{f', in {adapted_part!r}' if adapted_part else ''}: call .remove() of its "
            "adapter, or .merge() and .remove(keep_merged=True), first"
        )
    own = named_parameters(module, train)
    placements: list[Placement] = []
    if kind in PLACED:
        generator = torch.Generator().manual_seed(rng)
        placements = PLACED[kind](module, generator, **options)
    else:
        own = [n for n, _ in module.named_parameters() if n in {*own, *OWN[kind](module, **options)}]
    if not placements and not own:
        what = "trains nothing by itself" if kind == "head" else "finds nothing to train in this module"
        raise ValueError(f"kind {kind!r} {what}: name what is trained, train=['classifier']")
    homes = [id(place.home) for place in placements]
    if len(set(homes)) < len(homes):
        twice = next(place.name for k, place in enumerate(placements) if id(place.home) in homes[:k])
        raise ValueError(f"{twice!r} is a sequence that ends in a layer which is named too: name one of the two")
    return _put_in(torch, module, kind, options, tuple(train), placements, own)


def _put_in(
    torch: Any,
    module: Any,
    kind: str,
    options: dict[str, Any],
    train: tuple[str, ...],
    placements: Sequence[Placement],
    own: Sequence[str],
) -> Adapted:
    """Change the module; all that can fail has been done."""
    flags = {name: parameter.requires_grad for name, parameter in module.named_parameters()}
    running = _running(torch, module)
    tensors = module.state_dict(keep_vars=True)
    originals = {name: tensors[name].detach().clone() for name in (*own, *running)}
    for name, parameter in module.named_parameters():
        parameter.requires_grad_(name in set(own))
        if name not in set(own):
            parameter.grad = None  # what is left of earlier training would be taken for a gradient
    handles: list[Any] = []
    for place in placements:
        place.part.train(place.host.training)
        handles += place.attach()
    nested = tuple(n for n, m in module.named_modules() if getattr(m, "use_nested_tensor", False))
    for name in nested:
        module.get_submodule(name).use_nested_tensor = False
    module.__dict__[MARK] = kind
    trained = {id(p) for place in placements for p in place.part.parameters()}
    names = tuple(n for n, p in module.named_parameters() if n in set(own) or id(p) in trained)
    return Adapted(
        module, kind, dict(options), train, tuple(placements), names, running, flags, originals, tuple(handles), nested
    )


def _running(torch: Any, module: Any) -> tuple[str, ...]:
    """Return the names of the stored buffers that a forward pass in training changes."""
    found = []
    for name, layer in module.named_modules():
        if isinstance(layer, torch.nn.modules.batchnorm._NormBase) and layer.track_running_stats:
            stored = layer.state_dict(keep_vars=True)
            found += [f"{name}.{b}".lstrip(".") for b, _ in layer.named_buffers(recurse=False) if b in stored]
    return tuple(found)


def _check_kind(kind: Any, options: dict[str, Any]) -> None:
    if kind not in KINDS:
        near = ALSO.get(str(kind).lower()) or next(iter(difflib.get_close_matches(str(kind), KINDS, 1, 0.5)), None)
        hint = f"; did you mean {near!r}?" if near else ""
        raise ValueError(f"kind must be one of {', '.join(KINDS)}, got {kind!r}{hint}")
    function = PLACED.get(kind) or OWN[kind]
    known = [n for n, p in inspect.signature(function).parameters.items() if p.kind is p.KEYWORD_ONLY]
    for name in options:
        if name not in known:
            near = next(iter(difflib.get_close_matches(name, known, 1, 0.5)), None)
            has = f"it has {', '.join(known)}" if known else "it has none"
            raise ValueError(f"{kind} has no option {name!r}; {has}{f'; did you mean {near!r}?' if near else ''}")
