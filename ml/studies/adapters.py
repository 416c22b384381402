"""The study ``rbm study adapters``: kinds of adapters and full fine-tuning with the same effort, on film reviews."""

from __future__ import annotations

import dataclasses
import json
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from lowrank.writing import write_atomically
from ml.chunks.kept_cases import KeptCases
from ml.tasks.reviews import ReviewTask, answers, classifier, review_task, train
from ml.tuning.adapt import adapt

__all__ = ["METHODS", "SMALL", "WHOLE", "Method", "Sizes", "measure", "run", "table"]

#: Bytes that AdamW keeps for every trained number, in single precision.
MOMENTS = 8
#: Half a 95 % interval in standard errors.
NORMAL = 1.96


@dataclass(frozen=True)
class Method:
    """A way to train the network, with the two learning rates that it may choose from."""

    name: str
    kind: str | None  #: of an adapter; None trains all
    options: Mapping[str, Any]
    rates: tuple[float, float]


METHODS = (
    Method("all weights", None, {}, (5e-5, 2e-4)),
    Method("head alone", "head", {}, (3e-3, 2e-2)),
    Method("lora, rank 8", "lora", {"rank": 8, "alpha": 16}, (5e-4, 2e-3)),
    Method("bottleneck 32, one", "bottleneck", {"rank": 32, "after": ["feed_forward"]}, (5e-4, 2e-3)),
    Method("bottleneck 32, two", "bottleneck", {"rank": 32}, (5e-4, 2e-3)),
    Method("bottleneck 32, parallel", "bottleneck", {"rank": 32, "parallel": True}, (5e-4, 2e-3)),
    Method("biases", "bitfit", {}, (1e-3, 5e-3)),
    Method("normalisations", "norms", {}, (1e-3, 5e-3)),
    Method("ia3", "ia3", {}, (3e-3, 1.5e-2)),
    Method("adapter bias", "adapter_bias", {}, (2e-3, 1e-2)),
    Method("prefix 16", "prefix", {"length": 16}, (2e-3, 1e-2)),
    Method("weighted sum", "weighted_sum", {}, (3e-3, 2e-2)),
)


@dataclass(frozen=True)
class Sizes:
    """How much is trained and asked."""

    steps: int = 350  #: of 32 sentences, for every method
    trial: int = 80  #: steps with each of the two rates
    seeds: int = 3
    validation: int = 1000  #: sentences that the rate is chosen by, not trained on
    held_out: int = 2600  #: that the table is about
    batch_size: int = 32


WHOLE = Sizes()
#: What ``rbm study adapters`` takes: about an hour of one core.
SMALL = Sizes(steps=100, trial=25, seeds=1, validation=400, held_out=1500)


def run(
    name: str,
    out: Path,
    tol: float | None = None,
    *,
    sizes: Sizes = SMALL,
    methods: Sequence[Method] = METHODS,
    say: Callable[[str], None] = print,
) -> dict[str, Any]:
    """Run the study, and write cases.json and summary.json to the folder `out`; return the summary.

    The sentence encoder all-MiniLM-L6-v2 with a linear head answers whether a sentence of a film review is for or
    against. Every method has the same effort: two rates are tried in short runs, the better one, by sentences that are
    neither trained on nor in the table, takes the long runs. Each run is kept when it is done: a study that was stopped
    goes on from there.

    Raises ValueError where `tol` is given: there is no tolerance here. ImportError, with the line that brings it, for
    material that is missing.
    """
    if tol is not None:
        raise ValueError(f"the study {name!r} has no tolerance, got tol={tol}: leave it out")
    out.mkdir(parents=True, exist_ok=True)
    say("Film reviews, for or against: all-MiniLM-L6-v2 with a linear head")
    task = review_task(held_out=sizes.held_out)
    summary = measure(KeptCases(out / "cases.json"), task, sizes, methods, say, lambda rng: classifier(rng=rng))
    write_atomically(out / "summary.json", (json.dumps(summary, indent=1) + "\n").encode())
    say(table(summary))
    say(f"cases.json and summary.json are in {out}")
    return summary


