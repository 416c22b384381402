"""The weights of a PyTorch module that are quantised: those of linear, convolution, embedding and recurrent layers."""

from __future__ import annotations

import difflib
import fnmatch
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from lowrank.optional import require
from ml.quantization.memory import first_overlap, overlaps_itself, place_of

__all__ = ["Site", "bits_by_name", "checked_module", "sites_of"]

#: Attributes with weights, by the class of torch.nn.
WEIGHTS = {
    "Linear": ("weight",),
    "Bilinear": ("weight",),
    "_ConvNd": ("weight",),
    "Embedding": ("weight",),
    "EmbeddingBag": ("weight",),
    "MultiheadAttention": ("in_proj_weight", "q_proj_weight", "k_proj_weight", "v_proj_weight"),
}


@dataclass(frozen=True, eq=False)
class Site:
    """A weight, once, however many layers share it: tied weights have several names."""

    names: tuple[str, ...]  #: as in `named_parameters`; the first one stands for it
    owners: tuple[tuple[Any, str], ...]  #: layers and their attributes, a layer once however many names it has
    parameter: Any

    @property
    def name(self) -> str:
        """The first name, which stands for the weight."""
        return self.names[0]

    @property
    def parameters(self) -> list[Any]:
        """The parameter, and others that lie in the same memory: a gradient belongs to one of them only."""
        return list({id(p): p for p in (getattr(layer, attribute) for layer, attribute in self.owners)}.values())

    @property
    def size(self) -> int:
        """How many numbers it has."""
        return int(self.parameter.numel())

    def array(self) -> np.ndarray:
        """Return a copy on the host (rows, ...): single precision, or double where the weight is."""
        torch = require("torch", "torch", "ml.quantize_module", "ml")
        weight = self.parameter.detach()
        kind = torch.float64 if weight.dtype == torch.float64 else torch.float32
        return np.array(weight.to(device="cpu", dtype=kind).numpy())

    def check(self, values: np.ndarray) -> None:
        """Raise ValueError where these numbers are beyond the type of the weight."""
        torch = require("torch", "torch", "ml.quantize_module", "ml")
        if not bool(torch.isfinite(torch.from_numpy(values).to(self.parameter.dtype)).all()):
            raise ValueError(
                f"{self.name}: rounded numbers up to {np.max(np.abs(values)):g} are beyond {self.parameter.dtype}: "
                'take scales="float32", convert the module to single precision, or put it into skip'
            )

    def write(self, values: np.ndarray) -> None:
        """Overwrite the weight in place, in its own type and on its device."""
        torch = require("torch", "torch", "ml.quantize_module", "ml")
        with torch.no_grad():
            self.parameter.copy_(torch.from_numpy(np.ascontiguousarray(values)))


def checked_module(module: Any) -> Any:
    """Return PyTorch.

    Raises TypeError for what is no torch.nn.Module, ImportError where PyTorch is missing.
    """
    torch = require("torch", "torch", "ml.quantization", "ml")
    if not isinstance(module, torch.nn.Module):
        raise TypeError(f"module must be a torch.nn.Module, got {type(module).__name__}")
    return torch


def sites_of(module: Any, skip: Sequence[str] = ()) -> list[Site]:
    """Return the weights that are quantised, in the order of `named_parameters`.

    skip : names of weights or of layers, or patterns with * and ? of these; a tied weight is skipped by any of its
        names

    Raises
    ------
    TypeError
        one string in place of a list of names.
    ValueError
        a name in `skip` that is nowhere, no weight at all; and, but for those in `skip`, weights that cannot be
        rounded in place: that are computed from others at every call (parametrised, weight_norm, pruned), that a table
        with max_norm rewrites, that have no numbers yet, that share only part of their memory with others.
    """
    torch = checked_module(module)
    if isinstance(skip, str):
        raise TypeError(f"skip must be a list of names, got one string; pass [{skip!r}]")
    names: dict[Any, list[str]] = {}
    owners: dict[Any, dict[Any, tuple[Any, str]]] = {}
    weights: dict[Any, Any] = {}
    unfit: dict[str, str] = {}
    for name, layer, attribute in _places(module, torch):
        if (why := _obstacle(layer, attribute, torch)) is not None:
            unfit[name] = why
            continue
        weight = getattr(layer, attribute, None)
        if weight is None or weight.ndim < 2 or not weight.numel() or not weight.is_floating_point():
            continue
        key = place_of(weight)
        names.setdefault(key, []).append(name)
        owners.setdefault(key, {})[id(layer), attribute] = (layer, attribute)
        weights.setdefault(key, weight)
    found = [Site(tuple(names[k]), tuple(owners[k].values()), weights[k]) for k in names]
    skipped: set[str] = set()
    for pattern in skip:
        hit = {s.name for s in found if any(_fits(name, pattern) for name in s.names)}
        hit |= {name for name in unfit if _fits(name, pattern)}
        if not hit:
            raise ValueError(f"skip names {pattern!r}, which is no weight and no layer{_near(pattern, found)}")
        skipped |= hit
    for name, why in unfit.items():
        if name not in skipped:
            raise ValueError(f"the weight {name} {why}; or put it into skip")
    if not found:
        raise ValueError(f"{type(module).__name__} has no linear, convolution or embedding weight to quantise")
    kept = [s for s in found if s.name not in skipped]
    _check_memory(module, kept, torch)
    return kept


