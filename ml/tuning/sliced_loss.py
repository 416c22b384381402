"""The cross-entropy of a language model in slices, so that the logits, its largest array, are never all there."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from lowrank.optional import require

__all__ = ["language_model_loss", "sliced_cross_entropy"]

#: Options of transformers' models that change logits after the last layer.
CHANGES = ("final_logit_softcapping", "logit_scale", "logits_scaling")


def sliced_cross_entropy(
    hidden: Any, head: Callable[[Any], Any], targets: Any, *, rows: int = 64, ignore_index: int = -100
) -> float:
    """Return the mean cross-entropy of head(hidden) against targets, with the logits of a few positions at a time.

    hidden : (..., d) tensor; head : a module or function (k, d) -> (k, vocabulary); targets : (...,) of token ids,
    those equal to `ignore_index` left out; rows : positions at a time: rows x vocabulary logits are there. Sums are
    double.

    No gradient is recorded. Raises ValueError for targets of another shape, none that counts, rows below 1.
    """
    torch = require("torch", "torch", "ml.sliced_cross_entropy", "ml")
    if tuple(targets.shape) != tuple(hidden.shape[:-1]):
        raise ValueError(f"targets must have the shape {tuple(hidden.shape[:-1])}, got {tuple(targets.shape)}")
    if rows < 1:
        raise ValueError(f"rows must be 1 or above, got {rows}")
    with torch.no_grad():
        wanted = targets.reshape(-1)
        chosen = (wanted != ignore_index).nonzero()[:, 0]
        if not len(chosen):
            raise ValueError(f"no target counts: all {len(wanted)} are {ignore_index}")
        flat, total = hidden.reshape(-1, hidden.shape[-1]), 0.0
        for part in chosen.split(rows):
            losses = torch.nn.functional.cross_entropy(head(flat[part]).float(), wanted[part], reduction="none")
            total += float(losses.double().sum())
    return total / len(chosen)


def language_model_loss(network: Any, inputs: Mapping[str, Any], targets: Any, *, rows: int = 64) -> float:
    """Return the mean cross-entropy of a causal language model of transformers, the logits in slices.

    network : with get_decoder() and get_output_embeddings()
    inputs : arguments of the network: input_ids (b, t), or inputs_embeds (b, t, d), which may begin with a soft prompt;
        attention_mask and others
    targets : (b, t) of the ids that *stand* at each position, -100 for those that do not count (a prompt, padding); the
        answer at position i is compared with the target at i + 1

    Equal to network(**inputs, labels=targets).loss up to rounding. Raises TypeError for a network without these two
    methods, and ValueError for one whose logits are changed after the last layer.
    """
    head = network.get_output_embeddings() if hasattr(network, "get_output_embeddings") else None
    decoder = network.get_decoder() if hasattr(network, "get_decoder") else None
    if head is None or decoder is None or decoder is network:
        raise TypeError(
            f"{type(network).__name__} is no causal language model of transformers; use ml.sliced_cross_entropy"
        )
    config = network.config
    changed = [name for name in CHANGES if getattr(config, name, None) not in (None, 1, 1.0)]
    if changed:
        raise ValueError(
            f"{type(network).__name__} changes its logits by {', '.join(changed)}: use ml.sliced_cross_entropy "
            "with a head "
            "that does it"
        )
    torch = require("torch", "torch", "ml.language_model_loss", "ml")
    with torch.no_grad():
        hidden = decoder(**{"use_cache": False, **inputs}).last_hidden_state
    return sliced_cross_entropy(hidden[:, :-1], head, targets[:, 1:], rows=rows)
