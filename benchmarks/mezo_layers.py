"""LoRA of rank 8 in the keys of the last layers, by differences on one core: ``python -m benchmarks.mezo_layers``.

What goes into a layer below which nothing is trained is computed once and kept, so that a step costs the layers above
it alone. Keys get b_r a_r^T x, r = 1 .. 8: b_r, in B, comes from the mean query q of the layer, which is seen without
labels: its twelve heads times cos(pi r (h + 1/2) / 12), halved for r > 0. Every token then looks more at tokens x with
a large a_r^T x. A is trained from zero, as A = C diag(w) U^T with the principal axes U of the layer's inputs and
w_i = min(1, lambda_i / lambda_8)^{1/2}: a move of C goes mostly along the first axes, where the gradient stands out of
the noise of a batch. Layer by layer, the last one first, below the head of benchmarks/mezo_reviews.py. Runs write
their logs to out/mezo_reviews and go on from them; results are kept case by case in mezo_reviews.json.
"""

from __future__ import annotations

import functools
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from itertools import islice
from typing import Any

import numpy as np

from benchmarks.harness import machine
from benchmarks.mezo_reviews import HEAD, LOGS, RESULTS, VALIDATION, head_by_differences, shorter
from ml.chunks.kept_cases import KeptCases
from ml.studies.mezo_cases import mcnemar
from ml.tasks.classification import draws
from ml.tasks.reviews import ReviewTask, classifier, review_task
from ml.tuning.adapt import adapt
from ml.tuning.zeroth_order import mezo

RANK, CUT, EPS = 8, 8, 0.1
SEEDS = 3
#: Sentences that are evaluated at a time, of about equal length.
SLICE = 64
#: AdamW on the same A, and the head with them: steps of 32 sentences, rates of which the validation chooses.
ADAMW: dict[str, Any] = {"steps": 320, "batch": 32, "rates": [5e-4, 2e-3]}


@dataclass(frozen=True)
class Stage:
    """A run of :func:`ml.mezo` on A of one layer, with a rate that falls linearly to zero."""

    layer: int
    steps: int
    batch: int
    rate: float


STAGES = (Stage(5, 150, 256, 3.0), Stage(4, 100, 256, 3.0))


class Tail:
    """The layers of the network from one on, with its head; keys of all of them have LoRA."""

    def __init__(self, task: ReviewTask, first: int, head: Sequence[np.ndarray], states: dict[int, Any]) -> None:
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
        names = [f"encoder.encoder.layer.{first + k}.attention.self.key" for k in range(len(self.layers))]
        self.adapted = adapt(self.whole, "lora", rank=RANK, targets=names, train=["classifier"], rng=0)
        self.mean_queries = {first + k: float(query.norm()) for k, query in enumerate(mean_queries)}
        self.parts = {first + k: layer.attention.self.key.ml_adapter for k, layer in enumerate(self.layers)}
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
            if k:
                three = [f(h) for f in (attention.query, attention.key, attention.value)]
            else:
                query, key, value = (kept[flat] for kept in self.kept)
                three = [query, key + attention.key.ml_adapter(h), value]
            size = (*inside.shape, -1, attention.attention_head_size)
            mixed = torch.nn.functional.scaled_dot_product_attention(
                *(padded(rows).view(size).transpose(1, 2) for rows in three), attn_mask=inside[:, None, None]
            )
            attended = layer.attention.output(mixed.transpose(1, 2).flatten(2)[inside], h)
            h = layer.output(layer.intermediate(attended), attended)
        sums = torch.zeros(len(which), h.shape[1]).index_add(0, torch.arange(len(which)).repeat_interleave(lengths), h)
        return self.whole.classifier(sums / lengths[:, None])


@functools.cache
def states(task: ReviewTask) -> dict[int, np.ndarray]:
    """Return what goes into the layers that are trained, for all tokens (tokens, 384); kept in out/mezo_reviews."""
    import torch

    layers = sorted({stage.layer for stage in STAGES})
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


