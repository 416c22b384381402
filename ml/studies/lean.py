"""The study ``rbm study lean``: bytes, time and gradients of a transformer trained lean; accuracy on film reviews."""

from __future__ import annotations

import importlib.util
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from lowrank.optional import require
from ml.chunks.kept_cases import KeptCases, chosen_sizes
from ml.studies.lean_memory import VARIANTS, Size, gradient_errors, in_a_fresh_process
from ml.tasks.classification import answers, train
from ml.tasks.reviews import classifier, review_task
from ml.tuning.lean import lean

__all__ = ["SMALL", "WHOLE", "Sizes", "measure", "report", "run"]


@dataclass(frozen=True)
class Sizes:
    """How much is measured."""

    size: Size = field(default_factory=Size)
    variants: tuple[str, ...] = tuple(VARIANTS)
    seeds: int = 3  #: of training on film reviews; 0 leaves it out
    steps: int = 80  #: of 32 sentences
    rate: float = 2e-3
    held_out: int = 1300


WHOLE = Sizes()
#: What ``rbm study lean`` takes, in some minutes.
SMALL = Sizes(seeds=0)
#: What `size` names.
SIZES = {"small": SMALL, "whole": WHOLE}


def run(
    name: str,
    out: Path,
    tol: float | None = None,
    *,
    sizes: Sizes | None = None,
    size: str | None = None,
    say: Callable[[str], None] = print,
) -> dict[str, Any]:
    """Run the study, and write cases.json, summary.json and the figure bytes (png and pdf) to the folder `out`.

    Each case is kept when it is done: a run that was stopped goes on from there. Takes 3 minutes on one core; with
    `WHOLE`, which trains on film reviews, 12 more.

    size : "small", as by default, or "whole", the sizes SMALL and WHOLE, where none are given.

    Raises ValueError where `tol` is given: there is no tolerance here. ImportError where transformers is missing.
    """
    if tol is not None:
        raise ValueError(f"the study {name!r} has no tolerance, got tol={tol}: leave it out")
    require("transformers", "transformers", "the study of lean training", "peers")
    sizes = chosen_sizes(size, SIZES) if sizes is None else sizes
    out.mkdir(parents=True, exist_ok=True)
    kept = KeptCases(out / "cases.json")
    summary = measure(kept, sizes, say)
    say(report(summary))
    with kept.phases("figures"):
        if importlib.util.find_spec("matplotlib") is not None:
            _figure(summary, out / "bytes")
    kept.write_summary(summary, out, say)
    return summary


def measure(kept: KeptCases, sizes: Sizes, say: Callable[[str], None]) -> dict[str, Any]:
    """Return the results of all cases: those that are kept, and the others, which are measured now."""
    settings = asdict(sizes.size)
    summary: dict[str, Any] = {"size": settings, "variants": {}}
    for name in sizes.variants:
        found = kept.case(f"step {name}", settings, lambda n=name: in_a_fresh_process(n, sizes.size))  # type: ignore[misc]
        summary["variants"][name] = found
        say(f"  {VARIANTS[name].title}: {found['kept'] / 1e6:.1f} MB")
    summary["errors"] = kept.case("gradients", settings, lambda: gradient_errors(sizes.size))
    if sizes.seeds:
        try:
            summary["reviews"] = _reviews(kept, sizes, say)
        except ImportError as error:
            say(f"film reviews are left out: {error}")
    return summary


#: Ways to train on film reviews.
REVIEWS: dict[str, dict[str, Any] | None] = {"bias": None, "lean8": {}}


def _reviews(kept: KeptCases, sizes: Sizes, say: Callable[[str], None]) -> dict[str, Any]:
    """Return accuracies of plain and lean bias tuning, seed by seed, and their paired difference."""
    settings = {"steps": sizes.steps, "rate": sizes.rate, "held_out": sizes.held_out}
    rows: dict[str, list[dict[str, Any]]] = {way: [] for way in REVIEWS}
    for seed in range(sizes.seeds):
        for way in REVIEWS:
            case = kept.case(f"reviews {way} {seed}", settings, lambda w=way, s=seed: trained_accuracy(w, s, sizes))  # type: ignore[misc]
            rows[way].append(case)
            say(f"  film reviews, {way}, seed {seed}: {100 * case['accuracy']:.2f} % right")
    right = {way: np.array([[int(r) for r in row["right"]] for row in rows[way]], dtype=float) for way in REVIEWS}
    off = right["lean8"] - right["bias"]
    # sentences are the samples: seeds of one sentence are averaged first
    error = float(np.std(off.mean(0), ddof=1) / math.sqrt(off.shape[1]))
    each = {way: [{k: v for k, v in row.items() if k != "right"} for row in rows[way]] for way in rows}
    return {"runs": each, "difference": float(off.mean()), "difference_se": error}


