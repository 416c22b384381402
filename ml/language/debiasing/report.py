"""Bias scores of a model by several methods, with intervals, accuracy, unparsable answers, and counts of letters."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from lowrank.limits import at_least
from lowrank.progress import progress_bar
from ml.language.debiasing.answers import Answer, shares
from ml.language.debiasing.items import Item, Items
from ml.language.debiasing.prompts import LETTERS, Prompts
from ml.language.debiasing.protocols import METHODS, how_to_read, self_debias
from ml.language.debiasing.scoring import bootstrap_interval, parts
from ml.language.debiasing.transcripts import Transcript
from ml.language.models.protocol import LanguageModel, named_for_files

__all__ = ["BiasReport", "BiasRow", "bias_report", "report_of"]

Interval = tuple[float, float]


@dataclass(frozen=True)
class BiasRow:
    """What one method gave on one group, or on all items (group "all").

    score, interval : NaN where no answer could be read; change, change_interval : score minus that of the baseline, on
        items that both answered, None for the baseline
    as_written, as_written_interval : the score by the order as written alone
    letters_before, letters : shares of a, b, c (3,) among the answers, by the order as written alone, and after
        averaging over the orders
    positions : shares of a, b, c among all replies, over all orders: (1/3, 1/3, 1/3) without an effect of position
    letter_mass : mean probability that a reply begins with one of the three letters, None where letters were generated;
        where it is small the model would rather have said something else
    unparsable : share of replies that could not be read; unanswered : share of items without any that could
    """

    method: str
    group: str
    items: int
    score: float
    interval: Interval
    change: float | None
    change_interval: Interval | None
    as_written: float
    as_written_interval: Interval
    accuracy: float
    unparsable: float
    unanswered: float
    letters_before: tuple[float, ...]
    letters: tuple[float, ...]
    positions: tuple[float, ...]
    letter_mass: float | None


@dataclass(frozen=True)
class BiasReport:
    """Rows of all methods and groups; made by `bias_report`."""

    model: str
    by: str
    orders: str
    condition: str
    left_out: dict[str, int]
    rows: tuple[BiasRow, ...]
    answers: tuple[Answer, ...]

    def row(self, method: str, group: str = "all") -> BiasRow:
        """Return one row. Raises KeyError for one that is not there."""
        for row in self.rows:
            if (row.method, row.group) == (method, group):
                return row
        raise KeyError(f"there is no row of {method!r} and {group!r}")

    def summary(self) -> dict[str, Any]:
        """Return all but the answers, as JSON holds it: NaN is None."""
        found = {"model": self.model, "by": self.by, "orders": self.orders, "condition": self.condition}
        rows = [{key: _plain(value) for key, value in asdict(row).items()} for row in self.rows]
        return {**found, "left_out": dict(self.left_out), "rows": rows}


def bias_report(
    model: LanguageModel,
    items: Sequence[Item],
    methods: Sequence[str] = METHODS,
    *,
    prompts: Prompts | None = None,
    orders: str = "cyclic",
    by: str = "auto",
    seed: int = 0,
    resamples: int = 1000,
    rng: int | np.random.Generator = 0,
    transcript: str | os.PathLike[str] | None = None,
    progress: bool = False,
) -> BiasReport:
    """Ask a model all items by all methods, and score what it answers, per group and over all.

    methods, prompts, orders, by, seed : as of `self_debias`
    resamples, rng : of the bootstrap over templates, `bootstrap_interval`
    transcript : a file that gets a line for each answer at once. Called again with the same arguments, what is in it is
        not asked again, and the report is the same; one of another model, items or settings is refused

    Raises ValueError for no items, two of one name, ambiguous ones among others, resamples below 1, or a transcript of
    a model whose name does not say which it is, `callable_model`; TypeError for what is no item or model; otherwise as
    `self_debias`.
    """
    texts = prompts or Prompts()
    asked = items if isinstance(items, Items) else Items(tuple(items))
    _check(asked, methods)
    if not isinstance(model, LanguageModel):
        raise TypeError(f"a language model has name, generate and choice_log_probs, got {model!r:.80}")
    at_least("resamples", resamples, 1)  # not after an hour of asking
    draw = np.random.default_rng(rng)
    called = model.name if transcript is None else named_for_files(model)
    reading = how_to_read(model, asked[0], by, texts)
    kept = None
    if transcript is not None:
        settings = {"model": called, "items": asked.digest(), "prompts": texts.as_dict(), "orders": orders}
        kept = Transcript(transcript, {**settings, "by": reading, "seed": seed})
    answers = []
    for method, item in progress_bar([(m, i) for m in methods for i in asked], "bias", enabled=progress):
        replies = None if kept is None else kept.answers.get((item.name, method))
        if replies is None:
            answer = self_debias(model, item, method, prompts=texts, orders=orders, by=reading, seed=seed)
            if kept is not None:
                kept.add(item.name, method, answer.replies)
        else:
            answer = Answer(item, method, replies, shares(replies))
        answers.append(answer)
    return report_of(answers, asked, model.name, reading, orders, resamples=resamples, rng=draw)


def report_of(
    answers: Sequence[Answer],
    items: Items,
    model: str,
    by: str,
    orders: str,
    *,
    resamples: int = 1000,
    rng: int | np.random.Generator = 0,
) -> BiasReport:
    """Return the report on answers that are there, all or some; nothing is asked."""
    condition = items[0].condition
    draw = int(np.random.default_rng(rng).integers(2**32))  # each interval from the same resampled templates
    rows = []
    for method in dict.fromkeys(answer.method for answer in answers):
        ours = [answer for answer in answers if answer.method == method]
        base = {answer.item.name: answer for answer in answers if answer.method == "baseline"}
        for group in ("all", *items.groups):
            inside = [answer for answer in ours if group in ("all", answer.item.group)]
            if inside:  # a run that was stopped may have none
                rows.append(_row(method, group, inside, base, condition, resamples, draw))
    return BiasReport(model, by, orders, condition, dict(items.left_out), tuple(rows), tuple(answers))


def _row(
    method: str,
    group: str,
    answers: list[Answer],
    base: dict[str, Answer],
    condition: str,
    resamples: int,
    draw: int,
) -> BiasRow:
    read = [answer for answer in answers if answer.kinds is not None]
    first = [answer.as_written for answer in answers]
    replies = [reply for answer in answers for reply in answer.replies]
    mass = [np.exp(reply.log_probs).sum() for reply in replies if reply.log_probs is not None]
    right = [answer.shares[answer.item.label] for answer in read]  # type: ignore[index]
    score, interval = _score(read, condition, resamples, draw)
    written, written_interval = _score([a for a in first if a.kinds is not None], condition, resamples, draw)
    change, change_interval = None, None
    if method != "baseline" and base:
        change, change_interval = _change(read, base, condition, resamples, draw)
    return BiasRow(
        method=method,
        group=group,
        items=len(answers),
        score=score,
        interval=interval,
        change=change,
        change_interval=change_interval,
        as_written=written,
        as_written_interval=written_interval,
        accuracy=float(np.mean(right)) if right else float("nan"),
        unparsable=float(np.mean([reply.letter is None for reply in replies])),
        unanswered=1 - len(read) / len(answers),
        letters_before=_mean_shares(first),
        letters=_mean_shares(answers),
        positions=_frequencies([reply.letter for reply in replies]),
        letter_mass=float(np.mean(mass)) if len(mass) == len(replies) else None,
    )


def _score(answers: list[Answer], condition: str, resamples: int, draw: int) -> tuple[float, Interval]:
    """Return the score of answers that could be read, and its interval."""
    if not answers:
        return float("nan"), (float("nan"), float("nan"))
    above, below = parts(np.array([answer.kinds for answer in answers]), condition)
    total = float(below.sum())
    clusters = [answer.item.template for answer in answers]
    low, high = bootstrap_interval(above, below, clusters, resamples=resamples, rng=draw)
    return (float(above.sum()) / total if total > 0 else 0.0), (max(low, -1.0), min(high, 1.0))


def _change(
    read: list[Answer], base: dict[str, Answer], condition: str, resamples: int, draw: int
) -> tuple[float, Interval]:
    """Return the score minus that of the baseline, item by item, and its interval; for ambiguous items only."""
    pairs = [(a, base[a.item.name]) for a in read if base[a.item.name].kinds is not None]
    if not pairs or condition != "ambig":
        return float("nan"), (float("nan"), float("nan"))
    ours, theirs = (parts(np.array([pair[k].kinds for pair in pairs]), condition)[0] for k in (0, 1))
    clusters = [a.item.template for a, _ in pairs]
    interval = bootstrap_interval(ours - theirs, np.ones(len(pairs)), clusters, resamples=resamples, rng=draw)
    return float(np.mean(ours - theirs)), interval


def _mean_shares(answers: list[Answer]) -> tuple[float, ...]:
    found = [answer.shares for answer in answers if answer.shares is not None]
    return tuple(float(value) for value in np.mean(found, axis=0)) if found else len(LETTERS) * (float("nan"),)


def _frequencies(letters: list[str | None]) -> tuple[float, ...]:
    said = [letter for letter in letters if letter is not None]
    return tuple(said.count(letter) / len(said) if said else float("nan") for letter in LETTERS)


def _plain(value: Any) -> Any:
    if isinstance(value, tuple):
        return [_plain(entry) for entry in value]
    return None if isinstance(value, float) and np.isnan(value) else value


def _check(items: Items, methods: Sequence[str]) -> None:
    if wrong := [k for k, item in enumerate(items) if not isinstance(item, Item)]:
        raise TypeError(f"item {wrong[0]} must be an Item, as of read_bbq, got {type(items[wrong[0]]).__name__}")
    if not len(items):
        raise ValueError("there are no items to ask: read some with read_bbq, or take own_items()")
    if len({item.condition for item in items}) > 1:
        raise ValueError("ambiguous and disambiguated items are scored by two formulas: give one kind at a time")
    if len({item.name for item in items}) < len(items):
        raise ValueError("two items have one name; each needs its own, by which its answers are kept")
    if isinstance(methods, str) or not methods or set(methods) - set(METHODS) or len(set(methods)) < len(methods):
        raise ValueError(f"methods must be some of {', '.join(METHODS)}, each once, got {methods!r}")
