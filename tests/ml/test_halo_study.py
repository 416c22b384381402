"""The study of consistency: its sets and questions, its figures on scripted material, and that it goes on."""

from __future__ import annotations

import itertools
import json
import re

import numpy as np
import pytest

from ml.chunks.kept_cases import KeptCases
from ml.language.consistency import split_sentences
from ml.studies import halo as study
from ml.studies.halo_cases import prompt_of
from ml.studies.halo_questions import QUESTIONS
from ml.studies.halo_sets import KINDS, PEOPLE, answer_sets

TINY = study.HaloSizes(sets=24, odd_sets=12, alike_sets=12, questions=5, samples=60)
DENIED = re.compile(r"\b(not|no|No|cannot|nobody|never)\b")


def meaning(text: str) -> tuple:
    """What a sentence of a set says, read from its words: number, person, and whether it denies."""
    return (re.findall(r"\d+", text), [p for p in PEOPLE if p in text], bool(DENIED.search(text)))


def by_meaning(premise: str, hypothesis: str) -> tuple[float, float, float]:
    return (1.0, 0.0, 0.0) if meaning(premise) == meaning(hypothesis) else (0.0, 0.0, 1.0)


class Model:
    """Gives the fact that stands in front of the question; else what it draws, the more kinds the warmer."""

    def __init__(self) -> None:
        self.count = 0

    def generate(self, messages, n=1, temperature=0, max_tokens=100, seed=None):
        self.count += 1
        fact = re.search(r"^- (.*)$", messages[-1]["content"], re.M)
        if fact:
            return n * [fact[1]]
        rng = np.random.default_rng(seed)
        return [f"It is {rng.integers(10) if rng.random() < temperature else 7}." for _ in range(n)]


class Material:
    def __init__(self) -> None:
        self.model, self.asked = Model(), 0

    def scorer(self, premise, hypothesis):
        self.asked += 1
        return by_meaning(premise, hypothesis)

    @staticmethod
    def vectors(texts):
        return np.array([[1.0, len(text), text.count("e")] for text in texts])


# sets and questions


@pytest.mark.parametrize(
    ("wording", "agreeing"),
    [("agree", {6}), ("all differ", {0, 2}), ("one differs", {3}), ("one wording", {0, 2})],
    ids=lambda v: str(v),
)
def test_sets_say_what_their_name_says(wording, agreeing) -> None:
    """Pairs of four answers that mean the same: 6 of 6, none (or 2 of yes and no), 3."""
    sets = answer_sets(wording, 60, rng=1)
    assert [one.kind for one in sets] == 20 * list(KINDS)
    for one in sets:
        assert len(set(one.answers)) == (2 if wording == "one wording" and one.kind == "negation" else 4)
        assert all(len(split_sentences(text)) == 1 for text in one.answers)
        same = sum(meaning(a) == meaning(b) for a, b in itertools.combinations(one.answers, 2))
        assert same in agreeing
        assert (same == 2) == (agreeing == {0, 2} and one.kind == "negation")


def test_sets_follow_their_seed() -> None:
    assert answer_sets("agree", 9, rng=1) == answer_sets("agree", 9, rng=1) != answer_sets("agree", 9, rng=2)
    with pytest.raises(ValueError, match="got 6"):
        answer_sets("agree", 3, answers=6)
    with pytest.raises(ValueError, match="got 'none'"):
        answer_sets("none", 3)  # type: ignore[arg-type]


def test_facts_answer_their_questions() -> None:
    assert len({q.text for q in QUESTIONS}) == len(QUESTIONS) >= 30
    for question in QUESTIONS:
        assert question.is_right(question.fact)
        assert not question.is_right(question.text)
        assert sum(question.is_right(other.fact) for other in QUESTIONS) <= 2


def test_words_find_most_facts() -> None:
    found = [prompt_of(q, facts=True, vectors=None)["found"] for q in QUESTIONS]
    assert np.mean(found) > 0.9


# the study


