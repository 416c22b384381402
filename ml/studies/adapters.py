"""The study ``rbm study adapters``: kinds of adapters and full fine-tuning with the same effort.

Two tasks: keywords that differ in one sound, by voices that were not heard before, and film reviews.
"""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from lowrank.optional import require
from ml.chunks.kept_cases import KeptCases, chosen_sizes
from ml.studies.adapter_methods import METHODS, SMALL, TASKS, WHOLE, Method, Sizes
from ml.tasks.classification import Task, answers, train
from ml.tasks.keywords import DIGITS, human_digits, keyword_classifier, keyword_task
from ml.tasks.reviews import classifier, review_task
from ml.tuning.adapt import adapt

__all__ = ["cost", "measure", "measure_tasks", "run", "table"]

#: Bytes that AdamW keeps for every trained number, in single precision.
MOMENTS = 8
#: Steps that the time of a step is measured by.
COSTS = 12
#: Half a 95 % interval in standard errors.
NORMAL = 1.96

#: What `size` names.
SIZES = {"small": SMALL, "whole": WHOLE}


def run(
    name: str,
    out: Path,
    tol: float | None = None,
    *,
    sizes: Mapping[str, Sizes] | None = None,
    size: str | None = None,
    methods: Sequence[Method] = METHODS,
    say: Callable[[str], None] = print,
) -> dict[str, Any]:
    """Run the study; write cases.json, summary.json, adapters.png and .pdf to the folder `out`; return the summary.

    The encoder of Whisper tiny.en with a linear head tells keywords apart that differ in one sound, the sentence
    encoder all-MiniLM-L6-v2 says whether a sentence of a film review is for or against. Every method has the same
    effort: two rates are tried in short runs, the better one, by samples that are neither trained on nor in the table,
    takes the long runs. Each run is kept when it is done: a study that was stopped goes on from there. A task whose
    material is missing is left out, with the line that brings it.

    size : "small", as by default, or "whole", the sizes SMALL and WHOLE, where none are given.

    Raises ValueError where `tol` is given: there is no tolerance here.
    """
    if tol is not None:
        raise ValueError(f"the study {name!r} has no tolerance, got tol={tol}: leave it out")
    sizes = chosen_sizes(size, SIZES) if sizes is None else sizes
    out.mkdir(parents=True, exist_ok=True)
    kept = KeptCases(out / "cases.json")
    summary = measure_tasks(kept, out, sizes, methods, say)
    with kept.phases("figures"):
        if summary:
            _figure(summary, out)
    kept.write_summary(summary, out, say)
    say(f"cases.json, summary.json and adapters.png are in {out}")
    return summary


def measure_tasks(
    kept: KeptCases, out: Path, sizes: Mapping[str, Sizes], methods: Sequence[Method], say: Callable[[str], None]
) -> dict[str, Any]:
    """Return the results of all tasks whose material is there; clips of speech are kept in the folder `out`."""
    summary = {}
    for task_name, size in sizes.items():
        say({"speech": "Keywords, 12 that differ in one sound", "reviews": "Film reviews, for or against"}[task_name])
        try:
            task, make = _material(task_name, size, out)
        except ImportError as error:
            say(f"left out: {error}")
            continue
        summary[task_name] = measure(kept, task_name, task, size, methods, say, make)
        if size.digits:
            summary[task_name]["digits"] = _digits(kept, summary[task_name]["methods"], methods, size, out, say)
        say(table(summary[task_name]))
    return summary


def _material(name: str, size: Sizes, out: Path) -> tuple[Task, Callable[[int], Any]]:
    """Return a task, and the maker of a new network by its seed."""
    if name == "speech":
        task = keyword_task(out, training=size.training or 6000, held_out=size.held_out, progress=True)
        return task, lambda rng: keyword_classifier(len(task.words), rng=rng)
    return review_task(held_out=size.held_out), lambda rng: classifier(rng=rng)


