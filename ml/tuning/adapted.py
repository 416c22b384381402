"""A network with a few trained numbers: what they are, taken out, put in, merged and removed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from lowrank.optional import require
from lowrank.reading import digest
from ml.tuning.placement import NAME, Placement
from ml.tuning.tensors import to_array

__all__ = ["MARK", "Adapted"]

#: An attribute of a module that is adapted.
MARK = "_ml_adapted"


@dataclass(frozen=True, eq=False)
class Adapted:
    """A handle on a module that :func:`ml.adapt` has adapted. The module itself is used and trained as before."""

    module: Any
    kind: str
    options: Mapping[str, Any]  #: that the kind was given
    train: tuple[str, ...]  #: what is trained besides, as it was named
    placements: tuple[Placement, ...]
    names: tuple[str, ...]  #: of the trained parameters, in the order of `named_parameters`
    running: tuple[str, ...]  #: of running means and variances, which belong to what is trained
    flags: Mapping[str, bool] = field(repr=False)  #: `requires_grad` of the module's parameters as they were
    originals: Mapping[str, Any] = field(repr=False)  #: copies of what is trained and was there before
    handles: tuple[Any, ...] = field(repr=False)  #: of the hooks
    nested: tuple[str, ...] = field(repr=False)  #: encoders of PyTorch whose fused path was switched off
    unmerged: dict[str, Any] = field(default_factory=dict, repr=False)  #: weights before they were merged
    guards: list[Any] = field(default_factory=list, repr=False)  #: hooks that refuse other weights while merged

    def __repr__(self) -> str:
        share = self.n_trained / self.n_total if self.n_total else 0.0
        return f"Adapted({self.kind}, {self.n_trained:,} of {self.n_total:,} numbers trained, {share:.2%})"

    @property
    def n_trained(self) -> int:
        """How many numbers are trained; one that several layers share counts once."""
        return sum(p.numel() for p in self.parameters())

    @property
    def n_total(self) -> int:
        """How many parameters the module has, those that were added among them."""
        return sum(p.numel() for p in self.module.parameters())

    @property
    def merged(self) -> bool:
        """Whether the update stands in the weights."""
        return any(getattr(place.part, "merged", False) for place in self.placements)

    def parameters(self) -> list[Any]:
        """Return what is trained, for an optimiser."""
        self._alive()
        there = dict(self.module.named_parameters(remove_duplicate=False))
        return list({id(there[name]): there[name] for name in self.names}.values())

    def report(self) -> str:
        """Return a table of what is trained."""
        there = dict(self.module.named_parameters(remove_duplicate=False))
        lines = [repr(self)]
        for name in self.names:
            shape = " x ".join(map(str, there[name].shape)) or "1"
            lines.append(f"  {name.replace('.' + NAME, ''):<64}{shape:>16}{there[name].numel():>12,}")
        return "\n".join(lines)

    def state(self) -> dict[str, Any]:
        """Return copies of what is trained, and of running means, by their names in `module.state_dict()`."""
        there = self._tensors()
        return {name: there[name].detach().clone() for name in (*self.names, *self.running)}

    def load(self, state: Mapping[str, Any]) -> None:
        """Copy what :meth:`state` returned into the module, whole or not at all.

        Raises ValueError for other names or shapes (another kind, rank or network), for numbers that are not finite,
        and while the update is merged.
        """
        torch = require("torch", "torch", "ml.adapt", "ml")
        self._alive()
        if self.merged:
            raise ValueError("the update is merged into the weights: call .unmerge() before .load(..)")
        there, state = self._tensors(), {name: torch.as_tensor(value) for name, value in state.items()}
        names = (*self.names, *self.running)
        strange = sorted(set(state) ^ set(names))
        if strange:
            what = "lacks" if strange[0] in set(names) else "has"
            raise ValueError(
                f"the state {what} {strange[0]!r}, and differs from this {self.kind} adapter in {len(strange)} names "
                f"of {len(names)}: it belongs to another kind, other targets or another network"
            )
        for name in names:
            given, wanted = tuple(state[name].shape), tuple(there[name].shape)
            if given != wanted:
                raise ValueError(
                    f"{name} has the shape {given} in the state and {wanted} here: adapt with the rank and the targets "
                    "that it was trained with"
                )
            if state[name].is_floating_point() and not bool(torch.isfinite(state[name]).all()):
                raise ValueError(f"{name} holds NaN or infinity in the state: its training diverged")
        with torch.no_grad():
            for name in names:
                there[name].copy_(state[name])

    def merge(self) -> None:
        """Write the update into the weights, which then cost nothing more; :meth:`unmerge` undoes it, bit for bit.

        The weights that were there are kept, in memory and as large as those that are changed. What the network answers
        changes by rounding only.

        Raises ValueError for kinds whose update depends on the input, and for weights that another layer shares.
        """
        torch = require("torch", "torch", "ml.adapt", "ml")
        self._alive()
        if self.merged:
            return
        rigid = [place for place in self.placements if not hasattr(place.part, "changed")]
        if rigid or not self.placements:
            raise ValueError(f"{self.kind} cannot be merged into weights: lora and ia3 can")
        with torch.no_grad():
            self._check_mergeable()
            for place in self.placements:
                for name, value in place.part.changed(place.host).items():
                    weight = place.host.get_parameter(name)
                    self.unmerged[_full(place, name)] = weight.detach().clone()
                    weight.copy_(value)
                place.part.merged = True
                self.guards.append(place.host.register_load_state_dict_pre_hook(_refuse_weights))
            self.guards.append(self.module.register_load_state_dict_pre_hook(_refuse_weights))

    def _check_mergeable(self) -> None:
        every = dict(self.module.named_parameters(remove_duplicate=False))
        names = dict(self.module.named_modules(remove_duplicate=False))
        for place in self.placements:
            hosts = [name for name, layer in names.items() if layer is place.host]
            for name in place.part.changed(place.host):
                full = _full(place, name)
                if full not in every or not every[full].is_floating_point():
                    raise ValueError(
                        f"{full} is parametrised or stored in few bits: an update cannot be merged into it"
                    )
                ours = {f"{host}.{name}".lstrip(".") for host in hosts}
                shared = sorted(n for n, p in every.items() if _one_memory(p, every[full]) and n not in ours)
                if shared:
                    raise ValueError(f"{full} is shared with {shared[0]}: merging would change that layer too")

    def unmerge(self) -> None:
        """Take the update out of the weights, bit for bit."""
        torch = require("torch", "torch", "ml.adapt", "ml")
        self._alive()
        with torch.no_grad():
            for name, value in self.unmerged.items():
                self.module.get_parameter(name).copy_(value)
        self.unmerged.clear()
        self._let_weights_in()
        for place in self.placements:
            if hasattr(place.part, "merged"):
                place.part.merged = False

    def _let_weights_in(self) -> None:
        for guard in self.guards:
            guard.remove()
        self.guards.clear()

    def remove(self, keep_merged: bool = False) -> None:
        """Give the module back as it was before it was adapted, bit for bit; this handle is then done with.

        keep_merged : leave the merged weights, and what else was trained of the module's own, in it: a plain network
            with the trained numbers. Raises ValueError where nothing is merged
        """
        torch = require("torch", "torch", "ml.adapt", "ml")
        self._alive()
        inner = next((n for n, m in self.module.named_modules() if n and MARK in m.__dict__), None)
        if inner is not None:
            raise ValueError(
                f"{inner!r}, a part of the module, was adapted after it: call .remove() of that adapter first"
            )
        if keep_merged and not self.merged:
            raise ValueError("nothing is merged: call .merge() first, or .remove() without keep_merged")
        if not keep_merged:
            self.unmerge()
            there = self._tensors()
            with torch.no_grad():
                for name, value in self.originals.items():
                    there[name].copy_(value)
        self._let_weights_in()
        for handle in self.handles:
            handle.remove()
        for place in self.placements:
            place.detach()
        for name in self.nested:
            self.module.get_submodule(name).use_nested_tensor = True
        for name, parameter in self.module.named_parameters():
            if name in self.flags:  # ml.lean may have added others since
                parameter.requires_grad_(self.flags[name])
            if name in self.originals:
                parameter.grad = None
        del self.module.__dict__[MARK]

    def updates(self) -> dict[str, Any]:
        """Return the updates of a lora adapter as :class:`ml.LowRankUpdate`, NumPy copies, by the name of the weight.

        Weights of torch.nn.MultiheadAttention are called by the role of the update: `..self_attn.query`.

        Raises ValueError for another kind.
        """
        if self.kind != "lora":
            raise ValueError(f"{self.kind} is no low-rank update of weights; lora is")
        update = require("ml.tuning.low_rank_update", "rbm-toolkit", "Adapted.updates").LowRankUpdate
        parts = self.low_rank_parts().items()
        return {name: update(to_array(_widened(p.A)), to_array(_widened(p.B)), p.scale) for name, p in parts}

    def low_rank_parts(self) -> dict[str, Any]:
        """Return the parts of a lora adapter, with A (r, k), B (d, r) and `scale`, by the name of what they change."""
        found: dict[str, Any] = {}
        for place in self.placements:
            inner = dict(place.part.named_children())
            if inner:
                found |= {f"{place.name}.{role}".lstrip("."): part for role, part in inner.items()}
            else:
                found[f"{place.name}.weight".lstrip(".")] = place.part
        return found

    def fingerprints(self) -> tuple[str, str]:
        """Return SHA-256 of the names, types and shapes, and of the numbers, of all that is not in :meth:`state`.

        Weights that are merged count as they were. Raises ValueError on the meta device, where there are no numbers.
        """
        self._alive()
        ours = {*self.names, *self.running}
        rest = {n: self.unmerged.get(n, t) for n, t in self._tensors().items() if n not in ours}
        if any(t.is_meta for t in rest.values()):
            raise ValueError("the module is on the meta device and has no numbers: load them first")
        layout = digest({f"{n} {tuple(t.shape)}": to_array(t.new_zeros(0)) for n, t in rest.items()})
        # one tensor at a time: the network may fill the memory
        numbers = {n: np.frombuffer(bytes.fromhex(digest({n: to_array(t)})), np.uint8) for n, t in rest.items()}
        return layout, digest(numbers)

    def _tensors(self) -> dict[str, Any]:
        return self.module.state_dict(keep_vars=True)

    def _alive(self) -> None:
        if MARK not in self.module.__dict__:
            raise ValueError("this adapter was removed from its module: adapt the module anew")


def _refuse_weights(module: Any, *given: Any) -> None:
    """Hook before weights are loaded into a module."""
    raise ValueError(
        "the weights hold the update of an adapter, and its .unmerge() would put back those that were there before: "
        "call .unmerge() before .load_state_dict(..), or .remove(keep_merged=True) where they are to stay"
    )


def _full(place: Placement, name: str) -> str:
    return f"{place.name}.{name}".lstrip(".")


def _widened(tensor: Any) -> Any:
    """Return numbers of a type that NumPy has: single precision for half."""
    return tensor.detach().float() if tensor.element_size() < 4 else tensor.detach()


def _one_memory(first: Any, second: Any) -> bool:
    """Return whether two parameters are one, or lie in the same memory."""
    return first is second or (first.data_ptr() != 0 and first.data_ptr() == second.data_ptr())