def trained_accuracy(way: str, seed: int, sizes: Sizes) -> dict[str, Any]:
    """Train biases and head of the sentence encoder on film reviews; return which held-out sentences are right."""
    torch = require("torch", "torch", "the study of lean training", "ml")
    torch.set_num_threads(1)
    task = review_task(held_out=sizes.held_out)
    module = classifier(rng=seed)
    options = REVIEWS[way]
    if options is None:
        for name, parameter in module.named_parameters():
            parameter.requires_grad_("bias" in name or name.startswith("classifier"))
    else:
        lean(module, also=["classifier"], **options)
    start = time.process_time()
    losses = train(module, task, steps=sizes.steps, learning_rate=sizes.rate, rng=seed)
    seconds = time.process_time() - start
    found = answers(module, task, task.held_out)
    return {
        "accuracy": found.value, "cpu_seconds": seconds, "loss_last": float(np.mean(losses[-20:])),
        "trained": sum(p.numel() for p in module.parameters() if p.requires_grad),
        "right": "".join(str(int(r)) for r in found.right),
    }  # fmt: skip


def report(summary: Mapping[str, Any]) -> str:
    """Return the tables of a summary as text."""
    size, rows = summary["size"], summary["variants"]
    lines = [
        f"One step, {size['layers']} layers of width {size['width']}, {size['batch']} x {size['length']} tokens, MB: "
        "kept by autograd, resident after forward,",
        "largest resident during the step (gradients of what is trained included), CPU seconds forward + backward",
        f"{'':42}{'trained':>12}{'kept':>8}{'resident':>10}{'peak':>8}{'seconds':>16}{'less than full':>16}",
    ]
    for name, row in rows.items():
        ratio = rows["full"]["kept"] / row["kept"] if "full" in rows else math.nan
        resident, peak = (
            f"{row[k] / 1e6:.1f}" if row[k] is not None else "" for k in ("resident_kept", "resident_peak")
        )
        seconds = f"{row['forward_seconds']:.2f} + {row['backward_seconds']:.2f}"
        lines.append(
            f"{VARIANTS[name].title:42}{row['trained']:>12,}{row['kept'] / 1e6:>8.1f}{resident:>10}{peak:>8}"
            f"{seconds:>16}{ratio:>15.2f}x"
        )
    lines.append("Relative errors against plain training: answers, gradient of the input, gradient of what is trained")
    for name, row in summary["errors"].items():
        lines.append(f"{VARIANTS[name].title:42}{row['answer']:>12.1e}{row['input']:>10.4f}{row['trained']:>10.4f}")
    if "reviews" in summary:
        found = summary["reviews"]
        lines.append("Film reviews, biases and head trained, % of held-out sentences right, seed by seed")
        for way, runs in found["runs"].items():
            shown = "  ".join(f"{100 * r['accuracy']:.2f}" for r in runs)
            seconds = sum(r["cpu_seconds"] for r in runs) / len(runs)
            lines.append(f"  {VARIANTS[way].title:40}{shown}   {seconds:.0f} CPU s each")
        lines.append(
            f"  lean - plain: {100 * found['difference']:+.2f} +- {196 * found['difference_se']:.2f} points (95 %)"
        )
    return "\n".join(lines)


def _figure(summary: Mapping[str, Any], path: Path) -> None:
    """Draw kept and largest resident bytes over CPU time to png and pdf."""
    figure_class = require("matplotlib.figure", "matplotlib", "the figure of a study").Figure
    figure = figure_class(figsize=(6.4, 3.6), layout="constrained")
    axis = figure.add_subplot()
    for name, row in summary["variants"].items():
        seconds = row["forward_seconds"] + row["backward_seconds"]
        axis.plot(seconds, row["kept"] / 1e6, "o")
        axis.annotate(name, (seconds, row["kept"] / 1e6), fontsize=7, xytext=(4, 2), textcoords="offset points")
    axis.set(xlabel="CPU seconds of a step", ylabel="MB kept for backward", ylim=(0, None))
    axis.grid(alpha=0.3)
    for suffix in (".png", ".pdf"):
        figure.savefig(path.with_suffix(suffix), dpi=150)