def measure(
    kept: KeptCases,
    task_name: str,
    task: Task,
    sizes: Sizes,
    methods: Sequence[Method],
    say: Callable[[str], None],
    make: Callable[[int], Any],
) -> dict[str, Any]:
    """Return the results of all methods: those that are kept, and the others, which are measured now.

    make : a new network by its seed, with a head called `classifier`
    """
    validation = _validation(task, sizes.validation)
    shorter = dataclasses.replace(task, training=np.setdiff1d(task.training, validation))  # type: ignore[type-var]
    results: dict[str, list[dict[str, Any]]] = {}

    def case(label: str, method: Method, rate: float, steps: int, seed: int, which: np.ndarray) -> dict[str, Any]:
        settings = _settings(method, rate, steps, seed, sizes)
        one = kept.case(
            f"{task_name}, {label}", settings, lambda: _one(make, shorter, which, method, rate, steps, seed, sizes)
        )
        say(f"  {method.name}, rate {rate:g}, seed {seed}: {one['accuracy']:.3f} after {steps} steps")
        return dict(one)

    chosen = {}
    for method in (m for m in methods if task_name in m.tasks):
        rates = [TASKS[task_name] * rate for rate in method.rates]
        tried = [case(f"trial {method.name} {r:g}", method, r, sizes.trial, 0, validation)["accuracy"] for r in rates]
        chosen[method.name] = rates[int(np.argmax(tried))]
        results[method.name] = [
            case(f"run {method.name} {seed}", method, chosen[method.name], sizes.steps, seed, task.held_out)
            for seed in range(method.seeds(sizes))
        ]
    costs = {}
    for method in (m for m in methods if task_name in m.tasks):
        settings = _settings(method, 0.0, COSTS, 0, sizes)
        costs[method.name] = kept.case(
            f"{task_name}, cost {method.name}",
            settings,
            lambda m=method: cost(make, shorter, m, sizes.batch_size),  # type: ignore[misc]
        )
    groups = np.asarray(getattr(task, "voices", np.arange(len(task.labels))))[task.held_out]
    return {"sizes": dataclasses.asdict(sizes), "methods": _summary(results, chosen, costs, groups)}


def _validation(task: Task, count: int) -> np.ndarray:
    """Return samples of the training set that are not trained on: all clips of some voices, where it has voices."""
    voices = getattr(task, "voices", None)
    if voices is None:
        return task.training[-count:]
    found = np.unique(voices[task.training])[::-1]
    upto = np.cumsum([int(np.sum(voices[task.training] == voice)) for voice in found])
    chosen = found[: int(np.searchsorted(upto, count)) + 1]
    return task.training[np.isin(voices[task.training], chosen)]


def _settings(method: Method, rate: float, steps: int, seed: int, sizes: Sizes) -> dict[str, Any]:
    return {
        "kind": method.kind, "options": dict(method.options), "train": list(method.train), "rate": rate, "steps": steps,
        "seed": seed,
        "validation": sizes.validation, "held_out": sizes.held_out, "batch_size": sizes.batch_size,
        "training": sizes.training,
    }  # fmt: skip


def _one(
    make: Callable[[int], Any],
    task: Task,
    which: np.ndarray,
    method: Method,
    rate: float,
    steps: int,
    seed: int,
    sizes: Sizes,
) -> dict[str, Any]:
    """Train a new network by a method, and ask it; on a GPU where there is one."""
    network, trained, total = adapted(make, method, seed)
    network.to("cuda" if require("torch", "torch", "a study", "ml").cuda.is_available() else "cpu")
    losses = train(network, task, steps=steps, batch_size=sizes.batch_size, learning_rate=rate, rng=seed)
    found = answers(network, task, which)
    return {
        "trained": trained, "total": total, "accuracy": found.value, "right": np.packbits(found.right).tobytes().hex(),
        "asked": len(which), "optimizer_bytes": MOMENTS * trained, "loss_last": float(np.mean(losses[-20:])),
    }  # fmt: skip


def adapted(make: Callable[[int], Any], method: Method, seed: int) -> tuple[Any, int, int]:
    """Return a new network that a method trains, how many numbers it trains, and of how many."""
    network = make(seed)
    total = sum(p.numel() for p in network.parameters())
    if method.kind is None:
        return network, total, total
    made = adapt(network, method.kind, train=["classifier", *method.train], rng=seed, **method.options)
    return network, made.n_trained, total


