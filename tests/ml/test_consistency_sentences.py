"""Sentences of texts: abbreviations, decimals, lists, lengths, any text at all; intervals of what is no number."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ml.language.consistency import auroc, auroc_interval, mean_interval, split_sentences
from ml.language.consistency.sentences import END


@pytest.mark.parametrize(
    ("text", "sentences"),
    [
        ("It is red. It is blue.", ["It is red.", "It is blue."]),
        ("Is it red? No! It is blue", ["Is it red?", "No!", "It is blue"]),
        # decimals, versions, times, addresses
        ("Pi is 3.14159. It is not 3.", ["Pi is 3.14159.", "It is not 3."]),
        ("It costs $2.50. We paid 1.000,50 EUR.", ["It costs $2.50.", "We paid 1.000,50 EUR."]),
        ("See www.example.org/a.b. It is short.", ["See www.example.org/a.b.", "It is short."]),
        ("It took place in 1994. Houston won.", ["It took place in 1994.", "Houston won."]),
        # abbreviations
        ("Dr. Smith met Mrs. Jones. They spoke.", ["Dr. Smith met Mrs. Jones.", "They spoke."]),
        ("Cities, e.g. Rome, are old. Some, i.e. Ur, are gone.",
         ["Cities, e.g. Rome, are old.", "Some, i.e. Ur, are gone."]),
        ("He lives in St. John's Sq. near it. It rains.", ["He lives in St. John's Sq. near it.", "It rains."]),
        ("See Fig. 3 and No. 7. The answer was no. That is all.",
         ["See Fig. 3 and No. 7.", "The answer was no.", "That is all."]),
        ("It opens at 9 a.m. on Mondays. Bring apples, pears, etc. They are good.",
         ["It opens at 9 a.m. on Mondays.", "Bring apples, pears, etc.", "They are good."]),
        ("It was Jan. 5. Then came Feb. 6.", ["It was Jan. 5.", "Then came Feb. 6."]),
        # initials
        ("J. R. R. Tolkien wrote. George W. Bush read.", ["J. R. R. Tolkien wrote.", "George W. Bush read."]),
        ("The U.S. Army came. It left.", ["The U.S. Army came.", "It left."]),
        ("So did I. We left.", ["So did I.", "We left."]),
        # quotes and brackets
        ('He said "Go." Then he left.', ['He said "Go."', "Then he left."]),
        ("(It is old.) It stands.", ["(It is old.)", "It stands."]),
        # marks alone
        ("Wait ... what? He left ...", ["Wait ... what?", "He left ..."]),
        ("What?! No... Yes.", ["What?!", "No...", "Yes."]),
        # lines and lists
        ("1. Paris\n2. Rome\n3) Oslo", ["Paris", "Rome", "Oslo"]),
        ("Cities:\n- Paris\n- Rome\n\nThat is all.", ["Cities:", "Paris", "Rome", "That is all."]),
        ("It is a line\nthat goes on. Here.", ["It is a line that goes on.", "Here."]),
        ("  It \t is   red.  ", ["It is red."]),
        # other scripts
        ("東京は首都です。大阪は違う！", ["東京は首都です。", "大阪は違う！"]),
        ("Это дом. Он стар.", ["Это дом.", "Он стар."]),
    ],
)  # fmt: skip
def test_sentences(text: str, sentences: list[str]) -> None:
    assert split_sentences(text) == sentences


@pytest.mark.parametrize("text", ["", " ", "\n\n", "...", "?!", "- \n - ", "…"])
def test_no_sentence_without_a_letter_or_digit(text: str) -> None:
    assert split_sentences(text) == []


def test_long_sentences_are_broken_at_clauses_or_spaces() -> None:
    text = "one two three, four five; six seven eight nine ten eleven twelve."
    assert split_sentences(text, longest=5) == [
        "one two three, four five;",
        "six seven eight nine ten",
        "eleven twelve.",
    ]
    assert split_sentences("x" * 450) == ["x" * 200 + " " + "x" * 200 + " " + "x" * 50]
    assert split_sentences(text, longest=50) == [text]
    assert split_sentences("one : two", longest=1) == ["one", "two"]


@settings(deadline=None)  # the first call of a busy machine may take long
@given(st.text(max_size=300), st.integers(1, 20))
def test_any_text_keeps_its_letters_and_lengths(text: str, longest: int) -> None:
    """Marks of lists aside, no letter is lost, and splitting once more changes nothing of the length."""
    parts = split_sentences(text, longest)
    assert all(1 <= len(part.split(" ")) <= longest for part in parts)
    assert all(any(map(str.isalnum, part)) for part in parts)
    letters = [c for c in text if c.isalpha()]
    assert [c for part in parts for c in part if c.isalpha()] == letters
    assert split_sentences(text, longest) == parts


@pytest.mark.parametrize("text", [None, 3, b"It is."])
def test_something_that_is_no_text(text) -> None:
    with pytest.raises(TypeError, match="a text is a str"):
        split_sentences(text)


def test_a_length_below_one() -> None:
    with pytest.raises(ValueError, match="longest=0"):
        split_sentences("It is.", 0)


N = 10**6


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("." * N, 0),
        ("a" + "." * N + "b", 2),
        (".)" * (N // 2), 0),
        ("A. " * (N // 4), N // 4 // 50),
        ("a. " * (N // 4), N // 4 // 50),
        ("a" + " ." * (N // 4), 1),
        ("a " * (N // 2), N // 2 // 50),
    ],
    ids=["marks", "marks in a word", "brackets", "initials", "lower case", "marks alone", "words"],
)
def test_a_million_characters(text: str, count: int) -> None:
    """Each takes seconds; where the time is quadratic, from minutes to hours."""
    assert len(split_sentences(text, 5000 if count == 2 else 50)) in (count, count + 1)


def test_a_run_of_marks_is_tried_once() -> None:
    """No match starts inside a run: that is what makes it linear."""
    run = "." * 9 + " "
    assert [k for k in range(len(run)) if END.match(run, k)] == [0]


# intervals: what is no number


def test_intervals_leave_nan_out_and_refuse_the_infinite() -> None:
    with_nan = auroc_interval([np.nan, 2.0, 3.0, 1.0], [0.0, 1.5, np.nan])
    assert with_nan == auroc_interval([2.0, 3.0, 1.0], [0.0, 1.5])
    assert with_nan.count == 5
    assert auroc([np.nan, 2.0], [1.0]) == 1
    with pytest.raises(ValueError, match="both kinds"):
        auroc_interval([np.nan], [1.0])
    for wrong in (np.inf, -np.inf):
        for make in (auroc, auroc_interval, lambda a, b: mean_interval(a)):
            with pytest.raises(ValueError, match="infinite"):
                make([1.0, wrong], [0.0, 1.0])