def axes(inputs: np.ndarray, query: float) -> np.ndarray:
    """Return diag(w) U^T (384, 384) of a layer's inputs, of which every seventh token is looked at.

    query : |q|; w is scaled so that a row of C of normal numbers changes scores by one in the root mean square, as
        their mean over heads is |q|^2 a^T x / (12 32^{1/2})
    """
    some = inputs[::7].astype(np.float64)
    values, vectors = np.linalg.eigh(some.T @ some / len(some))
    values, vectors = values[::-1], vectors[:, ::-1]
    w = np.minimum(1, values / values[CUT]) ** 0.5
    w *= 12 * 32**0.5 / (query**2 * np.sum(w**2 * values) ** 0.5)
    return np.asarray(w[:, None] * vectors.T, dtype=np.float32)


def by_differences(task: ReviewTask, seed: int) -> dict[str, Any]:
    """Train A layer by layer; return accuracies after every stage, on the validation and on what is held out."""
    import torch

    head, inputs, training = head_by_differences(task), states(task), shorter(task).training
    began = time.process_time()
    trained: dict[int, np.ndarray] = {}
    rows: list[dict[str, Any]] = []
    for number, stage in enumerate(STAGES):
        tail = Tail(task, min(s.layer for s in STAGES[: number + 1]), head, inputs)
        for layer, a in trained.items():
            tail.put(layer, a)
        if not rows:
            rows.append(_asked(tail, task))
        scaled, moved = axes(inputs[stage.layer], tail.mean_queries[stage.layer]), np.zeros((RANK, 384), np.float32)

        def loss(
            c: list[np.ndarray], step: int, stage: Stage = stage, tail: Tail = tail, scaled: Any = scaled
        ) -> float:
            tail.put(stage.layer, c[0] @ scaled)
            which = np.random.default_rng([seed, stage.layer, step]).choice(training, stage.batch, replace=False)
            with torch.inference_mode():
                return float(tail.loss(which))

        log = LOGS / f"keys-{seed}-{'-'.join(f'{v:g}' for s in STAGES[: number + 1] for v in asdict(s).values())}.mezo"
        run = mezo(loss, [moved], steps=stage.steps, rate=stage.rate, eps=EPS, schedule="linear",
                   rng=10 * seed + stage.layer, log=log, stop=_tell)  # fmt: skip
        trained[stage.layer] = moved @ scaled
        tail.put(stage.layer, trained[stage.layer])
        rows.append({"layer": stage.layer, **_asked(tail, task), "losses": run.losses.tolist(),
                     "cpu_seconds": time.process_time() - began})  # fmt: skip
        print(f"  seed {seed}, layer {stage.layer}: {_line(rows[-1])}", file=sys.stderr, flush=True)
    return {"trained": 770 + len(trained) * RANK * 384, "nbytes": 16 * (HEAD.steps + sum(s.steps for s in STAGES)),
            "stages": rows, **{k: rows[-1][k] for k in ("held_out", "right", "cpu_seconds")},
            "against_head": mcnemar(*(np.array(list(r["right"])) == "1" for r in (rows[0], rows[-1])))}  # fmt: skip


def _tell(step: int, value: float) -> bool:
    if step % 25 == 24:
        print(f"  step {step + 1}, loss {value:.3f}", file=sys.stderr, flush=True)
    return False


def _asked(tail: Tail, task: ReviewTask) -> dict[str, Any]:
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


def _line(row: dict[str, Any]) -> str:
    return f"validation {row['validation']:.4f}, loss {row['validation_loss']:.4f}"


