"""The study ``rbm study mezo``: losses without a gradient, drift of moves, steps over effective rank."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from lowrank.optional import require
from ml.chunks.kept_cases import KeptCases, chosen_sizes
from ml.studies import mezo_cases as cases
from ml.tasks.review_words import review_words

__all__ = ["SMALL", "WHOLE", "MezoSizes", "measure", "report", "run"]

#: Objective, eps, rate: rates are the best of two with a seed that is not among those below.
TRAININGS = (("cross-entropy", 1e-3, 0.04), ("accuracy", 0.05, 0.1), ("accuracy", 1e-4, 0.1))
KINDS = ("float32", "float16", "bfloat16")
TOL = 1e-3


@dataclass(frozen=True)
class MezoSizes:
    """How much is measured."""

    seeds: tuple[int, ...] = (10, 11, 12, 13, 14)  #: starts, batches and directions
    steps: tuple[int, ...] = (600, 2000)
    directions: int = 4
    ranks: tuple[int, ...] = (4, 8, 16, 32, 64)
    dimensions: tuple[int, ...] = (100, 1000, 10_000)
    repeats: int = 10


WHOLE = MezoSizes()
#: What ``rbm study mezo`` takes, in two minutes.
SMALL = MezoSizes(seeds=(10, 11, 12), steps=(600,), ranks=(4, 16, 64), dimensions=(100, 1000), repeats=6)
#: What `size` names.
SIZES = {"small": SMALL, "whole": WHOLE}


def run(
    name: str,
    out: Path,
    tol: float | None = None,
    *,
    sizes: MezoSizes | None = None,
    size: str | None = None,
    say: Callable[[str], None] = print,
) -> dict[str, Any]:
    """Run the study, and write cases.json, summary.json and the figure steps (png and pdf) to the folder `out`.

    Each case is kept when it is done: a run that was stopped goes on from there. Without the film reviews what needs
    them is left out, and the line that brings them is said. NumPy only.

    size : "small", as by default, or "whole", the sizes SMALL and WHOLE, where none are given.

    Raises ValueError where `tol` is given: there is no tolerance here.
    """
    if tol is not None:
        raise ValueError(f"the study {name!r} has no tolerance, got tol={tol}: leave it out")
    sizes = chosen_sizes(size, SIZES) if sizes is None else sizes
    out.mkdir(parents=True, exist_ok=True)
    say("Training without gradients: losses that have none, moves that undo themselves, steps over effective rank")
    kept = KeptCases(out / "cases.json")
    summary = measure(kept, sizes, say)
    say(report(summary))
    with kept.phases("figures"):
        _figure(summary, out / "steps")
    kept.write_summary(summary, out, say)
    say(f"cases.json, summary.json and steps.png are in {out}")
    return summary


def measure(kept: KeptCases, sizes: MezoSizes, say: Callable[[str], None]) -> dict[str, Any]:
    """Return the results of all cases: those that are kept, and the others, which are measured now."""
    summary: dict[str, Any] = {"words": _words(kept, sizes, say)}
    settings: dict[str, Any] = {"steps": 1000, "eps": 1e-3}
    summary["drift"] = {k: kept.case(f"drift {k}", settings, lambda k=k: cases.drift(k, **settings)) for k in KINDS}  # type: ignore[misc]
    summary["steps"] = {}
    for d in sizes.dimensions:
        for rank in sizes.ranks:
            given = {"tol": TOL, "rank": rank, "d": d}
            found = kept.case(
                f"steps {rank} of {d}",
                {**given, "repeats": sizes.repeats},
                lambda given=given: [cases.steps_to(**given, seed=s) for s in range(sizes.repeats)],  # type: ignore[misc]
            )
            row = summary["steps"].setdefault(str(d), {})
            row[str(rank)] = [float(np.mean(found)), float(np.std(found, ddof=1) / np.sqrt(len(found)))]
        say(f"  steps over effective rank: {d} numbers")
    return summary


def _words(kept: KeptCases, sizes: MezoSizes, say: Callable[[str], None]) -> dict[str, Any]:
    try:
        task = review_words()
    except ImportError as error:
        say(f"the film reviews are left out: {error}")
        return {"missing": str(error)}
    found: dict[str, Any] = {"gradient": kept.case("logistic regression", {}, lambda: cases.logistic(task))}
    for objective, eps, rate in TRAININGS:
        for steps in sizes.steps:
            given = {"objective": objective, "eps": eps, "rate": rate, "steps": steps, "directions": sizes.directions}
            name = f"{objective}, eps {eps:g}, {steps} steps"
            found[name] = [
                kept.case(
                    f"{name}, seed {seed}",
                    {**given, "batch": cases.BATCH},
                    lambda given=given, seed=seed: cases.train_words(task, **given, seed=seed),  # type: ignore[misc]
                )
                for seed in sizes.seeds
            ]
            say(f"  {name}")
    return found


def report(summary: Mapping[str, Any]) -> str:
    """Return the tables of a summary as text."""
    words = summary["words"]
    lines = ["101 weights on film reviews; mean over seeds, p: the largest of McNemar's tests against the start"]
    if "missing" in words:
        lines = [f"film reviews: {words['missing']}"]
    else:
        lines.append(f"{'':40}{'start':>8}{'held out':>10}{'+-':>7}{'zeros':>8}{'log, kB':>9}{'seconds':>9}{'p':>10}")
        lines.append(f"{'cross-entropy, by its gradient':40}{'':>8}{words['gradient']['held_out']:10.4f}")
    for name, rows in words.items():
        if name in ("gradient", "missing"):
            continue
        mean = {
            key: float(np.mean([row[key] for row in rows])) for key in rows[0] if key not in ("mcnemar", "replayed")
        }
        spread = float(np.std([row["held_out"] for row in rows], ddof=1)) if len(rows) > 1 else float("nan")
        p = max(row["mcnemar"]["p"] for row in rows)
        lines.append(
            f"{name:40}{mean['start']:8.4f}{mean['held_out']:10.4f}{spread:7.4f}{mean['zeros']:8.1%}"
            f"{mean['nbytes'] / 1000:9.1f}{mean['cpu_seconds']:9.1f}{p:10.1e}"
        )
    lines += [
        "",
        "relative drift of weights after 1000 steps of three moves, eps = 1e-3",
        f"{'':12}{'naive':>10}{'ours':>10}",
    ]
    lines += [f"{kind:12}{row['naive']:10.1e}{row['exact']:10.1e}" for kind, row in summary["drift"].items()]
    ranks = list(next(iter(summary["steps"].values())))
    lines += [
        "",
        f"steps until f is {TOL:g} f(0), over the effective rank",
        f"{'numbers':12}" + "".join(f"{r:>10}" for r in ranks),
    ]
    lines += [f"{d:12}" + "".join(f"{row[r][0]:10.0f}" for r in ranks) for d, row in summary["steps"].items()]
    return "\n".join(lines)


def _figure(summary: Mapping[str, Any], path: Path) -> None:
    """Write steps over effective rank as .png and .pdf. Raises ImportError where Matplotlib is missing."""
    require("matplotlib", "matplotlib", "figures")
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    drawing, axis = pyplot.subplots(figsize=(4.6, 3.6))
    for d, row in summary["steps"].items():
        ranks = [int(r) for r in row]
        axis.errorbar(
            ranks, [m for m, _ in row.values()], [2 * e for _, e in row.values()], fmt="o-", label=f"{d} numbers"
        )
    axis.plot(ranks, [-np.log(TOL) * (r + 2) for r in ranks], "k:", label="log(1 / tol) (rank + 2)")
    axis.set(xscale="log", yscale="log", xlabel="effective rank tr(H) / |H|", ylabel=f"steps until f is {TOL:g} f(0)")
    axis.legend(fontsize=8)
    axis.grid(alpha=0.3)
    drawing.tight_layout()
    for suffix in (".png", ".pdf"):
        drawing.savefig(path.with_suffix(suffix), dpi=150)
    pyplot.close(drawing)
