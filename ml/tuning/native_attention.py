"""Weights of torch.nn.MultiheadAttention: its rows by role, and a forward pass with changed weights."""

from __future__ import annotations

from typing import Any

from ml.tuning.placement import is_merged, part_of

__all__ = ["RUN_CHANGED", "projection", "restore_weights", "rows_of", "show_changed_weights"]


def projection(attention: Any, role: str) -> tuple[str, Any]:
    """Return name and parameter that hold the weight of a role: query, key, value or out."""
    if role == "out":
        return "out_proj.weight", attention.out_proj.weight
    if attention.in_proj_weight is not None:
        return "in_proj_weight", attention.in_proj_weight
    name = f"{role[0]}_proj_weight"
    return name, getattr(attention, name)


def rows_of(attention: Any, role: str) -> slice:
    """Return the rows of that parameter, or of the common bias, that a role has."""
    if role == "out":
        return slice(None)
    at = ("query", "key", "value").index(role) * attention.embed_dim
    return slice(at, at + attention.embed_dim)


def show_changed_weights(attention: Any, args: Any, kwargs: Any) -> None:
    """Hook before an attention: let its forward pass see the weights that its part makes of them.

    It reads its weights as attributes, and an entry of the instance comes before its parameter of the same name.
    """
    part = part_of(attention)
    if is_merged(attention, part):
        return
    for name, value in part.changed(attention).items():
        owner, _, attribute = name.rpartition(".")
        (attention.get_submodule(owner) if owner else attention).__dict__[attribute] = value


def restore_weights(attention: Any, args: Any, kwargs: Any, output: Any) -> None:
    """Hook after an attention, run after an error too: its parameters are seen again."""
    for name in ("in_proj_weight", "in_proj_bias", "q_proj_weight", "k_proj_weight", "v_proj_weight"):
        attention.__dict__.pop(name, None)
    attention.out_proj.__dict__.pop("weight", None)


RUN_CHANGED = (show_changed_weights, restore_weights)
