"""The study of adapters: every kind with the same budget of steps and two rates, on spoken words and film reviews."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from lowrank.optional import require
from lowrank.writing import write_atomically
from ml.chunks.kept_cases import KeptCases
from ml.tasks.classification import Task, answers, train
from ml.tasks.keywords import DIGITS, human_digits, keyword_classifier, keyword_task
from ml.tasks.reviews import classifier, review_task
from ml.tuning.adapt import adapt

__all__ = ["BUDGETS", "WAYS", "Budget", "Way", "compare", "run", "table"]


@dataclass(frozen=True)
class Way:
    """One way to train a network, and the two learning rates that it may choose from."""

    name: str
    kind: str | None  #: of :func:`ml.adapt`; None: everything is trained
    rates: tuple[float, float]
    options: Mapping[str, Any]

    def settings(self) -> dict[str, Any]:
        """All that a result depends on."""
        return {"kind": self.kind, "rates": self.rates, "options": dict(self.options)}


ALL = ["query", "key", "value", "out", "up", "down"]
#: Rates were set before anything was run: those usual for full training, and 5 to 30 times as much for few numbers.
WAYS = (
    Way("everything", None, (1e-4, 3e-4), {}),
    Way("bottleneck", "bottleneck", (1e-3, 3e-3), {"rank": 32}),
    Way("lora, all linear layers", "lora", (1e-3, 3e-3), {"rank": 8, "targets": ALL}),
    Way("head", "head", (1e-3, 1e-2), {}),
    Way("bitfit", "bitfit", (1e-3, 5e-3), {}),
    Way("lora, query and value", "lora", (1e-3, 3e-3), {"rank": 8}),
    Way("bottleneck, parallel", "bottleneck", (1e-3, 3e-3), {"rank": 32, "parallel": True}),
    Way("norms", "norms", (1e-3, 5e-3), {}),
    Way("ia3", "ia3", (3e-3, 1e-2), {}),
    Way("adapter bias", "adapter_bias", (1e-3, 5e-3), {}),
    Way("prefix", "prefix", (1e-3, 1e-2), {"length": 16}),
    Way("convolution", "convolution", (1e-3, 3e-3), {}),
    Way("weighted sum", "weighted_sum", (1e-3, 1e-2), {}),
)  # fmt: skip


@dataclass(frozen=True)
class Budget:
    """What every way is given, the same for all."""

    steps: int
    trial_steps: int  #: of the short runs that choose the rate
    batch_size: int
    seeds: tuple[int, ...]
    training: int  #: samples that are trained on
    validation: int  #: samples of the training set that choose the rate, and are not trained on in the short runs
    held_out: int  #: samples that are asked at the end


#: Of each task; a small one is a try.
BUDGETS = {
    "speech": Budget(600, 80, 16, (0, 1, 2), 6000, 600, 4200),
    "reviews": Budget(350, 60, 32, (0, 1, 2), 7968, 600, 2600),
}
#: Steps of the runs whose digits a human speaker is asked for.
DIGIT_STEPS = 200
#: What is trained in every way besides: the new head.
HEAD = ("classifier",)


def run(
    name: str,
    out: Path,
    tol: float | None = None,
    *,
    tasks: Sequence[str] = ("speech", "reviews"),
    ways: Sequence[Way] = WAYS,
    budgets: Mapping[str, Budget] = BUDGETS,
    say: Callable[[str], None] = print,
) -> dict[str, Any]:
    """Run the study of adapters; write cases.json, summary.json and figures to the folder `out`; return the summary.

    Every run is kept when it is done; started anew, the study goes on where it was. A task whose material is missing is
    left out, with the line that brings it.

    name : "adapters"; tol : not used, must be None. Takes four hours of one core in all; the first rows say most.
    """
    if tol is not None:
        raise ValueError(f"the study of adapters has no tolerance, got tol={tol}; leave it out")
    out.mkdir(parents=True, exist_ok=True)
    kept = KeptCases(out / "cases.json")
    summary: dict[str, Any] = {}
    for task_name in tasks:
        try:
            found = measure(task_name, kept, out, ways, budgets[task_name], say)
        except ImportError as error:
            say(f"{task_name} is left out: {error}")
            continue
        summary[task_name] = found
        say(table(found))
        write_atomically(out / "summary.json", (json.dumps(summary, indent=1) + "\n").encode())
    if summary:
        _figure(summary, out)
    return summary


def measure(
    task_name: str, kept: KeptCases, out: Path, ways: Sequence[Way], budget: Budget, say: Callable[[str], None]
) -> dict[str, Any]:
    """Return the rows of a task: all runs that are not kept are made."""
    make, task = _speech(out, budget) if task_name == "speech" else _reviews(budget)
    rows = {}
    for way in ways:
        settings = {**way.settings(), "budget": budget.__dict__, "task": task_name}
        trials = [
            kept.case(f"{task_name}, {way.name}, rate {rate:g}, trial", settings, _trial(make, task, way, rate, budget))
            for rate in way.rates
        ]
        rate = way.rates[int(np.argmax(trials))]
        runs = []
        for seed in budget.seeds:
            name = f"{task_name}, {way.name}, seed {seed}"
            runs.append(kept.case(name, {**settings, "rate": rate}, _whole(make, task, way, rate, seed, budget)))
            say(f"  {name}: {runs[-1]['accuracy']:.4f} in {runs[-1]['cpu_seconds']:.0f} s")
        rows[way.name] = {"rate": rate, "trials": trials, "runs": runs}
    found = compare(rows, task)
    if task_name == "speech":
        for way in ways[:3]:
            settings = {**way.settings(), "rate": found[way.name]["rate"], "steps": DIGIT_STEPS}
            digits = kept.case(f"digits, {way.name}", settings, _digits(out, way, found[way.name]["rate"]))
            found[way.name] |= {"digits": digits}
            say(
                f"  digits, {way.name}: {digits['human']} of 10 by a human speaker, {digits['synthetic']:.1%} synthetic"
            )
    return found


def compare(rows: Mapping[str, Any], task: Task) -> dict[str, Any]:
    """Return a table's rows: means over seeds, and paired differences from training everything with 95 % intervals.

    The interval counts speakers (or sentences) and seeds as drawn: its half-width is 1.96 (s_1^2 / m + s_2^2 / k)^{1/2}
    with the deviation s_1 of the m speakers' mean differences and s_2 of the k seeds'.
    """
    groups = np.asarray(getattr(task, "speakers", np.arange(len(task.labels))))[task.held_out]
    _, place = np.unique(groups, return_inverse=True)
    count = np.bincount(place)
    found: dict[str, Any] = {}
    right = {name: np.array([_bits(r["right"], len(groups)) for r in row["runs"]]) for name, row in rows.items()}
    for name, row in rows.items():
        first = row["runs"][0]
        entry = {key: first[key] for key in ("trained", "share", "optimizer_bytes")}
        entry |= {"rate": row["rate"], "cpu_seconds": float(np.mean([r["cpu_seconds"] for r in row["runs"]]))}
        entry["accuracy"] = float(np.mean(right[name]))
        entry["accuracy_se"] = _error(right[name], place, count)
        if "everything" in right and name != "everything":
            off = right[name].astype(float) - right["everything"]
            entry["change"], entry["half_width"] = float(np.mean(off)), 1.96 * _error(off, place, count)
        found[name] = entry
    return found


def _error(values: np.ndarray, place: np.ndarray, count: np.ndarray) -> float:
    """Return the standard error of the mean of values (seeds, samples), samples of a group not independent."""
    mean = values.mean(0)
    sums = np.bincount(place, mean - mean.mean())  # deviations of a group add up
    between = len(count) / max(len(count) - 1, 1) * float(np.sum(sums**2)) / len(mean) ** 2
    seeds = values.mean(1)
    return float(np.sqrt(between + (np.var(seeds, ddof=1) / len(seeds) if len(seeds) > 1 else 0.0)))


def table(found: Mapping[str, Any]) -> str:
    """Return a plain-text table of one task."""
    heads = ("trained", 10), ("share", 9), ("accuracy", 18), ("points, 95 %", 24), ("CPU s", 8), ("optimiser", 12)
    lines = [" " * 26 + "".join(f"{head:>{width}}" for head, width in heads)]
    for name, row in found.items():
        change = f"{100 * row['change']:+.2f} +- {100 * row['half_width']:.2f}" if "change" in row else ""
        accuracy = f"{row['accuracy']:.4f} +- {row['accuracy_se']:.4f}"
        lines.append(
            f"{name:26}{row['trained']:>10}{row['share']:>9.2%}{accuracy:>18}{change:>24}{row['cpu_seconds']:>8.0f}"
            f"{row['optimizer_bytes']:>12}"
        )
    return "\n".join(lines)


Make = Callable[[int], Any]


def _speech(out: Path, budget: Budget) -> tuple[Make, Task]:
    task = keyword_task(out, training=budget.training, held_out=budget.held_out, progress=True)
    return (lambda seed: keyword_classifier(len(task.words), rng=seed)), task


def _reviews(budget: Budget) -> tuple[Make, Task]:
    task = review_task(held_out=budget.held_out)
    return (lambda seed: classifier(rng=seed)), task


def _ready(make: Make, way: Way, seed: int) -> tuple[Any, list[Any]]:
    """Return a network that is ready to be trained in some way, and what is trained of it."""
    network = make(seed)
    if way.kind is not None:
        adapt(network, way.kind, train=HEAD, rng=seed, **way.options)
    return network, [p for p in network.parameters() if p.requires_grad]


def _trial(make: Make, task: Task, way: Way, rate: float, budget: Budget) -> Callable[[], float]:
    """Return a function: the share of right answers after a short run, on samples that it did not train on."""

    def tried() -> float:
        network, _ = _ready(make, way, 0)
        part = _Part(task, task.training[budget.validation :], task.training[: budget.validation])
        train(network, part, steps=budget.trial_steps, batch_size=budget.batch_size, learning_rate=rate)
        return answers(network, part, part.held_out).value

    return tried


def _whole(make: Make, task: Task, way: Way, rate: float, seed: int, budget: Budget) -> Callable[[], dict[str, Any]]:
    """Return a function: what a whole run gives."""

    def trained() -> dict[str, Any]:
        network, parameters = _ready(make, way, seed)
        count, every = sum(p.numel() for p in parameters), sum(p.numel() for p in network.parameters())
        start = time.process_time()
        options = {"steps": budget.steps, "batch_size": budget.batch_size, "learning_rate": rate}
        losses = train(network, task, rng=seed, **options)
        seconds = time.process_time() - start
        found = answers(network, task, task.held_out)
        return {
            "accuracy": found.value, "cpu_seconds": seconds, "trained": count, "share": count / every,
            "optimizer_bytes": sum(2 * p.numel() * p.element_size() for p in parameters),
            "loss_last": float(np.mean(losses[-20:])), "right": np.packbits(found.right).tobytes().hex(),
        }  # fmt: skip

    return trained


def _digits(out: Path, way: Way, rate: float) -> Callable[[], dict[str, Any]]:
    """Return a function: how many of ten digits by a human speaker are understood after synthetic ones were trained."""

    def heard() -> dict[str, Any]:
        task = keyword_task(out, words=DIGITS, training=2000, held_out=500, noise=False)
        network, _ = _ready(lambda seed: keyword_classifier(len(DIGITS), rng=seed), way, 0)
        train(network, task, steps=DIGIT_STEPS, batch_size=16, learning_rate=rate)
        human = human_digits()
        return {
            "human": int(answers(network, human, human.held_out).right.sum()),
            "synthetic": answers(network, task, task.held_out).value,
        }

    return heard


def _bits(text: str, count: int) -> np.ndarray:
    return np.unpackbits(np.frombuffer(bytes.fromhex(text), np.uint8), count=count)


@dataclass(frozen=True, eq=False)
class _Part:
    """A task with another split."""

    task: Task
    training: np.ndarray
    held_out: np.ndarray

    @property
    def labels(self) -> np.ndarray:
        """Labels of all samples (n,)."""
        return self.task.labels

    @property
    def lengths(self) -> np.ndarray:
        """Lengths of all samples (n,)."""
        return self.task.lengths

    def batch(self, which: Sequence[int] | np.ndarray) -> dict[str, Any]:
        """Return some samples as named arguments of the network."""
        return self.task.batch(which)


def _figure(summary: Mapping[str, Any], out: Path) -> None:
    """Write adapters.png and adapters.pdf: accuracy over the share of numbers that are trained."""
    figure_class = require("matplotlib.figure", "matplotlib", "the figure of a study").Figure
    figure = figure_class(figsize=(5.2 * len(summary), 3.8), layout="constrained")
    for ax, (name, rows) in zip(np.atleast_1d(figure.subplots(1, len(summary))), summary.items(), strict=True):
        for k, (way, row) in enumerate(rows.items()):
            ax.errorbar(
                100 * row["share"], row["accuracy"], 1.96 * row["accuracy_se"], fmt="osD^v<>Phxp*+"[k % 13], ms=5,
                capsize=2, label=way,
            )  # fmt: skip
        ax.set(xscale="log", xlabel="trained, % of all numbers", ylabel="accuracy on what was held out", title=name)
        ax.legend(fontsize=6)
        ax.grid(alpha=0.3)
    for suffix in ("png", "pdf"):
        figure.savefig(out / f"adapters.{suffix}", dpi=150)
