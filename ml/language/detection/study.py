"""The study ``rbm study language``: accuracy, mixed sentences, pruning, more languages, texts of another kind."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from lowrank.optional import require
from ml.chunks.kept_cases import KeptCases, chosen_sizes
from ml.language.detection import cases
from ml.language.detection.material import CURVE

__all__ = ["SMALL", "WHOLE", "LanguageSizes", "interval", "measure", "report", "run"]


@dataclass(frozen=True)
class LanguageSizes:
    """How much is measured."""

    seeds: tuple[int, ...] = (0, 1, 2)  #: splits of the sentences
    numbers: tuple[int, ...] = (14, 20, 27, 40)  #: of languages
    words: int = 30_000  #: of each list


WHOLE = LanguageSizes()
#: What ``rbm study language`` takes, in some minutes.
SMALL = LanguageSizes(seeds=(0,), numbers=(14, 20))
#: What `size` names.
SIZES = {"small": SMALL, "whole": WHOLE}


def run(
    name: str,
    out: Path,
    tol: float | None = None,
    *,
    sizes: LanguageSizes | None = None,
    size: str | None = None,
    say: Callable[[str], None] = print,
) -> dict[str, Any]:
    """Run the study, and write cases.json, summary.json and the figure pruning (png and pdf) to the folder `out`.

    Each case is kept when it is done: a run that was stopped goes on from there. Takes some minutes on one core.

    size : "small", as by default, or "whole", the sizes SMALL and WHOLE, where none are given.

    Raises ValueError where `tol` is given: there is no tolerance here. ImportError, with the line that brings them,
    where the packages eld and wordfreq are missing.
    """
    if tol is not None:
        raise ValueError(f"the study {name!r} has no tolerance, got tol={tol}: leave it out")
    sizes = chosen_sizes(size, SIZES) if sizes is None else sizes
    out.mkdir(parents=True, exist_ok=True)
    say("Languages of single words, of words in mixed sentences, and of sentences")
    kept = KeptCases(out / "cases.json")
    summary = measure(kept, sizes, say)
    say(report(summary))
    with kept.phases("figures"):
        _figure(summary, out / "pruning")
    kept.write_summary(summary, out, say)
    say(f"cases.json, summary.json and pruning.png are in {out}")
    return summary


def measure(kept: KeptCases, sizes: LanguageSizes, say: Callable[[str], None]) -> dict[str, Any]:
    """Return the results of all cases: those that are kept, and the others, which are measured now."""
    words = sizes.words
    summary: dict[str, Any] = {"splits": []}
    for seed in sizes.seeds:
        say(f"  split {seed}")
        given = {"seed": seed, "words": words}
        found = kept.case(f"split {seed}", given, lambda given=given: cases.one_split(**given, say=say))  # type: ignore[misc]
        summary["splits"].append(found)
    summary["cross-domain"] = kept.case("cross-domain", {"words": words}, lambda: cases.cross_domain(words))
    settings = {"words": words, "kind": "messages"}
    summary["messages"] = kept.case("messages", settings, lambda: cases.cross_domain(words, "messages"))
    say("  texts of another kind")
    summary["times"] = kept.case("times", {"words": words}, lambda: cases.times(words))
    summary["number"] = []
    for number in sizes.numbers:
        given = {"languages": number, "seed": 0, "words": words}
        summary["number"].append(
            kept.case(f"{number} languages", given, lambda n=number: cases.by_number(CURVE[:n], 0, words))  # type: ignore[misc]
        )
        say(f"  {number} languages")
    return summary


def interval(values: Sequence[float]) -> str:
    """Return mean and standard deviation of the splits as text."""
    spread = f" +- {np.std(values, ddof=1):.4f}" if len(values) > 1 else ""
    return f"{np.mean(values):.4f}{spread}"


def report(summary: Mapping[str, Any]) -> str:
    """Return the tables of a summary as text."""
    splits = summary["splits"]
    lines = [
        "14 languages of Europe, 700 + 300 sentences each; "
        f"single running words, {len(splits)} splits, mean +- standard deviation",
        f"{'':34}{'accuracy':>18}{'F1':>9}{'sentences':>11}{'MB':>8}",
    ]
    for name in splits[0]["models"]:
        rows = [of["models"][name] for of in splits if name in of["models"]]
        mean = {key: float(np.mean([row[key] for row in rows])) for key in ("f1", "sentences", "bytes")}
        lines.append(
            f"{name:34}{interval([row['accuracy'] for row in rows]):>18}{mean['f1']:9.3f}{mean['sentences']:11.4f}"
            f"{mean['bytes'] / 1e6:8.2f}"
        )
    lines += ["", "selector of the triples on unseen words, first split: loss in nats, share of errors"]
    for name in splits[0]["selectors"]:
        loss, wrong = splits[0]["selectors"][name]
        lines.append(f"  {name:20}{loss:9.4f}{wrong:9.4f}")
    lines += ["", "words of mixed sentences, runs of 2 to 6 words"]
    lines.append(f"{'':34}{'by itself':>18}{'causal':>18}{'3 revised':>18}{'complete':>18}")
    for name, key in (("triples", "mixed, triples"), ("triples and words", "mixed")):
        for group in splits[0][key]:
            cells = "".join(
                f"{interval([of[key][group][how] for of in splits]):>18}"
                for how in ("alone", "causal", "revised", "complete")
            )
            lines.append(f"{name + ', ' + group:34}{cells}")
    lines += ["", "pruning, int8: keyed rows, MB, accuracy"]
    for i, (rows, _, _) in enumerate(splits[0]["curve"]):
        size = np.mean([of["curve"][i][1] for of in splits]) / 1e6
        lines.append(f"{rows:>10}{size:9.3f}   {interval([of['curve'][i][2] for of in splits])}")
    return "\n".join([*lines, "", *_others(summary)])


def _others(summary: Mapping[str, Any]) -> list[str]:
    lines = ["languages, with a list: single words by triples, with words; sentences likewise; MB with words"]
    for row in summary["number"]:
        cells = [row[key] for key in ("triples", "triples and words")]
        cells += [row[f"{key}, sentences"] for key in ("triples", "triples and words")]
        lines.append(
            f"{row['languages']:>5}{row['lists']:>5}" + "".join(f"{cell:9.4f}" for cell in cells)
            + f"{row['triples and words, bytes'] / 1e6:9.2f}"
        )  # fmt: skip
    for key, kind in (("cross-domain", "manual pages"), ("messages", "messages of programs")):
        other = summary[key]
        if "missing" in other:
            lines += ["", f"{kind}: {other['missing']}"]
            continue
        lines += ["", f"{kind} in {', '.join(other['pages'])}: trained on, single words, whole texts"]
        lines += [
            f"  {name:32}{row['words']:9.4f}{row['paragraphs']:9.4f}"
            for name, row in other.items()
            if name not in ("pages", "words")
        ]
    lines += ["", "CPU microseconds a word"]
    return lines + [f"  {name:32}{us:9.3f}" for name, us in summary["times"].items()]


def _figure(summary: Mapping[str, Any], path: Path) -> None:
    """Draw accuracy over bytes to png and pdf. Raises ImportError where Matplotlib is missing."""
    figure_class = require("matplotlib.figure", "matplotlib", "the figure of a study").Figure
    figure = figure_class(figsize=(4.6, 3.4), layout="constrained")
    ax = figure.add_subplot()
    for number, of in enumerate(summary["splits"]):
        _, sizes, right = zip(*of["curve"], strict=True)
        ax.plot(np.array(sizes) / 1e6, right, "o-", ms=3, label=f"split {number}")
    ax.set(xscale="log", xlabel="MB of triples in int8", ylabel="accuracy on single words")
    ax.legend(fontsize=8)
    ax.grid(alpha=0.3)
    for suffix in (".png", ".pdf"):
        figure.savefig(path.with_suffix(suffix), dpi=150)