def measure(
    kept: KeptCases,
    task: ReviewTask,
    sizes: Sizes,
    methods: Sequence[Method],
    say: Callable[[str], None],
    make: Callable[[int], Any],
) -> dict[str, Any]:
    """Return the results of all methods: those that are kept, and the others, which are measured now.

    make : a new network by its seed, with a head called `classifier`
    """
    shorter = dataclasses.replace(task, training=task.training[: -sizes.validation])
    validation = task.training[-sizes.validation :]
    results: dict[str, list[dict[str, Any]]] = {}

    def case(label: str, method: Method, rate: float, steps: int, seed: int, which: np.ndarray) -> dict[str, Any]:
        settings = _settings(method, rate, steps, seed, sizes)
        one = kept.case(label, settings, lambda: _one(make, shorter, which, method, rate, steps, seed, sizes))
        say(f"  {method.name}, rate {rate:g}, seed {seed}: {one['accuracy']:.3f} after {steps} steps")
        return dict(one)

    chosen = {}
    for seed in range(sizes.seeds):
        for method in methods:
            if not seed:
                tried = [
                    case(f"trial {method.name} {rate:g}", method, rate, sizes.trial, 0, validation)["accuracy"]
                    for rate in method.rates
                ]
                chosen[method.name] = method.rates[int(np.argmax(tried))]
            one = case(f"run {method.name} {seed}", method, chosen[method.name], sizes.steps, seed, task.held_out)
            results.setdefault(method.name, []).append(one)
    return {"sizes": dataclasses.asdict(sizes), "methods": _summary(results, chosen)}


def _settings(method: Method, rate: float, steps: int, seed: int, sizes: Sizes) -> dict[str, Any]:
    return {
        "kind": method.kind, "options": dict(method.options), "rate": rate, "steps": steps, "seed": seed,
        "validation": sizes.validation, "held_out": sizes.held_out, "batch_size": sizes.batch_size,
    }  # fmt: skip


def _one(
    make: Callable[[int], Any],
    task: ReviewTask,
    which: np.ndarray,
    method: Method,
    rate: float,
    steps: int,
    seed: int,
    sizes: Sizes,
) -> dict[str, Any]:
    """Train a new network by a method, and ask it."""
    network = make(seed)
    total = sum(p.numel() for p in network.parameters())
    trained = total
    if method.kind is not None:
        trained = adapt(network, method.kind, train=["classifier"], rng=seed, **method.options).n_trained
    start = time.process_time()
    losses = train(network, task, steps=steps, batch_size=sizes.batch_size, learning_rate=rate, rng=seed)
    seconds = time.process_time() - start
    found = answers(network, task, which)
    return {
        "trained": trained, "total": total, "accuracy": found.value, "right": np.packbits(found.right).tobytes().hex(),
        "asked": len(which), "cpu_seconds": seconds, "optimizer_bytes": MOMENTS * trained,
        "loss_last": float(np.mean(losses[-20:])),
    }  # fmt: skip


def _summary(results: Mapping[str, Sequence[Mapping[str, Any]]], rates: Mapping[str, float]) -> dict[str, Any]:
    """Return the figures of every method, beside those of training all weights, sentence by sentence.

    The interval of the difference is of sentences drawn anew, with the seeds' means as answers; the spread over seeds
    is given by itself.
    """
    first = _means(results[METHODS[0].name]) if METHODS[0].name in results else None
    summary = {}
    for name, runs in results.items():
        mean = _means(runs)
        accuracies = [r["accuracy"] for r in runs]
        row = {
            "rate": rates[name], "trained": runs[0]["trained"], "share": runs[0]["trained"] / runs[0]["total"],
            "accuracy": float(np.mean(mean)), "standard_error": float(np.std(mean) / math.sqrt(len(mean))),
            "accuracies": accuracies, "cpu_seconds": float(np.mean([r["cpu_seconds"] for r in runs])),
            "optimizer_bytes": runs[0]["optimizer_bytes"],
        }  # fmt: skip
        if first is not None:
            off = mean - first
            row["difference"] = float(np.mean(off))
            row["half_width"] = float(NORMAL * np.std(off) / math.sqrt(len(off)))
        summary[name] = row
    return summary


def _means(runs: Sequence[Mapping[str, Any]]) -> np.ndarray:
    """Return the share of the runs that answered each sentence rightly."""
    rows = [np.unpackbits(np.frombuffer(bytes.fromhex(r["right"]), np.uint8))[: r["asked"]] for r in runs]
    return np.mean(np.array(rows, dtype=float), axis=0)


def table(summary: Mapping[str, Any]) -> str:
    """Return the figures as text."""
    lines = [
        f"{'method':<26}{'trained':>12}{'share':>9}{'rate':>9}{'accuracy':>20}{'to all weights, points':>26}"
        f"{'CPU s':>8}{'optimiser':>13}"
    ]
    for name, row in summary["methods"].items():
        off = f"{100 * row['difference']:+.1f} +- {100 * row['half_width']:.1f}" if "difference" in row else ""
        accuracy = f"{row['accuracy']:.3f} +- {NORMAL * row['standard_error']:.3f}"
        lines.append(
            f"{name:<26}{row['trained']:>12,}{row['share']:>9.2%}{row['rate']:>9.2g}{accuracy:>20}{off:>26}"
            f"{row['cpu_seconds']:>8.0f}{row['optimizer_bytes']:>13,}"
        )
    lines.append("+-: half a 95 % interval over sentences; the difference is paired")
    return "\n".join(lines)
