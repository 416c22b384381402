"""The last layers of the sentence encoder, evaluated alone: what goes into them is computed once and kept.

Keys, queries and values of the first of them are kept, too, without what LoRA adds; linear layers see no padding.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

import numpy as np

from benchmarks.mezo_reviews import LOGS, VALIDATION
from ml.tasks.reviews import ReviewTask, classifier
from ml.tuning.adapt import adapt

RANK = 8
#: Sentences that are evaluated at a time, of about equal length.
SLICE = 64
#: Linear layers of one layer of the encoder.
PATHS = {
    **{role: f"attention.self.{role}" for role in ("query", "key", "value")},
    "out": "attention.output.dense",
    "up": "intermediate.dense",
    "down": "output.dense",
}


class Tail:
    """The layers of the network from one on, with its head; LoRA of rank 8 in all of them.

    roles : the linear layers that have it. By default keys, with B from the mean query and A = 0; of others A is drawn,
        B = 0, and alpha is 16, as in benchmarks/adapters.py
    """

    def __init__(
        self,
        task: ReviewTask,
        first: int,
        head: Sequence[np.ndarray],
        states: dict[int, Any],
        roles: Sequence[str] = (),
    ) -> None:
        import torch

        self.first, self.lengths, self.labels = first, task.lengths, torch.from_numpy(task.labels)
        self.starts = np.concatenate([[0], np.cumsum(task.lengths)])
        self.whole = classifier(rng=0).eval()
        with torch.no_grad():
            for parameter, values in zip(self.whole.classifier.parameters(), head, strict=True):
                parameter.copy_(torch.from_numpy(values))
        self.layers = self.whole.encoder.encoder.layer[first:]
        self.x = torch.from_numpy(np.asarray(states[first]))
        attention = self.layers[0].attention.self
        mean_queries = [
            layer.attention.self.query(torch.from_numpy(states[first + k][::7].mean(0))).detach()
            for k, layer in enumerate(self.layers)
        ]
        with torch.no_grad():
            linear = (attention.query, attention.key, attention.value)
            self.kept = [torch.cat([f(part) for part in self.x.split(20000)]) for f in linear]
        names = [
            f"encoder.encoder.layer.{first + k}.{PATHS[r]}" for k in range(len(self.layers)) for r in roles or ["key"]
        ]
        alpha = 16.0 if roles else None
        adapt(self.whole, "lora", rank=RANK, alpha=alpha, targets=names, train=["classifier"], rng=0)
        self.mean_queries = {first + k: float(query.norm()) for k, query in enumerate(mean_queries)}
        if not roles:
            self.parts = {first + k: layer.attention.self.key.ml_adapter for k, layer in enumerate(self.layers)}
            self._start_keys(mean_queries)

    def _start_keys(self, mean_queries: Sequence[Any]) -> None:
        import torch

        heads = self.whole.encoder.config.num_attention_heads
        waves = torch.cos(np.pi / heads * torch.outer(torch.arange(RANK), torch.arange(heads) + 0.5))
        waves[1:] /= 2
        with torch.no_grad():
            for part, query in zip(self.parts.values(), mean_queries, strict=True):
                part.A.zero_()
                part.B.copy_((waves[:, :, None] * query.view(1, heads, -1)).reshape(RANK, -1).T)

    def put(self, layer: int, a: np.ndarray) -> None:
        """Set A (8, 384) of a layer."""
        import torch

        with torch.no_grad():
            self.parts[layer].A.copy_(torch.from_numpy(a))

    def logits(self, which: np.ndarray) -> Any:
        """Return the logits of sentences (n, 2), in their order; a tensor."""
        import torch

        order = np.argsort(self.lengths[which], kind="stable")
        slices = np.split(order, range(SLICE, len(order), SLICE))
        found = torch.cat([self._slice(which[part]) for part in slices])
        return found[torch.from_numpy(np.argsort(order))]

    def loss(self, which: np.ndarray) -> Any:
        """Return the mean cross-entropy, a tensor."""
        import torch

        return torch.nn.functional.cross_entropy(self.logits(which), self.labels[which])

    def _slice(self, which: np.ndarray) -> Any:
        """Return logits; linear layers see no padding, and keys, queries and values of the first layer are kept."""
        import torch

        lengths = torch.from_numpy(self.lengths[which])
        inside = torch.arange(int(lengths.max()))[None] < lengths[:, None]
        places = torch.from_numpy(self.starts[which])[:, None] + torch.arange(inside.shape[1])
        flat = places[inside]

        def padded(rows: Any) -> Any:
            return torch.zeros(*inside.shape, rows.shape[1]).masked_scatter(inside[..., None], rows)

        h = self.x[flat]
        for k, layer in enumerate(self.layers):
            attention = layer.attention.self
            three = [attention.query, attention.key, attention.value]
            if k:
                rows = [linear(h) for linear in three]
            else:
                rows = [
                    kept[flat] + linear.ml_adapter(h) if hasattr(linear, "ml_adapter") else kept[flat]
                    for kept, linear in zip(self.kept, three, strict=True)
                ]
            size = (*inside.shape, -1, attention.attention_head_size)
            mixed = torch.nn.functional.scaled_dot_product_attention(
                *(padded(row).view(size).transpose(1, 2) for row in rows), attn_mask=inside[:, None, None]
            )
            attended = layer.attention.output(mixed.transpose(1, 2).flatten(2)[inside], h)
            h = layer.output(layer.intermediate(attended), attended)
        sums = torch.zeros(len(which), h.shape[1]).index_add(0, torch.arange(len(which)).repeat_interleave(lengths), h)
        return self.whole.classifier(sums / lengths[:, None])


@functools.cache
def states(task: ReviewTask, layers: tuple[int, ...]) -> dict[int, np.ndarray]:
    """Return what goes into some layers, for all tokens (tokens, 384); kept in out/mezo_reviews."""
    import torch

    paths = {layer: LOGS / f"inputs-{layer}.npy" for layer in layers}
    LOGS.mkdir(parents=True, exist_ok=True)
    if not all(path.is_file() for path in paths.values()):
        starts, made = np.concatenate([[0], np.cumsum(task.lengths)]), classifier(rng=0).eval()
        found = {layer: np.empty((starts[-1], 384), np.float32) for layer in layers}
        order = np.argsort(task.lengths, kind="stable")
        with torch.inference_mode():
            for part in np.split(order, range(SLICE, len(order), SLICE)):
                seen = made.encoder(**task.batch(part), output_hidden_states=True).hidden_states
                for layer, rows in found.items():
                    for row, i in enumerate(part):
                        rows[starts[i] : starts[i + 1]] = seen[layer][row, : task.lengths[i]].numpy()
        for layer, rows in found.items():
            np.save(paths[layer], rows)
    return {layer: np.load(path, mmap_mode="c") for layer, path in paths.items()}


def asked(tail: Tail, task: ReviewTask) -> dict[str, Any]:
    """Return loss and accuracy on the validation, and the answers to what is held out."""
    import torch

    found: dict[str, Any] = {}
    with torch.inference_mode():
        for name, which in (("validation", task.training[-VALIDATION:]), ("held_out", task.held_out)):
            logits = tail.logits(which)
            right = (logits.argmax(1) == tail.labels[which]).numpy()
            found |= {name: float(right.mean()),
                      f"{name}_loss": float(torch.nn.functional.cross_entropy(logits, tail.labels[which]))}  # fmt: skip
    return {**found, "right": "".join(str(int(r)) for r in right)}


def line(row: dict[str, Any]) -> str:
    """Return what is said of a network while others are still to be chosen: nothing of what is held out."""
    return f"validation {row['validation']:.4f}, loss {row['validation_loss']:.4f}"
