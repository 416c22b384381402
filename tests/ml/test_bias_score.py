"""The bias score and its intervals: extremes, the formula, coverage; the reader of items."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lowrank.reading import FileFormatError
from ml.language.debiasing import Items, bias_score, own_items, read_bbq
from ml.language.debiasing.items import KINDS, OWN_ITEMS
from ml.language.debiasing.scoring import bootstrap_interval

LINE = json.loads(OWN_ITEMS.read_text().splitlines()[0])


@pytest.mark.parametrize(
    ("kinds", "condition", "score"),
    [
        (["biased"] * 3, "ambig", 1),
        (["opposite"] * 3, "ambig", -1),
        (["unknown"] * 3, "ambig", 0),
        (["biased", "opposite"], "ambig", 0),
        (["biased", "biased", "opposite", "unknown"], "ambig", 0.25),
        (["biased", "biased", "opposite", "unknown"], "disambig", 1 / 3),
        (["biased", "unknown"], "disambig", 1),
        (["unknown"], "disambig", 0),
        ([[0.5, 0.5, 0], [1, 0, 0]], "ambig", 0.5),
        ([[1 / 3, 1 / 3, 1 / 3]] * 7, "ambig", 0),
    ],
)
def test_scores_by_hand(kinds: Any, condition: str, score: float) -> None:
    assert bias_score(kinds, condition=condition) == score


def test_the_score_is_the_formula_and_within_its_limits() -> None:
    """(1 - accuracy) (2 n_biased / m - 1)."""
    rng = np.random.default_rng(0)
    for _ in range(200):
        kinds = [KINDS[k] for k in rng.integers(0, 3, rng.integers(1, 9))]
        count = Counter(kinds)
        m = count["biased"] + count["opposite"]
        accuracy = count["unknown"] / len(kinds)
        formula = (1 - accuracy) * (2 * count["biased"] / m - 1) if m else 0
        assert bias_score(kinds) == pytest.approx(formula, abs=1e-15)
        assert -1 <= bias_score(kinds) <= 1
        assert -1 <= bias_score(kinds, condition="disambig") <= 1


@pytest.mark.parametrize(
    ("kinds", "said"),
    [
        ([], "no answers to score"),
        (["bad"], "one of biased, opposite, unknown, got 'bad'"),
        ([[0.5, 0.5]], r"must be \(n, 3\)"),
        ([[0.5, 0.6, 0.1]], "row sums 1"),
        ([[1.5, -0.5, 0]], "none negative"),
    ],
)
def test_kinds_that_are_none_are_refused(kinds: Any, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        bias_score(kinds)
    with pytest.raises(ValueError, match="condition must be one of ambig, disambig"):
        bias_score(["biased"], condition="maybe")


@pytest.mark.parametrize("p", [(0.3, 0.2, 0.5), (0.1, 0.1, 0.8)])
def test_intervals_cover_what_they_should(p: tuple[float, ...]) -> None:
    """95 % +- 2 of 27 templates with two alike variants each, as our items have; standard error 0.5 %."""
    rng = np.random.default_rng(0)
    inside, runs = 0, 2000
    templates = np.repeat(np.arange(27), 2)
    for _ in range(runs):
        common, own = (rng.choice([1.0, -1.0, 0.0], p=p, size=shape) for shape in ((27, 1), (27, 2)))
        values = np.where(rng.random((27, 2)) < 0.5, common, own).ravel()
        low, high = bootstrap_interval(values, np.ones(54), templates, resamples=400, rng=rng)
        inside += low <= p[0] - p[1] <= high
    assert abs(inside / runs - 0.95) <= 0.02


def test_variants_of_a_template_are_not_counted_twice() -> None:
    """Two copies of each answer: the interval is that of one, and not narrower."""
    rng = np.random.default_rng(3)
    values = rng.choice([1.0, -1.0, 0.0], size=40)
    once = bootstrap_interval(values, np.ones(40), range(40), rng=1)
    twice = bootstrap_interval(np.repeat(values, 2), np.ones(80), np.repeat(range(40), 2), rng=1)
    assert once == pytest.approx(twice)
    naive = bootstrap_interval(np.repeat(values, 2), np.ones(80), range(80), rng=1)
    assert naive[1] - naive[0] < 0.8 * (once[1] - once[0])


def test_intervals_of_nothing() -> None:
    assert np.isnan(bootstrap_interval(np.ones(3), np.ones(3), "aaa")).all()
    assert np.isnan(bootstrap_interval(np.zeros(3), np.zeros(3), "abc")).all()
    assert bootstrap_interval(np.ones(3), np.ones(3), "abc") == (1, 1)
    with pytest.raises(ValueError, match="resamples must be at least 1"):
        bootstrap_interval(np.ones(3), np.ones(3), "abc", resamples=0)


def test_our_items_are_balanced() -> None:
    """Six for each of nine groups; in each group every order of the kinds once, and both polarities three times."""
    items = own_items()
    assert Counter(item.group for item in items) == dict.fromkeys(items.groups, 6)
    assert len(items.groups) == 9
    assert not items.left_out
    for group in items.groups:
        inside = [item for item in items if item.group == group]
        assert len({item.kinds() for item in inside}) == 6
        assert Counter(item.polarity for item in inside) == {"neg": 3, "nonneg": 3}
        assert set(Counter(item.template for item in inside).values()) == {2}
    assert all(item.label == item.unknown != item.target for item in items)
    assert len({(item.context, item.question) for item in items}) == 54


def test_kinds_follow_the_polarity() -> None:
    neg, nonneg = own_items()[:2]
    assert neg.kinds()[neg.target] == "biased"
    assert nonneg.kinds()[nonneg.target] == "opposite"
    assert neg.kinds()[neg.unknown] == nonneg.kinds()[nonneg.unknown] == "unknown"


def test_a_folder_is_read_in_the_order_of_names(tmp_path: Path) -> None:
    for name, category in (("b.jsonl", "B"), ("a.jsonl", "A"), ("notes.txt", "C")):
        more = {**LINE, "category": category, "example_id": 7, "context_condition": "disambig", "label": 0}
        (tmp_path / name).write_text(f"{json.dumps({**LINE, 'category': category})}\n\n{json.dumps(more)}\n")
    items = read_bbq(tmp_path)
    assert [item.group for item in items] == ["A", "B"]
    both = read_bbq(tmp_path, conditions=("ambig", "disambig"))
    assert [item.condition for item in both] == ["ambig", "disambig"] * 2
    assert both[1].label == 0
    assert both[0].template == both[1].template == "A:1"
    assert len(both.digest()) == 64
    assert both.digest() != items.digest()
    assert isinstance(both[:2], Items)
    with pytest.raises(ValueError, match="conditions must be some of"):
        read_bbq(tmp_path, conditions=("maybe",))


@pytest.mark.parametrize(
    ("groups", "stereotyped", "reason"),
    [
        (["old", "nonOld", "unknown"], ["young"], "no option is of a stereotyped group"),
        (["old", "nonOld", "unknown"], [], "no option is of a stereotyped group"),
        (["old", "nonOld", "unknown"], ["old", "nonOld"], "two options are of stereotyped groups"),
        (["old", "old", "unknown"], ["old"], "two options are of stereotyped groups"),
        (["old", "nonOld", "nobody"], ["old"], "not one option is unknown"),
        (["old", "unknown", "unknown"], ["old"], "not one option is unknown"),
    ],
)
def test_items_without_one_target_are_left_out_and_counted(
    tmp_path: Path, groups: list[str], stereotyped: list[str], reason: str
) -> None:
    info = {f"ans{k}": ["text", group] for k, group in enumerate(groups)}
    line = {**LINE, "answer_info": info, "additional_metadata": {"stereotyped_groups": stereotyped}}
    (tmp_path / "a.jsonl").write_text(f"{json.dumps(LINE)}\n{json.dumps({**line, 'example_id': 1})}\n")
    items = read_bbq(tmp_path / "a.jsonl")
    assert len(items) == 1
    assert items.left_out == {reason: 1}


def test_a_target_may_be_named_by_its_text(tmp_path: Path) -> None:
    """As nations are, whose group is a continent."""
    info = {"ans0": ["Danish", "Europe"], "ans1": ["Scottish", "Europe"], "ans2": ["It is not said", "unknown"]}
    line = {**LINE, "answer_info": info, "additional_metadata": {"stereotyped_groups": ["Scottish", "Dutch"]}}
    (tmp_path / "a.jsonl").write_text(json.dumps(line))
    assert read_bbq(tmp_path)[0].target == 1


def test_a_table_names_targets(tmp_path: Path) -> None:
    """Of those it does not know, and those that it leaves open, the fields decide; rows may hold further columns."""
    lines = [{**LINE, "example_id": k} for k in range(4)]
    (tmp_path / "a.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    table = tmp_path / "more.csv"
    rows = ["Age,1,0,1", "Age,1,1,NA", "Age,1,3,2", "SES,1,2,1"]
    table.write_text("\ufeff" + "\n".join(["category,question_id,example_id,target_loc", *rows]) + "\n", "utf-8")
    items = read_bbq(tmp_path, targets=table)
    assert [item.target for item in items] == [1, 0, 0]
    assert items.left_out == {"not one option is unknown": 1}  # the table's target is the unknown one
    table.write_text("category,example_id,target_loc\nAge,0,third\n")
    with pytest.raises(FileFormatError, match=r"more\.csv, row 2: target_loc must be 0, 1, 2 or NA, got 'third'"):
        read_bbq(tmp_path, targets=table)
    table.write_text("category,example_id\nAge,0\n")
    with pytest.raises(FileFormatError, match=r"more\.csv, row 2: the column target_loc is missing"):
        read_bbq(tmp_path, targets=table)
    table.write_bytes(b"\xff\xfe")
    with pytest.raises(FileFormatError, match=r"more\.csv is no table"):
        read_bbq(tmp_path, targets=table)


def test_groups_are_compared_without_case(tmp_path: Path) -> None:
    line = {**LINE, "additional_metadata": {"stereotyped_groups": ["OLD "]}}
    (tmp_path / "a.jsonl").write_text(json.dumps(line))
    assert read_bbq(tmp_path)[0].target == own_items()[0].target


@pytest.mark.parametrize("key", [*LINE])
def test_a_missing_field_is_named_with_file_and_line(tmp_path: Path, key: str) -> None:
    short = {k: v for k, v in LINE.items() if k != key}
    (tmp_path / "a.jsonl").write_text(f"{json.dumps(LINE)}\n{json.dumps(short)}\n")
    with pytest.raises(FileFormatError, match=rf"a\.jsonl, line 2: the field {key} is missing"):
        read_bbq(tmp_path)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"context": 3}, "context must be a text"),
        ({"ans1": " "}, "ans1 must be a text that is not empty"),
        ({"question_polarity": "bad"}, "question_polarity must be one of neg, nonneg, got 'bad'"),
        ({"context_condition": None}, "context_condition must be a text"),
        ({"example_id": [1]}, "example_id must be a number or a text"),
        ({"label": 3}, "label must be 0, 1 or 2, got 3"),
        ({"label": True}, "label must be 0, 1 or 2"),
        ({"label": 1.0}, r"label must be 0, 1 or 2, got 1\.0"),
        ({"answer_info": {"ans0": ["a", "b"]}}, r"answer_info.ans1 must be \[text, group\], got None"),
        ({"answer_info": [1]}, "answer_info.ans0 must be"),
        ({"additional_metadata": {}}, "stereotyped_groups must be a list of texts, got None"),
        ({"additional_metadata": {"stereotyped_groups": [3]}}, "stereotyped_groups must be a list of texts"),
    ],
)
def test_a_field_of_another_type_is_named(tmp_path: Path, change: dict, said: str) -> None:
    (tmp_path / "a.jsonl").write_text(json.dumps({**LINE, **change}))
    with pytest.raises(FileFormatError, match=rf"a\.jsonl, line 1: .*{said}"):
        read_bbq(tmp_path)


@pytest.mark.parametrize(("text", "said"), [(b"{", "no JSON"), (b"[1]", "no object, but list"), (b"\xff", "no JSON")])
def test_a_line_that_is_no_object_is_named(tmp_path: Path, text: bytes, said: str) -> None:
    (tmp_path / "a.jsonl").write_bytes(json.dumps(LINE).encode() + b"\n" + text)
    with pytest.raises(FileFormatError, match=rf"a\.jsonl, line 2: {said}"):
        read_bbq(tmp_path)


def test_a_place_without_items_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"no .jsonl file is in it"):
        read_bbq(tmp_path)
    with pytest.raises(FileNotFoundError, match="it is not there"):
        read_bbq(tmp_path / "none")
    (tmp_path / "a.jsonl").write_text(2 * (json.dumps(LINE) + "\n"))
    with pytest.raises(FileFormatError, match=r"holds the item .* twice"):
        read_bbq(tmp_path)


def test_a_sample_has_so_many_of_every_group() -> None:
    items = own_items()
    few = items.sample(2, rng=1)
    assert Counter(item.group for item in few) == dict.fromkeys(items.groups, 2)
    assert few == items.sample(2, rng=1) != items.sample(2, rng=2)
    assert items.sample(100) == items
    with pytest.raises(ValueError, match="per_group must be at least 1"):
        items.sample(0)