def cost(make: Callable[[int], Any], task: Task, method: Method, batch_size: int) -> float:
    """Return the CPU seconds of a training step, the faster half of some; on one thread if the caller says so."""
    network, _, _ = adapted(make, method, 0)
    marks: list[float] = []

    def hook(*_: Any) -> None:
        marks.append(time.process_time())

    handle = network.register_forward_pre_hook(hook)
    train(network, task, steps=COSTS, batch_size=batch_size)
    handle.remove()
    return float(np.mean(np.sort(np.diff(marks))[: COSTS // 2]))


def _summary(
    results: Mapping[str, Sequence[Mapping[str, Any]]],
    rates: Mapping[str, float],
    costs: Mapping[str, float],
    groups: np.ndarray,
) -> dict[str, Any]:
    """Return the figures of every method, beside those of training all weights, sample by sample.

    The interval of the difference is of voices (or sentences) and seeds drawn anew: half of it is 1.96 (s_1^2 + s_2^2
    / k)^{1/2}, s_1 the standard error over the voices with the means over seeds as answers, s_2 the deviation of the
    k seeds' differences.
    """
    first = _answers(results[METHODS[0].name]) if METHODS[0].name in results else None
    summary = {}
    for name, runs in results.items():
        rows = _answers(runs)
        row = {
            "rate": rates[name], "trained": runs[0]["trained"], "share": runs[0]["trained"] / runs[0]["total"],
            "accuracy": float(np.mean(rows)), "standard_error": _error(rows, groups),
            "accuracies": [r["accuracy"] for r in runs],
            "step_cpu_seconds": costs[name],
            "optimizer_bytes": runs[0]["optimizer_bytes"],
        }  # fmt: skip
        if first is not None:
            count = min(len(rows), len(first))
            row["difference"] = float(np.mean(rows[:count] - first[:count]))
            row["half_width"] = NORMAL * _error(rows[:count] - first[:count], groups)
        summary[name] = row
    return summary


def _answers(runs: Sequence[Mapping[str, Any]]) -> np.ndarray:
    """Return which samples each run answered rightly, 0 or 1 (seeds, samples)."""
    rows = [np.unpackbits(np.frombuffer(bytes.fromhex(r["right"]), np.uint8))[: r["asked"]] for r in runs]
    return np.array(rows, dtype=float)


def _error(rows: np.ndarray, groups: np.ndarray) -> float:
    """Return the standard error of the mean of (seeds, samples), where samples of a group are not independent."""
    mean, seeds = rows.mean(0), rows.mean(1)
    _, place = np.unique(groups, return_inverse=True)
    sums = np.bincount(place, mean - mean.mean())
    between = len(sums) / max(len(sums) - 1, 1) * float(np.sum(sums**2)) / len(mean) ** 2
    return math.sqrt(between + (float(np.var(seeds, ddof=1)) / len(seeds) if len(seeds) > 1 else 0.0))


def _digits(
    kept: KeptCases,
    found: Mapping[str, Any],
    methods: Sequence[Method],
    sizes: Sizes,
    out: Path,
    say: Callable[[str], None],
) -> dict[str, Any]:
    """Return how many of ten digits by a human speaker the first methods understand, trained on synthetic ones."""

    def heard(method: Method, rate: float) -> dict[str, Any]:
        task = keyword_task(out, words=DIGITS, training=2000, held_out=500, noise=False)
        network = keyword_classifier(len(DIGITS))
        if method.kind is not None:
            adapt(network, method.kind, train=["classifier", *method.train], **method.options)
        train(network, task, steps=sizes.digits, batch_size=sizes.batch_size, learning_rate=rate)
        human = human_digits()
        right = int(answers(network, human, human.held_out).right.sum())
        return {"human": right, "synthetic": answers(network, task, task.held_out).value}

    results = {}
    try:
        human_digits()
    except ImportError as error:
        return {"missing": str(error)}
    for method in [m for m in methods if "speech" in m.tasks][:4]:
        settings = _settings(method, found[method.name]["rate"], sizes.digits, 0, sizes)
        rate = found[method.name]["rate"]
        results[method.name] = kept.case(
            f"digits {method.name}",
            settings,
            lambda m=method, r=rate: heard(m, r),  # type: ignore[misc]
        )
        one = results[method.name]
        heard_of = f"{one['human']} of 10 by a human speaker, {one['synthetic']:.1%} of synthetic ones"
        say(f"  digits, {method.name}: {heard_of}")
    return results


def table(summary: Mapping[str, Any]) -> str:
    """Return the figures as text."""
    lines = [
        f"{'method':<26}{'trained':>12}{'share':>9}{'rate':>9}{'accuracy':>20}{'to all weights, points':>26}"
        f"{'CPU ms a step':>15}{'optimiser':>13}"
    ]
    for name, row in summary["methods"].items():
        off = f"{100 * row['difference']:+.1f} +- {100 * row['half_width']:.1f}" if "difference" in row else ""
        accuracy = f"{row['accuracy']:.3f} +- {NORMAL * row['standard_error']:.3f}"
        lines.append(
            f"{name:<26}{row['trained']:>12,}{row['share']:>9.2%}{row['rate']:>9.2g}{accuracy:>20}{off:>26}"
            f"{1e3 * row['step_cpu_seconds']:>15.0f}{row['optimizer_bytes']:>13,}"
        )
    lines.append("+-: half a 95 % interval over voices or sentences and seeds; the difference is paired")
    return "\n".join(lines)


def _figure(summary: Mapping[str, Any], out: Path) -> None:
    """Draw accuracy over the share of numbers that are trained, a panel a task, to png and pdf."""
    figure_class = require("matplotlib.figure", "matplotlib", "the figure of a study").Figure
    figure = figure_class(figsize=(5.2 * len(summary), 3.8), layout="constrained")
    for ax, (name, found) in zip(np.atleast_1d(figure.subplots(1, len(summary))), summary.items(), strict=True):
        for k, (method, row) in enumerate(found["methods"].items()):
            error, marker = NORMAL * row["standard_error"], "osD^v<>PhXp*dH"[k % 14]
            ax.errorbar(100 * row["share"], row["accuracy"], error, fmt=marker, ms=5, capsize=2, label=method)
        ax.set(xscale="log", xlabel="trained, % of all numbers", ylabel="accuracy on what was held out", title=name)
        ax.legend(fontsize=6)
        ax.grid(alpha=0.3)
    for suffix in (".png", ".pdf"):
        figure.savefig((out / "adapters").with_suffix(suffix), dpi=150)