def by_gradients(task: ReviewTask) -> dict[str, Any]:
    """Train A of all those layers and the head by AdamW, from the same start; return the better of the rates."""
    import torch

    best: dict[str, Any] = {}
    for rate in ADAMW["rates"]:
        tail = Tail(task, min(s.layer for s in STAGES), head_by_differences(task), states(task))
        for name, parameter in tail.whole.named_parameters():
            parameter.requires_grad_(name.startswith("classifier") or name.endswith("key.ml_adapter.A"))
        parameters = [p for p in tail.whole.parameters() if p.requires_grad]
        optimizer = torch.optim.AdamW(parameters, lr=rate)
        decay = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.0, ADAMW["steps"])
        for which in islice(draws(shorter(task), ADAMW["batch"], np.random.default_rng(0)), ADAMW["steps"]):
            optimizer.zero_grad()
            tail.loss(which).backward()
            torch.nn.utils.clip_grad_norm_(parameters, 1.0)
            optimizer.step()
            decay.step()
        found = {"rate": rate, "trained": sum(p.numel() for p in parameters), **_asked(tail, task)}
        print(f"  AdamW, rate {rate:g}: {_line(found)}", file=sys.stderr, flush=True)
        if not best or found["validation_loss"] < best["validation_loss"]:
            best = found
    return best


def best_by_gradients() -> np.ndarray:
    """Return which held-out sentences LoRA of rank 8 in all layers answers rightly after AdamW (seeds, 2600)."""
    cases = KeptCases(RESULTS.with_name("adapters.json")).cases
    runs = [case["result"] for name, case in cases.items() if name.startswith("reviews, run lora, rank 8 ")]
    return np.array([np.unpackbits(np.frombuffer(bytes.fromhex(r["right"]), np.uint8))[: r["asked"]] for r in runs])


def against(right: np.ndarray, other: np.ndarray) -> tuple[float, float]:
    """Return the mean difference in points of runs (a, n) to others (b, n), and half of its 95 % interval.

    Sentences and seeds vary: variance of the means over seeds of each sentence, and of the seeds' means on each side.
    """
    off = right.mean(0) - other.mean(0)
    variance = off.var() / len(off) + sum(r.mean(1).var(ddof=1) / len(r) for r in (right, other) if len(r) > 1)
    return 100 * float(off.mean()), 196 * float(variance**0.5)


def measure(say: Callable[[str], None] = print) -> dict[str, Any]:
    """Do what is left to do, and return all results."""
    task, kept, found = review_task(), KeptCases(RESULTS), {}
    given = {"head": asdict(HEAD), "rank": RANK, "cut": CUT, "eps": EPS, "stages": [asdict(s) for s in STAGES]}
    for seed in range(SEEDS):
        name = f"keys of the last layers, differences {seed}"
        found[name] = kept.case(name, {**given, "seed": seed}, lambda seed=seed: by_differences(task, seed))  # type: ignore[misc]
        one = found[name]["against_head"]
        say(f"{name}: {found[name]['held_out']:.4f}, gained {one['gained']}, lost {one['lost']}, p {one['p']:.1e}")
    right = np.array([[c == "1" for c in run["right"]] for run in found.values()], dtype=float)
    start = np.array([[c == "1" for c in found[name]["stages"][0]["right"]]], dtype=float)
    name = "keys of the last layers, gradients"
    layers = [stage.layer for stage in STAGES]
    found[name] = kept.case(name, {**ADAMW, "rank": RANK, "layers": layers}, lambda: by_gradients(task))
    same = np.array([[c == "1" for c in found[name]["right"]]], dtype=float)
    say(f"{name}: {found[name]['held_out']:.4f}, rate {found[name]['rate']:g}")
    others = {
        "the head alone": start,
        "AdamW on the same numbers": same,
        "AdamW, LoRA in all layers": best_by_gradients(),
    }
    for what, other in others.items():
        off, half = against(right, other)
        say(f"mean of {len(right)} seeds {right.mean():.4f}, against {what}: {off:+.2f} +- {half:.2f} points (95 %)")
    return found


if __name__ == "__main__":
    import torch

    torch.set_num_threads(1)
    print(", ".join(f"{key} {value}" for key, value in machine().items()))
    measure()