def test_figures_on_scripted_material(tmp_path) -> None:
    said: list[str] = []
    material = Material()
    summary = study.measure(KeptCases(tmp_path / "cases.json"), TINY, said.append, material)
    sets, answers = summary["sets"], summary["answers"]
    for other in ("all differ", "one differs", "one wording"):
        assert sets[other]["halo"]["value"] == 1  # the scorer reads the meaning
        assert sets[other]["exact"]["value"] == 0.5 or other == "one wording"
    # yes twice and no twice are equal in pairs, and the baseline takes those for agreeing
    assert sets["one wording"]["exact"]["value"] == pytest.approx(1 / 3)
    assert sets["means"]["halo"]["agree"]["value"] == 1
    assert sets["means"]["halo"]["one differs"]["value"] == pytest.approx(0)
    one_wording = 0  # YES YES NO NO in any order: 2 pairs are identical, 4 are of two kinds of pairs at most
    for one in answer_sets("one wording", 12, rng=3):
        pairs = list(itertools.combinations(one.answers, 2))
        one_wording += 6 - len({pair for pair in pairs if pair[0] != pair[1]})
    assert one_wording > 0
    assert sets["calls"] == (24 + 24 + 12 + 12) * 6 - one_wording
    assert answers["means"]["halo"]["warm, with the fact"]["value"] == 1
    # every answer is then the fact
    assert answers["means"]["right"]["warm, with the fact"]["value"] == answers["found"] or answers["found"] < 1
    assert answers["differences"]["halo"]["cold - warm"]["value"] > 0
    assert answers["differences"]["halo"]["with the fact - without"]["value"] > 0
    assert answers["teacher"]["0.5"]["share"] >= answers["teacher"]["-0.5"]["share"]
    # cold, the model says 7 to most questions, always wrong: that is the limit of the score
    assert answers["same wrong answer"]
    assert all(row["halo"] > 0.8 for row in answers["same wrong answer"])
    text = study.report(summary)
    assert "one differs" in text
    assert "teacher below 0.5" in text
    count, asked = material.model.count, material.asked
    again = study.measure(KeptCases(tmp_path / "cases.json"), TINY, said.append, material)
    assert again == summary
    assert (material.model.count, material.asked) == (count, asked)


def test_a_study_that_was_stopped_goes_on(tmp_path, monkeypatch) -> None:
    whole = study.measure(KeptCases(tmp_path / "whole.json"), TINY, lambda text: None, Material())

    class Stopped(Model):
        def generate(self, *args, **options):
            if self.count == 7:
                raise KeyboardInterrupt
            return super().generate(*args, **options)

    stopped = Material()
    stopped.model = Stopped()
    with pytest.raises(KeyboardInterrupt):
        study.measure(KeptCases(tmp_path / "cases.json"), TINY, lambda text: None, stopped)
    resumed = Material()
    assert study.measure(KeptCases(tmp_path / "cases.json"), TINY, lambda text: None, resumed) == whole
    assert resumed.model.count == 3 * TINY.questions - 7


def test_what_is_missing_is_left_out_and_said(tmp_path, monkeypatch) -> None:
    def missing():
        raise ImportError("the scorer is not installed: pip install it")

    monkeypatch.setattr(study, "policy_scorer", missing)
    said: list[str] = []
    sizes = study.HaloSizes(sets=3, odd_sets=3, alike_sets=3, questions=2, samples=20)
    summary = study.run("halo", tmp_path / "out", sizes=sizes, say=said.append)
    assert "pip install it" in summary["sets"]["missing"]
    assert json.loads((tmp_path / "out" / "summary.json").read_text())["coverage"]
    assert any("left out" in text for text in said)
    assert not (tmp_path / "out" / "scores.png").exists()


def test_the_study_draws_and_writes(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(study, "Material", lambda say: Material())
    said: list[str] = []
    study.run("halo", tmp_path, sizes=TINY, say=said.append)
    assert {path.name for path in tmp_path.iterdir()} == {"cases.json", "summary.json", "scores.png", "scores.pdf"}
    with pytest.raises(ValueError, match="no tolerance"):
        study.run("halo", tmp_path, 1e-3)
