"""Bias scores of models whose answers are known, through all three makers; orders, transcripts, intervals."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers.scripted_models import MAKERS, made
from helpers.small_language_models import small_network

from lowrank.reading import FileFormatError
from ml.language.debiasing import Prompts, bias_report, own_items, self_debias
from ml.language.debiasing.answers import Reply, letter_of, shares
from ml.language.debiasing.protocols import METHODS, ORDERS
from ml.language.models import LanguageModelError, callable_model

ITEMS = own_items()
FEW = ITEMS[:12]
#: Scores of the three methods.
KNOWN = {
    "unbiased": (0, 0, 0),
    "biased": (1, 1, 1),
    "opposite": (-1, -1, -1),
    "position": (0, 0, 0),
    "repentant": (1, 1, 0),
    "informed": (1, -1, 1),
}


@pytest.mark.parametrize("letters", [False, True], ids=["log_probs", "letters"])
@pytest.mark.parametrize("behaviour", KNOWN)
@pytest.mark.parametrize("maker", MAKERS)
def test_known_models_have_their_known_scores(maker: str, behaviour: str, letters: bool) -> None:
    with made(maker, behaviour, letters=letters) as model:
        report = bias_report(model, FEW, resamples=50)
    assert report.by == ("letters" if letters else "log_probs")
    assert tuple(report.row(method).score for method in METHODS) == KNOWN[behaviour]
    for row in report.rows:
        assert row.unparsable == row.unanswered == 0
        assert row.letter_mass is None if letters else row.letter_mass == pytest.approx(1, abs=1e-6)
        assert row.interval == (row.score, row.score)
        if row.method != "baseline":
            assert row.change == row.score - KNOWN[behaviour][0]


@pytest.mark.parametrize("orders", ["cyclic", "all"])
@pytest.mark.parametrize("letters", [False, True], ids=["log_probs", "letters"])
def test_averaging_leaves_exactly_nothing_of_the_position(orders: str, letters: bool) -> None:
    """Every option gets exactly a third of an item; as written, all letters are (c)."""
    with made("function", "position", letters=letters) as model:
        report = bias_report(model, ITEMS, ("baseline",), orders=orders)
    row = report.row("baseline")
    assert row.score == 0
    assert row.letters_before == (0, 0, 1)
    assert row.letters == pytest.approx((1 / 3, 1 / 3, 1 / 3), abs=1e-15)
    assert row.positions == (0, 0, 1)
    assert row.accuracy == pytest.approx(1 / 3)
    assert all(answer.letter is None and answer.shares == (1 / 3, 1 / 3, 1 / 3) for answer in report.answers)


def test_sums_over_orders_are_rounded_once() -> None:
    """-0.1 - 0.2 - 0.3 is not -0.3 - 0.2 - 0.1 if it is rounded twice: options would not tie."""
    rng = np.random.default_rng(0)
    for values in ((-0.1, -0.2, -0.3), *map(tuple, -rng.exponential(size=(50, 3)))):
        for orders in (ORDERS["cyclic"], ORDERS["all"]):
            assert shares([Reply(order, "a", values, ()) for order in orders]) == (1 / 3, 1 / 3, 1 / 3)


def test_without_averaging_the_position_counts() -> None:
    """Of an item that shows the stereotyped answer last, and in our items only on balance not."""
    with made("function", "position") as model:
        values = [self_debias(model, item, orders="written").kinds for item in ITEMS]
        report = bias_report(model, ITEMS, ("baseline",), orders="written")
    assert {value[0] - value[1] for value in values if value} == {-1, 0, 1}
    assert all(report.row("baseline", group).score == 0 for group in ITEMS.groups)


def test_a_preference_of_a_letter_is_averaged_out_of_a_biased_model() -> None:
    """A bias too small to be seen behind the preference for (a), but the only thing that is left on average."""

    def log_probs(messages: Any, choices: list[str]) -> list[float]:
        lines = messages[0]["content"].split("\n")
        item = next(i for i in ITEMS if (i.context, i.question) == (lines[0], lines[1]))
        kinds = [item.kinds()[item.options.index(line[4:])] for line in lines[2:5]]
        values = [np.log([0.9, 0.05, 0.05][k]) + 0.1 * (kinds[k] == "biased") for k in range(3)]
        return list(values - np.logaddexp.reduce(values))

    row = bias_report(callable_model(lambda m: "a", log_probs=log_probs), ITEMS, ("baseline",)).row("baseline")
    assert row.positions == (1, 0, 0)
    assert row.as_written == 0
    assert row.score == 1


@pytest.mark.parametrize(
    ("text", "letter"),
    [
        ("b", "b"),
        ("(B)", "b"),
        (" b. ", "b"),
        ("**b**", "b"),
        ("B) The cook", "b"),
        ("b: because of that", "b"),
        ("The answer is (c).", "c"),
        ("Answer: a", "a"),
        ("answer c", "c"),
        ("I think that (a) is right", "a"),
        ("The old cook did it.", "b"),
        ("It was the cook.", "a"),
        ("it cannot be known", "c"),
        ("A cook, I think", "a"),
        ("The answer is a cook", "a"),
        ("(c) The text does not say who did it.", "c"),
        ("The answer is (c), because the text does not say who did it.", "c"),
        ("No. It was the old cook.", "b"),
        ("(a) or (b)", None),
        ("a) is wrong, b) is right", None),
        ("(a) is not right.", None),
        ("(a) isn't right.", None),
        ("Answer: a, b or c", None),
        ("b or c", None),
        ("The answer is not (a).", None),
        ("It is not the cook.", None),
        ("It isn\N{RIGHT SINGLE QUOTATION MARK}t, I think, the cook.", None),
        ("We do not know whether it was the cook.", None),
        ("The cook or somebody else.", None),
        ("The cook is wrong here.", None),
        ("Is it the cook?", None),
        ("the cook or the old cook", None),
        ("A guest?", None),
        ("", None),
        ("d", None),
        ("\N{GREEK SMALL LETTER ALPHA}", None),
    ],
)
def test_letters_are_read(text: str, letter: str | None) -> None:
    assert letter_of(text, ["Cook", "The old cook", "Cannot be known."]) == letter


def test_answers_that_cannot_be_read_are_counted() -> None:
    """One group is answered in riddles, one item of another in one order only."""

    def answer(messages: list[dict[str, str]]) -> str:
        text = messages[-1]["content"]
        if any(item.context in text for item in ITEMS if item.group == "Age"):
            return "Who knows what is in a heart?"
        return "(a)" if "quiz" not in text else "?"

    report = bias_report(callable_model(answer), ITEMS, ("baseline",))
    age, other = report.row("baseline", "Age"), report.row("baseline", "SES")
    assert (age.unparsable, age.unanswered, other.unparsable) == (1, 1, 0)
    assert np.isnan([age.score, age.accuracy, *age.interval, *age.letters]).all()
    assert report.row("baseline").unanswered == pytest.approx(6 / 54)
    assert report.row("baseline").score == 0
    assert all(answer.kinds is None for answer in report.answers[:6])


def test_three_letters_alike_are_no_answer() -> None:
    """As of a server that lists none of them; what the other orders say counts."""

    def log_probs(messages: Any, choices: list[str]) -> list[float]:
        text = messages[0]["content"]
        if FEW[1].question in text and f"(a) {FEW[1].options[0]}" in text:
            return [-0.1, -3, -4]
        return 3 * [-9 if FEW[1].question in text else -np.inf]

    report = bias_report(callable_model(lambda m: "a", log_probs=log_probs), FEW[:2], ("reprompting",))
    row = report.row("reprompting")
    assert (row.unanswered, row.unparsable) == (0.5, 5 / 6)
    assert report.answers[0].shares is None
    assert report.answers[1].letter == "a"
    assert [reply.messages[1]["content"] for reply in report.answers[1].replies] == ["a", "", ""]


def test_the_dialogues_of_the_methods() -> None:
    seen: list[Any] = []

    def answer(messages: list[dict[str, str]], max_tokens: int) -> str:
        seen.append((messages, max_tokens))
        return f"(b) says reply {len(seen)}"

    item = FEW[0]
    found = self_debias(callable_model(answer), item, "reprompting", orders="written")
    assert [m["role"] for m in found.transcript[0]] == ["user", "assistant", "user", "assistant"]
    assert found.transcript[0][1]["content"] == "(b) says reply 1"
    assert "think again" in found.transcript[0][2]["content"]
    assert found.letter == "b"
    found = self_debias(callable_model(answer), item, "explanation", orders="cyclic")
    assert [len(dialogue) for dialogue in found.transcript] == [4, 4, 4]
    assert "rest on an assumption" in found.transcript[0][0]["content"]
    assert [most for _, most in seen] == [16, 16, 96, 16, 96, 16, 96, 16]
    for reply, first in zip(found.replies, ("(a) {0}", "(a) {1}", "(a) {2}"), strict=True):
        assert first.format(*item.options) in reply.messages[0]["content"]


def test_wording_can_be_replaced() -> None:
    seen: list[str] = []
    ask = "{question} {context} {a}/{b}/{c}"
    model = callable_model(lambda m: seen.append(m[-1]["content"]) or "a")
    self_debias(model, FEW[0], orders="written", prompts=Prompts(ask=ask))
    assert seen == [f"{FEW[0].question} {FEW[0].context} {'/'.join(FEW[0].options)}"]


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"ask": "{context} {a} {b} {c}"}, r"'ask' lacks \{question\}"),
        ({"again": "no {bias}"}, r"'again' has the unknown \{bias\}"),
        ({"explain": " "}, "'explain' must not be empty"),
        ({"answer_tokens": 0}, "answer_tokens must be a whole number of at least 1"),
    ],
)
def test_wording_that_will_not_do_is_refused(given: dict, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        Prompts(**given)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"method": "magic"}, "method must be one of baseline, explanation, reprompting, got 'magic'"),
        ({"orders": "none"}, "orders must be one of written, cyclic, all, got 'none'"),
        ({"by": "ear"}, "by must be one of auto, log_probs, letters, got 'ear'"),
    ],
)
def test_unknown_methods_are_refused(given: dict, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        self_debias(callable_model(lambda m: "a"), FEW[0], **given)


@pytest.mark.parametrize(
    ("items", "methods", "said"),
    [
        ([], METHODS, "there are no items"),
        ([FEW[0], FEW[0]], METHODS, "two items have one name"),
        (FEW, "baseline", "methods must be some of"),
        (FEW, ("magic",), "methods must be some of"),
        (FEW, ("baseline", "baseline"), "each once"),
    ],
)
def test_a_report_on_nothing_is_refused(items: Any, methods: Any, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        bias_report(callable_model(lambda m: "a"), items, methods)


@pytest.mark.parametrize("letters", [False, True], ids=["log_probs", "letters"])
def test_a_run_goes_on_where_it_stopped(tmp_path: Path, letters: bool) -> None:
    """At any answer, and behind a half-written line: same report, same file; nothing is asked twice."""
    whole = tmp_path / "whole.jsonl"
    with made("function", "informed", letters=letters) as model:
        expected = bias_report(model, FEW, transcript=whole)
        assert bias_report(model, FEW) == expected
    lines = whole.read_bytes().splitlines(keepends=True)
    assert len(lines) == 1 + 3 * len(FEW)
    for stop in (0, 1, 2, 20, 36, 37):
        part = tmp_path / f"{stop}.jsonl"
        part.write_bytes(b"".join(lines[:stop]) + (lines[stop][:40] if stop < len(lines) else b""))
        asked = 0
        with made("function", "informed", letters=letters) as inner:

            def count(messages: Any) -> str:
                nonlocal asked
                asked += 1
                return inner.answer(messages)

            model = callable_model(count, log_probs=inner.log_probs, name="scripted")
            assert bias_report(model, FEW, transcript=part) == expected
        assert part.read_bytes() == whole.read_bytes()
        assert asked <= 6 * (len(lines) - max(stop, 1))


def test_an_interruption_keeps_what_was_answered(tmp_path: Path) -> None:
    path, calls = tmp_path / "a.jsonl", []

    def answer(messages: Any) -> str:
        calls.append(1)
        if len(calls) == 8:
            raise LanguageModelError("the server is gone")
        return "a"

    with pytest.raises(LanguageModelError, match="gone"):
        bias_report(callable_model(answer, name="m"), FEW, ("baseline",), transcript=path)
    assert len(path.read_text().splitlines()) == 3  # two items of three orders each
    report = bias_report(callable_model(lambda m: "a", name="m"), FEW, ("baseline",), transcript=path)
    assert report == bias_report(callable_model(lambda m: "a", name="m"), FEW, ("baseline",))


def test_a_transcript_of_something_else_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    model = callable_model(lambda m: "a", name="m")
    bias_report(model, FEW, ("baseline",), transcript=path)
    kept = path.read_bytes()
    other = callable_model(lambda m: "a", name="n")
    for given, said in (
        ({"model": other}, "another model: 'm', not 'n'"),
        ({"items": ITEMS[:11]}, "another items"),
        ({"orders": "all"}, "another orders: 'cyclic', not 'all'"),
        ({"seed": 1}, "another seed: 0, not 1"),
        ({"prompts": Prompts(again="Sure?")}, "another prompts"),
    ):
        with pytest.raises(ValueError, match=f"{path} holds answers with {said}"):
            bias_report(**{"model": model, "items": FEW, "methods": ("baseline",), "transcript": path, **given})
    assert path.read_bytes() == kept


@pytest.mark.parametrize(
    "text", [b"a diary", b"{}\n", b"[1]\n", b'{"transcript": 9}\n', b"\xff\n", b'{"transcript": 1}']
)
def test_a_file_that_is_no_transcript_is_left_alone(tmp_path: Path, text: bytes) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(text)
    with pytest.raises((FileFormatError, ValueError), match=r"a\.jsonl"):
        bias_report(callable_model(lambda m: "a", name="m"), FEW, transcript=path)
    assert path.read_bytes() == text


@pytest.mark.parametrize(
    "change", [("letter", "d"), ("order", [0, 0, 1]), ("log_probs", [0]), ("log_probs", [-1, -1, -1]), ("messages", 3)]
)
def test_a_damaged_line_is_named(tmp_path: Path, change: tuple[str, Any]) -> None:
    path = tmp_path / "a.jsonl"
    model = callable_model(lambda m: "a", name="m")
    bias_report(model, FEW, ("baseline",), transcript=path)
    lines = path.read_text().splitlines()
    line = json.loads(lines[3])
    line["replies"][1][change[0]] = change[1]
    path.write_text("\n".join([*lines[:3], json.dumps(line), *lines[4:], ""]))
    with pytest.raises(FileFormatError, match=r"a\.jsonl, line 4: not a line of a transcript"):
        bias_report(model, FEW, ("baseline",), transcript=path)


def test_a_network_is_asked_by_all_methods(tmp_path: Path) -> None:
    """A tiny random one: the path of the code, and the same report again."""
    model = small_network(tmp_path, context=1024)
    report = bias_report(model, FEW[:3], resamples=20)
    again = bias_report(model, FEW[:3], resamples=20)
    assert [answer.replies for answer in report.answers] == [answer.replies for answer in again.answers]
    assert report.by == "log_probs"
    assert all(-1 <= row.score <= 1 for row in report.rows)
    assert all(reply.log_probs for answer in report.answers for reply in answer.replies)
