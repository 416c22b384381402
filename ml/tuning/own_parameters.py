"""Kinds that train parameters a network has: its biases (BitFit), its normalisations, and what is named.

Source: Ben Zaken et al., BitFit: simple parameter-efficient fine-tuning for transformer-based masked language models,
2022.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ml.tuning.network_parts import blocks_of, chosen, fitting, is_norm

__all__ = ["biases", "named_parameters", "norms"]


def biases(module: Any, *, where: str = "all", targets: str | Sequence[str] | None = None) -> list[str]:
    """Return the names of the biases.

    where : "all", or "layers": those of layers with attention; in a layer 7 d + F
    targets : names or patterns of modules, whose biases are taken, in place of `where`

    Raises ValueError where there are none.
    """
    if where not in ("all", "layers"):
        raise ValueError(f"where must be 'all' or 'layers', got {where!r}")
    found = [n for n, _ in module.named_parameters() if n.rpartition(".")[2].endswith("bias")]
    if targets is not None:
        found = _within(found, list(chosen(module, targets, lambda n, m: bool(n), "module")))
    elif where == "layers":
        found = _within(found, [block.name for block in blocks_of(module)])
    if not found:
        raise ValueError(
            f"{type(module).__name__} has no biases there: nothing would be trained; try 'lora' or 'norms'"
        )
    return found


def norms(module: Any, *, targets: str | Sequence[str] | None = None) -> list[str]:
    """Return the names of weights and biases of normalisations; `targets` names some of them.

    Raises ValueError where there are none.
    """
    if targets is None:
        layers = {n: m for n, m in module.named_modules() if is_norm(m)}
    else:
        layers = chosen(module, targets, lambda n, m: is_norm(m), "normalisation")
    found = [f"{n}.{p}".lstrip(".") for n, m in layers.items() for p, _ in m.named_parameters(recurse=False)]
    if not found:
        raise ValueError(f"{type(module).__name__} has no normalisation with weights: nothing would be trained")
    return found


def named_parameters(module: Any, names: Sequence[str]) -> list[str]:
    """Return the parameters that are named, or that stand in modules that are.

    Raises TypeError for one string in place of a list, and ValueError for a name that fits nothing.
    """
    if isinstance(names, str):
        raise TypeError(f"train must be a list of names, got one string; pass [{names!r}]")
    first = {id(p): n for n, p in module.named_parameters()}  # shared ones have one name
    every = {n: first[id(p)] for n, p in module.named_parameters(remove_duplicate=False)}
    found: list[str] = []
    for name in names:
        hit = list(fitting(every, name))
        if not hit:
            hit = _within(list(every), list(chosen(module, [name], lambda n, m: bool(n), "module or parameter")))
        if not hit:
            raise ValueError(f"train names {name!r}, which has no parameters")
        found += [every[n] for n in hit]
    return [n for n in first.values() if n in set(found)]


def _within(names: Sequence[str], modules: Sequence[str]) -> list[str]:
    return [n for n in names if any(not m or n.startswith(m + ".") for m in modules)]
