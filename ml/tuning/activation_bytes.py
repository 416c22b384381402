"""Bytes that a pass through a module keeps for backward, by operation."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from lowrank.optional import require

__all__ = ["activation_bytes"]


def activation_bytes(module: Any, batch: Any) -> dict[str, int]:
    """Return how many bytes each kind of operation keeps for the backward pass of one batch.

    Every tensor that autograd saves is seen (torch.autograd.graph.saved_tensors_hooks); each piece of memory counts
    once, whole, for the operation nearest to the input that keeps it, because autograd keeps storages and not views.
    Memory of the module's parameters and buffers does not count; that of the batch does where it is kept. Operations
    are named as PyTorch names the nodes of its graph. The sum is the memory that one pass adds and backward frees; what
    is held for a moment inside an operation is not in it.

    module : torch.nn.Module in the mode (training or not) it is to be measured in; batch : tensor, tuple of arguments,
        or dictionary of named ones

    Raises TypeError for what is no module, ValueError where the output has no gradient.

    Examples
    --------
    >>> ml.activation_bytes(network, batch)  # doctest: +SKIP
    {'CodedElementwise': 6291456, 'CodedAttention': 11943936, 'CodedNorm': 2555904}
    """
    torch = require("torch", "torch", "ml.activation_bytes", "ml")
    if not isinstance(module, torch.nn.Module):
        raise TypeError(f"module must be a torch.nn.Module, got {type(module).__name__}")
    saved: list[Any] = []
    owners: dict[int, str] = {}
    current = ""

    def pack(tensor: Any) -> int:
        saved.append(tensor.detach())
        return len(saved) - 1

    def unpack(k: int) -> Any:
        if current:  # a lean module looks at what its first pass keeps
            owners.setdefault(k, current)
        return saved[k]

    with torch.enable_grad(), torch.autograd.graph.saved_tensors_hooks(pack, unpack):
        if isinstance(batch, Mapping):
            output = module(**batch)
        else:
            output = module(*batch) if isinstance(batch, tuple | list) else module(batch)
    roots = [t.grad_fn for t in _tensors(output) if t.grad_fn is not None]
    if not roots:
        raise ValueError(f"the output of {type(module).__name__} has no gradient: nothing is kept for backward")
    for node in _nodes(roots):
        current = node.name().removesuffix("0").removesuffix("Backward")
        for name in dir(node):
            if name.startswith("_saved_") or name == "saved_tensors":
                getattr(node, name, None)
    there = {_storage(t).data_ptr() for t in (*module.parameters(), *module.buffers())}
    found: dict[str, int] = {}
    for k in range(len(saved)):
        storage = _storage(saved[k])
        if storage.nbytes() and storage.data_ptr() not in there:
            there.add(storage.data_ptr())
            name = owners.get(k, "other")
            found[name] = found.get(name, 0) + storage.nbytes()
    return dict(sorted(found.items(), key=lambda pair: -pair[1]))


def _storage(tensor: Any) -> Any:
    return tensor.untyped_storage()


def _tensors(output: Any) -> Iterator[Any]:
    """Return the tensors in an output, which may be nested."""
    if hasattr(output, "grad_fn"):
        yield output
    elif isinstance(output, Mapping):
        for part in output.values():
            yield from _tensors(part)
    elif isinstance(output, tuple | list):
        for part in output:
            yield from _tensors(part)


def _nodes(roots: list[Any]) -> Iterator[Any]:
    """Return the nodes of a graph, each once."""
    waiting, seen = list(roots), set(roots)
    while waiting:
        node = waiting.pop()
        yield node
        for following, _ in node.next_functions:
            if following is not None and following not in seen:
                seen.add(following)
                waiting.append(following)