def _places(module: Any, torch: Any) -> Iterator[tuple[str, Any, str]]:
    """Return name, layer and attribute of all places where a weight may be."""
    for prefix, layer in module.named_modules(remove_duplicate=False):
        for attribute in _attributes(layer, torch):
            yield f"{prefix}.{attribute}".lstrip("."), layer, attribute


def _obstacle(layer: Any, attribute: str, torch: Any) -> str | None:
    """Return why a weight cannot be rounded in place and what to do, or None."""
    if attribute in getattr(layer, "parametrizations", {}):
        return "is parametrised: call ml.freeze_quantized, or torch.nn.utils.parametrize.remove_parametrizations, first"
    weight = getattr(layer, attribute, None)
    if weight is None:
        return None
    if attribute not in layer._parameters and attribute not in layer._buffers:
        return "is computed from others at every call (weight_norm, spectral_norm, pruning): remove that first"
    if torch.nn.parameter.is_lazy(weight):
        return "has no numbers yet: pass a batch through the module first"
    if weight.is_meta:
        return "is on the meta device and has no numbers: load them"
    if weight.is_inference() and not torch.is_inference_mode_enabled():
        return "was made in inference mode and cannot be written to: build the module outside of it"
    if overlaps_itself(weight):
        return "has entries that are one number in memory (expand): make a copy of it, .clone()"
    if getattr(layer, "max_norm", None) is not None:
        return "is of a table with max_norm, whose calls rewrite its rows: set max_norm to None"
    return None


def _check_memory(module: Any, sites: Sequence[Site], torch: Any) -> None:
    """Refuse weights that share part of their memory, or all of it transposed, with others."""
    named = {place_of(s.parameter): (s.name, s.parameter) for s in sites}
    ours = {name for name, _ in named.values()}
    for name, tensor in (*module.named_parameters(), *module.named_buffers()):
        if tensor.layout == torch.strided and not tensor.is_meta and not torch.nn.parameter.is_lazy(tensor):
            named.setdefault(place_of(tensor), (name, tensor))
    pair = first_overlap(list(named.values()))
    if pair is not None and ours & set(pair):
        raise ValueError(
            f"{pair[0]} and {pair[1]} share memory, but not as one weight (a slice, or a transposed view): rounding "
            "one would change the other; make a copy of one, or put both into skip"
        )


def bits_by_name(bits: Any, sites: Sequence[Site]) -> dict[str, int]:
    """Return the bits of every weight that is to be quantised, by its first name.

    bits : one integer, or {name: integer}: weights that it does not name stay as they are, and a tied weight may be
        named by any of its names

    Raises ValueError for names that are no weights, a tied weight with two numbers of bits, and bits that are no
    integers; which integers there are, says :func:`lowrank.quantize`.
    """
    if not isinstance(bits, Mapping):
        return {site.name: _integer(bits, "bits") for site in sites}
    by_name = {name: site for site in sites for name in site.names}
    found: dict[str, int] = {}
    for name, given in bits.items():
        if name not in by_name:
            raise ValueError(f"bits are given for {name!r}, which is none of the weights{_near(str(name), sites)}")
        first, number = by_name[name].name, _integer(given, f"bits of {name}")
        if found.setdefault(first, number) != number:
            raise ValueError(
                f"{name} is tied to {first}: they are one weight, but have {number} and {found[first]} bits"
            )
    if not found:
        raise ValueError("bits names no weight: give one integer, or {name: integer}")
    return {site.name: found[site.name] for site in sites if site.name in found}


def _attributes(layer: Any, torch: Any) -> tuple[str, ...]:
    nn = torch.nn
    if isinstance(layer, nn.RNNBase | nn.RNNCellBase):
        return tuple(name for name, _ in layer.named_parameters(recurse=False) if name.startswith("weight_"))
    classes = {"_ConvNd": nn.modules.conv._ConvNd}
    for name, attributes in WEIGHTS.items():
        if isinstance(layer, classes.get(name) or getattr(nn, name)):
            return attributes
    # GPT-2 of transformers keeps its linear layers transposed, in a class of its own
    return ("weight",) if type(layer).__name__ == "Conv1D" and type(layer).__module__.startswith("transformers") else ()


def _fits(name: str, pattern: str) -> bool:
    layer = name.rpartition(".")[0]
    return fnmatch.fnmatchcase(name, pattern) or fnmatch.fnmatchcase(layer, pattern)


def _near(name: str, sites: Sequence[Site]) -> str:
    known = [n for s in sites for n in s.names]
    found = difflib.get_close_matches(name, known, 1, 0.4) or known[:1]
    return f"; there is {found[0]!r}" if found else ""


def _integer(given: Any, what: str) -> int:
    if isinstance(given, bool) or not isinstance(given, int | np.integer):
        raise ValueError(f"{what} must be an integer, got {given!r}")
    return int(given)
