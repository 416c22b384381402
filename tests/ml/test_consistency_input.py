"""HaloCheck, tables and teachers: input that is none is refused before a model is asked, with what is wrong."""

from __future__ import annotations

from typing import Any

import pytest

from ml.language.consistency import ScorerError, halo_check, inject_knowledge, severity, teacher


class Model:
    """Says the same each time, and counts how often it was asked."""

    name = "the same"

    def __init__(self) -> None:
        self.asked = 0

    def generate(
        self, messages: Any, n: int = 1, temperature: float = 0, max_tokens: int = 100, seed: int | None = None
    ) -> list[str]:
        """n times the same."""
        self.asked += 1
        return n * ["It is."]


def scorer(premise: str, hypothesis: str) -> tuple[float, float, float]:
    return 1.0, 0.0, 0.0


@pytest.mark.parametrize("prompt", [None, 5, [5], b"What?", {"role": "user"}])
def test_a_prompt_that_is_none(prompt: Any) -> None:
    model = Model()
    with pytest.raises(ValueError, match="a prompt is a text, or messages"):
        halo_check((model, prompt, 3), scorer)
    assert model.asked == 0


@pytest.mark.parametrize("wrong", ["", "  ", None, 5])
def test_questions_are_checked_before_the_first_is_asked(wrong: Any) -> None:
    """An empty one at the end of a list would come to light after an hour."""
    model = Model()
    with pytest.raises(ValueError, match="question 1 has no text"):
        severity(model, ["Is it?", wrong], scorer)
    with pytest.raises(ValueError, match="question 1 has no text"):
        teacher(model, model, 0.0, ["Is it?", wrong], scorer)
    with pytest.raises(ValueError, match="prompt"):
        severity(model, ["Is it?", "Was it?"], scorer, prompts={"Was it?": wrong})
    assert model.asked == 0


@pytest.mark.parametrize("wrong", [None, 5, "model"])
def test_a_model_that_is_none(wrong: Any) -> None:
    model = Model()
    with pytest.raises(TypeError, match="model must have the method generate"):
        severity(wrong, ["Is it?"], scorer)
    with pytest.raises(TypeError, match="strong must have the method generate"):
        teacher(model, wrong, 2.0, ["Is it?"], scorer)
    assert model.asked == 0


@pytest.mark.parametrize("threshold", ["0", None, True])
def test_a_threshold_that_is_no_number(threshold: Any) -> None:
    with pytest.raises(ValueError, match="the threshold must be a number, got"):
        teacher(Model(), Model(), threshold, ["Is it?"], scorer)


@pytest.mark.parametrize(
    ("question", "facts", "top", "said"),
    [
        (None, ["It is."], 1, "the question has no text, got None"),
        ("Is it?", [5], 1, "fact 0 has no text, got 5"),
        ("Is it?", 5, 1, "list of sentences, got 5"),
        ("Is it?", ["It is."], 1.5, r"top must be an integer, got 1\.5"),
    ],
)
def test_knowledge_that_is_none(question: Any, facts: Any, top: Any, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        inject_knowledge(question, facts, top=top, vectors="words")


@pytest.mark.parametrize("answer", [None, 5])
def test_a_scorer_of_many_that_answers_no_list(answer: Any) -> None:
    class Many:
        key = "many"

        def score_pairs(self, pairs: Any) -> Any:
            return answer

    with pytest.raises(ScorerError, match=f"answered '{answer}' to 1 pairs, no list of scores"):
        halo_check(["It is red.", "It is blue."], Many())
