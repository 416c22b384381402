"""Text that fits the terminal: no line is wider, and no number or word is cut."""

from __future__ import annotations

import pytest

from lowrank.terminal import columns, labelled, terminal_width, thinned, wrapped

WORDS = "the largest bound 9.61e-03 is at most 1.0e-02, and k1, k2 are in [0.1, 10] " * 3


@pytest.mark.parametrize("width", [40, 60, 80, 132])
def test_nothing_is_wider_and_nothing_is_cut(width: int) -> None:
    for made in (
        wrapped(f"  {WORDS}", width),
        labelled([("size", WORDS), ("a label that is longer than others", WORDS)], width),
        columns(["leaf", "N", "box"], [["0", "12", WORDS], ["10", "3", WORDS]], width),
    ):
        assert max(map(len, made.splitlines())) <= width
        assert made == "\n".join(line.rstrip() for line in made.splitlines())
        for word in set(WORDS.split()):
            assert word in made.split()


def test_texts_stand_beside_their_labels() -> None:
    made = labelled([("size", "N = 8"), ("made", "x " * 30), ("a label that is longer than others", "y")], 40)
    first, second, *more, head, last = made.splitlines()
    assert (first, second) == ("  size:  N = 8", "  made:  " + " ".join("x" * 16))
    assert more == [" " * 9 + " ".join("x" * 14)]
    assert (head, last) == ("  a label that is longer than others:", " " * 9 + "y")


def test_numbers_are_on_the_right_and_words_on_the_left() -> None:
    rows = columns(["phase", "wall s", "share"], [["offline", "1.25", "9%"], ["figures and film", "10.50", "-"]])
    assert rows.splitlines() == [
        "  phase             wall s  share",
        "  offline             1.25     9%",
        "  figures and film   10.50      -",
    ]


def test_columns_that_do_not_fit_follow_below_with_the_first_one() -> None:
    headings, row = ["phase", "wall seconds", "processor seconds", "of it"], ["offline", "1.25", "1.31", "9%"]
    assert columns(headings, [row], 51).splitlines() == [
        "  phase    wall seconds  processor seconds  of it",
        "  offline          1.25               1.31     9%",
    ]
    assert columns(headings, [row], 43).splitlines() == [
        "  phase    wall seconds  processor seconds",
        "  offline          1.25               1.31",
        "",
        "  phase    of it",
        "  offline     9%",
    ]


def test_a_last_column_of_words_has_a_part_of_its_own_rather_than_a_few_letters() -> None:
    made = columns(["leaf", "bound", "seen", "floor", "box"], [["0", "1.0e-01", "99", "2.0e-16", WORDS]], 40)
    assert max(map(len, made.splitlines())) <= 40
    assert made.splitlines()[:4] == [
        "  leaf    bound  seen    floor",
        "     0  1.0e-01    99  2.0e-16",
        "",
        "  leaf  box",
    ]
    assert made.partition("box")[2].split() == ["0", *WORDS.split()]


def test_a_table_without_rows_has_its_headings() -> None:
    assert columns(["N", "bound"], []) == "  N  bound"


def test_the_width_is_that_of_the_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    for given, width in (("100", 100), ("64", 64), ("7", 40)):
        monkeypatch.setenv("COLUMNS", given)
        assert terminal_width() == width
        assert max(map(len, wrapped(WORDS).splitlines())) <= width


def test_thinned_rows_keep_the_ends() -> None:
    for count in range(1, 60):
        for most in (2, 7, 16):
            kept = thinned(count, most)
            assert len(kept) == min(count, most)
            assert (kept[0], kept[-1]) == (0, count - 1)
            assert kept == sorted(set(kept))
